/** What a handler is told and what a client gets, over HTTP/2: the same as over HTTP/1.1. */
import { expect, test } from "bun:test";
import { moduleSource, reuseHubs, shareHub } from "../../support/hub";
import { type Http2Client, readReply, withHttp2 } from "../../support/http2";
import { eventually } from "../../support/until";

const reused = reuseHubs();

const WEB = moduleSource(`{
  setup: () => ({ aborted: [] }),
  routes: {
    "/hello": { fetch: () => new Response("hello") },
    "/late": { fetch: async () => { await Bun.sleep(5); return new Response("late"); } },
    "GET /who/:id": { fetch: (request, context) => Response.json({
      client: context.client, params: context.params, url: request.url, requestId: context.requestId,
      cookie: request.headers.get("cookie"), isRequest: request instanceof Request }) },
    "POST /echo": { fetch: async (request) => new Response(await request.bytes()) },
    "POST /copy": { fetch: (request) => new Response(request.body) },
    "POST /length": { fetch: async (request) => new Response(String((await request.text()).length)) },
    "/again": { fetch: async (request) => new Response((await new Request(request, { headers: { a: "b" } }).text()) + request.method) },
    "/large": { fetch: () => new Response(new Uint8Array(5_000_000).fill(7)) },
    "/parts": { fetch: () => new Response(new ReadableStream({
      async pull(controller) { for (let at = 0; at < 50; at++) { controller.enqueue("x".repeat(100_000)); await 1; } controller.close(); } })) },
    "/generated": { fetch: () => new Response((async function* () { yield "one "; await Bun.sleep(1); yield new Uint8Array([50]); })()) },
    "/throws": { fetch: () => { throw new Error("oh no"); } },
    "/rejects": { fetch: async () => { await 1; await Bun.sleep(1); throw new Error("oh no"); } },
    "/nothing": { fetch: () => undefined },
    "/used": { fetch: async () => { const response = new Response("x"); await response.text(); return response; } },
    "/breaks": { fetch: () => new Response(new ReadableStream({
      start(controller) { controller.enqueue("begun"); }, async pull() { await Bun.sleep(5); throw new Error("broke"); } })) },
    "/odd": { fetch: () => new Response("odd", { status: 418, headers: [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], ["Connection", "close"], ["X-A", "ä"]] }) },
    "/none": { fetch: () => new Response(null, { status: 204 }) },
    "/slow": { timeoutMs: 50, fetch: (request, { state }) => { request.signal.addEventListener("abort", () => state.aborted.push(request.signal.reason.name)); return new Promise(() => {}); } },
    "/wait": { fetch: (request, { state }) => { console.log("waiting"); return new Promise((resolve) => request.signal.addEventListener("abort", () => { state.aborted.push(request.signal.reason.name); console.log("aborted"); resolve(new Response("")); })); } },
    "/pour": { fetch: (request, { state }) => new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(65536)); }, cancel() { state.aborted.push("cancelled"); console.log("cancelled"); } })) },
    "/aborted": { fetch: (request, { state }) => Response.json(state.aborted) },
    "/listens": { timeoutMs: 30, fetch: (request) => { request.signal.addEventListener("abort", () => { throw new Error("my listener"); }); return new Promise(() => {}); } },
    "/timer": { fetch: () => new Response(new ReadableStream({ async pull(c) { setTimeout(() => { throw new Error("my timer"); }); await Bun.sleep(5); c.enqueue("x"); c.close(); } })) },
    "GET /live": { websocket: {} },
  },
}`);
const FILES = { "modules/web.ts": WEB, "hrmr.json": '{ "limits": { "maxBodyBytes": 6000000 } }' };
const withShared = shareHub(FILES);
const text = async (client: Http2Client, path: string) => (await client.ask(path)).body.toString();

test("a plain reply has its status, type, length and date", () =>
  withShared((hub) =>
    withHttp2(hub.url, async (client) => {
      const { status, headers, body } = await client.ask("/hello");
      expect([status, body.toString()]).toEqual([200, "hello"]);
      expect(headers).toMatchObject({ "content-type": "text/plain;charset=utf-8", "content-length": "5" });
      expect(Math.abs(Date.parse(headers.date ?? "") - Date.now())).toBeLessThan(5000);
      expect(await text(client, "/late")).toBe("late");
      const none = await client.ask("/none");
      expect([none.status, none.body.length]).toEqual([204, 0]);
      const odd = await client.ask("/odd");
      expect(odd.status).toBe(418);
      expect(odd.headers["set-cookie"] as unknown).toEqual(["a=1", "b=2"]);
      expect(odd.headers.connection).toBeUndefined();
    }),
  ));

test("a handler sees its client, not the way the request took inside, and the same URL and params as over HTTP/1.1", () =>
  withShared((hub) =>
    withHttp2(hub.url, async (client) => {
      const { body } = await client.ask("/who/7%20b?q=1", { headers: { cookie: "a=1", "x-request-id": "me-1" } });
      const seen = JSON.parse(body.toString()) as Record<string, unknown> & { client: Record<string, unknown> };
      expect(seen).toMatchObject({
        url: `${hub.url}/who/7%20b?q=1`,
        requestId: "me-1",
        cookie: "a=1",
        isRequest: true,
        client: { address: "127.0.0.1", port: client.session.socket.localPort, transport: "tcp", isLocal: true },
      });
      const first = await fetch(`${hub.url}/who/7%20b?q=1`, { headers: { cookie: "a=1", "x-request-id": "me-1" } });
      const overHttp1 = (await first.json()) as typeof seen;
      expect({ ...overHttp1, client: null }).toEqual({ ...seen, client: null });
    }),
  ));

test("HEAD has the head of GET and no body, for text, bytes and streams", () =>
  withShared((hub) =>
    withHttp2(hub.url, async (client) => {
      const head = await client.ask("/hello", { method: "HEAD" });
      expect([head.status, head.headers["content-length"], head.body.length]).toEqual([200, "5", 0]);
      const large = await client.ask("/large", { method: "HEAD" });
      expect([large.status, large.headers["content-length"], large.body.length]).toEqual([200, "5000000", 0]);
      const parts = await client.ask("/parts", { method: "HEAD" });
      expect([parts.status, parts.body.length]).toEqual([200, 0]);
    }),
  ));

test("bodies of all sizes go up and down whole, with and without a length, as bytes and as streams", () =>
  withShared((hub) =>
    withHttp2(hub.url, async (client) => {
      const large = Buffer.alloc(5_000_000, Buffer.from(Array.from({ length: 251 }, (_, at) => at)));
      for (const size of [0, 1, 16_384, 65_536, 5_000_000]) {
        const body = large.subarray(0, size);
        expect([size, (await client.ask("/echo", { body })).body.equals(body)]).toEqual([size, true]);
        const headers = { "content-length": String(size) };
        expect([size, (await client.ask("/copy", { body, headers })).body.equals(body)]).toEqual([size, true]);
      }
      expect((await client.ask("/large")).body.length).toBe(5_000_000);
      expect((await client.ask("/parts")).body.length).toBe(5_000_000);
      expect(await text(client, "/generated")).toBe("one 2");
      expect((await client.ask("/again", { body: "body " })).body.toString()).toBe("body POST");
    }),
  ));

test("a request's trailers do no harm", () =>
  withShared((hub) =>
    withHttp2(hub.url, async (client) => {
      const { body } = await client.ask("/length", { body: "12345", trailers: { "x-sum": "1" } });
      expect(body.toString()).toBe("5");
      expect(await text(client, "/hello")).toBe("hello");
    }),
  ));

test("256 streams at once are each answered with their own", () =>
  withShared((hub) =>
    withHttp2(hub.url, async (client) => {
      const bodies = Array.from({ length: 256 }, (_, at) => `${at} `.repeat(at * 10));
      const replies = await Promise.all(bodies.map((body) => client.ask("/echo", { body })));
      expect(replies.map(({ body }) => body.toString())).toEqual(bodies);
      const late = await Promise.all(bodies.map(() => text(client, "/late")));
      expect(new Set(late)).toEqual(new Set(["late"]));
    }),
  ));

test("what no module answers is answered by the server, in the same words as over HTTP/1.1", () =>
  reused(FILES, [], (hub) =>
    withHttp2(hub.url, async (client) => {
      const cases: [path: string, method: string][] = [
        ["/none/../nowhere%", "GET"],
        ["/who/1", "PUT"],
        ["/who/1", "OPTIONS"],
        ["/throws", "GET"],
        ["/rejects", "GET"],
        ["/nothing", "GET"],
        ["/used", "GET"],
        ["/health", "GET"],
      ];
      for (const [path, method] of cases) {
        const reply = await client.ask(path, { method });
        const http1 = await fetch(hub.url + path, { method });
        const isHealth = path === "/health";
        expect([path, reply.status, isHealth ? "" : reply.body.toString(), reply.headers.allow ?? null]).toEqual([
          path,
          http1.status,
          isHealth ? "" : await http1.text(),
          http1.headers.get("allow"),
        ]);
      }
      expect((await client.ask("/nope", { method: "PUT" })).status).toBe(405);
      expect(await text(client, "/hello")).toBe("hello");
      expect((await client.ask("/live")).status).toBe(501);
      expect((await hub.status()).errors).toBeGreaterThanOrEqual(8);
    }),
  ));

test("a body over maxBodyBytes gets a 413, announced or not, and the connection goes on", () =>
  reused({ ...FILES, "hrmr.json": '{ "limits": { "maxBodyBytes": 1000 } }' }, [], (hub) =>
    withHttp2(hub.url, async (client) => {
      const body = "x".repeat(1001);
      expect((await client.ask("/length", { body, headers: { "content-length": "1001" } })).status).toBe(413);
      expect((await client.ask("/length", { body })).status).toBe(413);
      expect((await client.ask("/length", { body: body.slice(1) })).body.toString()).toBe("1000");
    }),
  ));

test("a handler that takes too long gets its signal aborted and its client a 503; other streams go on", () =>
  reused(FILES, [], (hub) =>
    withHttp2(hub.url, async (client) => {
      const slow = client.ask("/slow");
      expect(await text(client, "/hello")).toBe("hello");
      const { status, body } = await slow;
      expect([status, body.toString()]).toEqual([503, "The module did not answer in time.\n"]);
      expect(await text(client, "/aborted")).toBe('["TimeoutError"]');
      await hub.program.waitFor("did not answer within 50 ms");
    }),
  ));

test("a stream that the client resets, and a connection that it closes, abort request.signal", () =>
  reused(FILES, [], async (hub) => {
    await withHttp2(hub.url, async (client) => {
      const stream = client.begin("/wait");
      stream.on("error", () => {});
      await hub.program.waitFor("waiting");
      stream.close(8);
      await hub.program.waitFor("aborted");
      expect(await text(client, "/aborted")).toBe('["AbortError"]');
      const second = client.begin("/wait");
      second.on("error", () => {});
      await hub.program.waitFor(/waiting[^]*waiting/);
    });
    await hub.program.waitFor(/aborted[^]*aborted/);
    await eventually(async () => {
      const { modules } = await hub.status();
      expect(modules.find(({ name }) => name === "web")?.inFlight).toBe(0);
    });
  }));

test("a streamed reply that the client resets is cancelled, and its source is not pulled far ahead of a client that does not read", () =>
  reused(FILES, [], (hub) =>
    withHttp2(hub.url, async (client) => {
      const stream = client.begin("/pour");
      stream.on("error", () => {});
      stream.end();
      await new Promise((resolve) => stream.once("data", resolve));
      stream.pause();
      expect(await text(client, "/hello")).toBe("hello");
      stream.close(8);
      await hub.program.waitFor("cancelled");
      await eventually(async () =>
        expect((await hub.status()).modules.find(({ name }) => name === "web")?.inFlight).toBe(0),
      );
    }),
  ));

test("a reply that breaks off is reset, logged with its module, and costs nothing else", () =>
  reused(FILES, [], (hub) =>
    withHttp2(hub.url, async (client) => {
      const broken = client.begin("/breaks");
      broken.end();
      await expect(readReply(broken)).rejects.toThrow();
      expect(broken.rstCode).toBe(2);
      await hub.program.waitFor(/web v1 #\d+ "\/breaks": Error: broke/);
      expect(await text(client, "/hello")).toBe("hello");
    }),
  ));

test("what a handler's abort listener, or a timer of its stream, throws is the module's, and ends nothing", () =>
  reused(FILES, [], (hub) =>
    withHttp2(hub.url, async (client) => {
      expect((await client.ask("/listens")).status).toBe(503);
      await hub.program.waitFor("web v1 uncaughtException: Error: my listener");
      expect(await text(client, "/timer")).toBe("x");
      await hub.program.waitFor("web v1 uncaughtException: Error: my timer");
      expect(await text(client, "/hello")).toBe("hello");
    }),
  ));
