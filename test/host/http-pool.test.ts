/** `fetch` routes with run: "pool", seen by HTTP clients of the server. */
import { expect, test } from "bun:test";
import { moduleSource, withHub, type Hub } from "../support/hub";
import { until } from "../support/until";

const POOL = moduleSource(`{
  use: [
    async (request, context, next) => {
      const response = await next();
      if (response.status !== 204) response.headers.set("x-used", String(context.host));
      return response;
    },
  ],
  routes: {
    "GET /hello/:name": { run: "pool", fetch: (_, { params, client, requestId, host }) => Response.json({ ...params, address: client.address, requestId, host }) },
    "/echo": { run: "pool", fetch: (request) => new Response(request.body, { headers: { "x-method": request.method } }) },
    "/whole": { run: "pool", fetch: async (request) => new Response(await request.bytes()) },
    "/headers": { run: "pool", fetch(request) {
      const headers = new Headers({ "x-got": request.headers.get("x-sent") ?? "", "x-url": request.url });
      headers.append("set-cookie", "a=1; Path=/");
      headers.append("set-cookie", "b=2");
      return new Response("text", { status: 201, statusText: "Made Here", headers });
    } },
    "/empty": { run: "pool", fetch: () => new Response(null, { status: 204 }) },
    "/text": { run: "pool", fetch: () => new Response("grüße 😀") },
    "/bytes": { run: "pool", fetch: () => new Response(new Uint8Array([0, 10, 13, 255])) },
    "/size/:n": { run: "pool", fetch: (_, { params }) => new Response(new Uint8Array(Number(params.n)).fill(7)) },
    "/ticks": { run: "pool", fetch(request) {
      let n = 0;
      return new Response(new ReadableStream({
        async pull(controller) { await Bun.sleep(5); controller.enqueue("data: " + n++ + "\\n\\n"); },
        cancel() { console.log("the stream was cancelled"); },
      }), { headers: { "content-type": "text/event-stream" } });
    } },
    "/never": { run: "pool", fetch: (request) => new Promise((resolve) => request.signal.addEventListener("abort", () => { console.log("aborted: " + request.signal.reason.name); })) },
    "/slow": { run: "pool", timeoutMs: 200, fetch: (request) => new Promise(() => request.signal.addEventListener("abort", () => console.log("late: " + request.signal.reason.name))) },
    "/loop": { run: "pool", timeoutMs: 200, fetch() { for (;;) {} } },
    "/throw": { run: "pool", fetch() { throw new TypeError("thrown on the pool"); } },
    "/nothing": { run: "pool", fetch() {} },
    "/exit": { run: "pool", fetch() { process.exit(3); } },
    "/wait": { run: "pool", fetch: async () => { await Bun.sleep(300); return new Response("waited v1"); } },
    "/break": { run: "pool", fetch: () => new Response(new ReadableStream({ start(c) { c.enqueue("half"); }, pull() { throw new Error("broke off"); } })) },
    "/inline": { fetch: () => new Response("inline") },
  },
}`);

const LIMITS = '{ "limits": { "maxBodyBytes": 20000000 }, "timeouts": { "drainMs": 3000 } }';

function withPool(test: (hub: Hub) => Promise<void>, threads = 2, config = LIMITS): Promise<void> {
  return withHub({ "modules/pool.ts": POOL, "hrmr.json": config }, ["--threads", String(threads)], test);
}

function patternBytes(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = (i * 7 + (i >> 8)) % 256;
  return bytes;
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a).equals(b);
}

test("a request's method, url, headers, params, client and id reach the thread, and the Response's all come back", () =>
  withPool(async (hub) => {
    const hello = await fetch(`${hub.url}/hello/b%20b`, { headers: { "x-request-id": "trace-7" } });
    expect(await hello.json()).toEqual({
      name: "b b",
      address: "127.0.0.1",
      requestId: "trace-7",
      host: expect.any(Number),
    });
    expect(hello.headers.get("x-used")).toMatch(/^[12]$/);
    const reply = await fetch(`${hub.url}/headers?q=1`, { headers: { "x-sent": "there" } });
    expect([reply.status, reply.statusText, reply.headers.get("x-got")]).toEqual([201, "Made Here", "there"]);
    expect(reply.headers.get("x-url")).toBe(`${hub.url}/headers?q=1`);
    expect(reply.headers.getSetCookie()).toEqual(["a=1; Path=/", "b=2"]);
    const echo = await fetch(`${hub.url}/echo`, { method: "PATCH", body: "x" });
    expect(echo.headers.get("x-method")).toBe("PATCH");
    expect((await fetch(`${hub.url}/echo`, { method: "DELETE" })).status).toBe(200);
    const rare = await hub.connect();
    await rare.send("QUERY /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    const text = await rare.waitForEnd();
    expect(text).toContain("x-method: QUERY\r\n");
    expect(text).toContain("abc");
  }));

test("bodies have the default types of inline routes: text, bytes, none", () =>
  withPool(async (hub) => {
    const text = await fetch(`${hub.url}/text`);
    expect([text.headers.get("content-type"), await text.text()]).toEqual(["text/plain;charset=utf-8", "grüße 😀"]);
    const bytes = await fetch(`${hub.url}/bytes`);
    expect(bytes.headers.get("content-type")).toBe("application/octet-stream");
    expect(isEqual(await bytes.bytes(), new Uint8Array([0, 10, 13, 255]))).toBe(true);
    const empty = await fetch(`${hub.url}/empty`);
    expect([empty.status, empty.headers.get("content-type"), await empty.text()]).toEqual([204, null, ""]);
    const head = await fetch(`${hub.url}/hello/x`, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
    expect(Number(head.headers.get("content-length"))).toBeGreaterThan(10);
  }));

test("bodies of all sizes cross both ways unchanged, whole and as streams", () =>
  withPool(async (hub) => {
    for (const size of [0, 1, 65_535, 65_536, 65_537, 300_000, 5_000_000]) {
      const body = patternBytes(size);
      for (const path of ["/echo", "/whole"]) {
        const reply = await fetch(`${hub.url}${path}`, { method: "POST", body });
        expect(isEqual(await reply.bytes(), body), `${size} bytes to ${path}`).toBe(true);
      }
    }
    for (const size of [1_048_576, 1_048_577, 3_000_000]) {
      const reply = await fetch(`${hub.url}/size/${size}`);
      expect((await reply.bytes()).length).toBe(size);
    }
  }));

test("a chunked request body reaches the thread as it comes, and its echo comes back before it ends", () =>
  withPool(async (hub) => {
    const client = await hub.connect();
    await client.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    await client.waitFor("first");
    await client.send("6\r\nsecond\r\n");
    await client.waitFor("second");
    await client.send("0\r\n\r\n");
    await client.waitFor("\r\n0\r\n\r\n");
    client.clear();
    await client.send("GET /inline HTTP/1.1\r\nHost: x\r\n\r\n");
    await client.waitFor("inline");
  }));

test("a client that goes aborts request.signal on the thread, and cancels a stream there", () =>
  withPool(async (hub) => {
    const client = await hub.connect();
    await client.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
    await inFlight(hub, 1);
    client.close();
    await hub.program.waitFor("aborted: AbortError");
    const stream = await hub.connect();
    await stream.send("GET /ticks HTTP/1.1\r\nHost: x\r\n\r\n");
    await stream.waitFor("data: 3");
    stream.close();
    await hub.program.waitFor("the stream was cancelled");
    await inFlight(hub, 0);
  }));

test("a client that goes in the middle of its body ends the handler's reading", () =>
  withPool(async (hub) => {
    const client = await hub.connect();
    await client.send("POST /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\nbegin");
    await inFlight(hub, 1);
    client.close();
    await inFlight(hub, 0);
    expect(await (await fetch(`${hub.url}/inline`)).text()).toBe("inline");
  }));

test("a handler over its time is a 503; one that loops for ever costs its own caller that, and others nothing", () =>
  withPool(async (hub) => {
    const slow = await fetch(`${hub.url}/slow`);
    expect([slow.status, await slow.text()]).toEqual([503, "The module did not answer in time.\n"]);
    await hub.program.waitFor(/late: (?:Timeout|Abort)Error/);
    const loop = fetch(`${hub.url}/loop`);
    const others = Array.from({ length: 20 }, async (_, i) => (await fetch(`${hub.url}/hello/n${i}`)).status);
    expect((await loop).status).toBe(503);
    expect(new Set(await Promise.all(others))).toEqual(new Set([200]));
    await hub.program.waitFor("a handler did not give the thread back");
    expect((await fetch(`${hub.url}/hello/again`)).status).toBe(200);
  }));

test("a handler over its time on a host has one deadline, and its client keeps the connection", () =>
  withPool(async (hub) => {
    const client = await hub.connect();
    await client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /inline HTTP/1.1\r\nHost: x\r\n\r\n");
    await client.waitFor("\r\n\r\ninline");
    const [late, next] = client.text.split("did not answer in time.\n");
    expect(late).toStartWith("HTTP/1.1 503 ");
    expect(late).toContain("\r\nRetry-After: 1\r\n");
    expect(late).not.toContain("Connection: close");
    expect(next).toStartWith("HTTP/1.1 200 ");
    client.close();
    await inFlight(hub, 0);
    const [pool] = (await hub.status()).modules;
    expect(pool?.errors).toBe(1);
  }));

test("middleware that never answers, before a route on the pool, is a 503 at the handler's deadline", () =>
  withHub(
    {
      "modules/pool.ts": POOL,
      "modules/gate.ts": `export default { routes: { GATE: () => "open" } };
export const middleware = () => new Promise(() => {});`,
      "hrmr.json": '{ "http": { "use": ["gate"] } }',
    },
    ["--threads", "1"],
    async (hub) => {
      const reply = await fetch(`${hub.url}/slow`);
      expect([reply.status, await reply.text()]).toEqual([503, "The module did not answer in time.\n"]);
    },
  ));

test("a throw is a 500 with the author's line in the log; so is no Response; a lost thread is a 503", () =>
  withPool(async (hub) => {
    expect((await fetch(`${hub.url}/throw`)).status).toBe(500);
    await hub.program.waitFor("thrown on the pool");
    await hub.program.waitFor(/pool v1 #\d+ "\/throw": TypeError: thrown on the pool\n.*modules\/pool\.ts:\d+/);
    expect((await fetch(`${hub.url}/nothing`)).status).toBe(500);
    await hub.program.waitFor("undefined");
    expect([500, 503]).toContain((await fetch(`${hub.url}/exit`)).status);
    expect((await fetch(`${hub.url}/hello/x`)).status).toBe(200);
    const client = await hub.connect();
    await client.send("GET /break HTTP/1.1\r\nHost: x\r\n\r\n");
    await client.waitForEnd();
    expect(client.text).toContain("half");
    expect(client.text).not.toContain("0\r\n\r\n");
    await hub.program.waitFor("broke off");
  }));

test("a full pool answers 503 with Retry-After", () =>
  withPool(
    async (hub) => {
      const replies = await Promise.all(Array.from({ length: 12 }, () => fetch(`${hub.url}/wait`)));
      const busy = replies.filter((reply) => reply.status === 503);
      expect(busy.length).toBeGreaterThan(0);
      expect(busy[0]?.headers.get("retry-after")).toBe("1");
      expect(replies.filter((reply) => reply.status === 200).length).toBeGreaterThanOrEqual(4);
    },
    1,
    '{ "limits": { "maxQueued": 4 } }',
  ));

test("requests under way finish on the version that they began on, an open stream goes on, and new ones get the new version", () =>
  withPool(async (hub) => {
    const stream = await hub.connect();
    await stream.send("GET /ticks HTTP/1.1\r\nHost: x\r\n\r\n");
    await stream.waitFor("data: 1");
    const waiting = fetch(`${hub.url}/wait`);
    await inFlight(hub, 2);
    hub.write("modules/pool.ts", POOL.replace("waited v1", "waited v2"));
    expect(await hub.ask("RELOAD")).toContain("pool v2 (was v1) swapped");
    expect(await (await fetch(`${hub.url}/wait`)).text()).toBe("waited v2");
    expect(await (await waiting).text()).toBe("waited v1");
    stream.clear();
    await stream.waitFor(/data: \d+\n\n/);
    stream.close();
  }));

async function inFlight(hub: Hub, count: number): Promise<void> {
  const now = async () => (await hub.status()).modules.find((module) => module.name === "pool")?.inFlight;
  await until(`${count} calls are under way`, async () => (await now()) === count);
}
