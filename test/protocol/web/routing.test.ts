/** Routing as HTTP authors expect it, the context's facts, and deadlines against slow clients, over real sockets. */
import { describe, expect, test } from "bun:test";
import { type Hub, moduleSource, shareHub } from "../../support/hub";

const ROUTES = moduleSource(`{ routes: {
  "GET /users/:id": { fetch: (request, { params }) => new Response("user " + params.id, { headers: { "x-method": request.method } }) },
  "POST /users": { fetch: () => new Response("made", { status: 201 }) },
  "GET /users/me": { fetch: () => new Response("me") },
  "DELETE /users/:name": { fetch: (request, { params }) => new Response("gone " + params.name) },
  "/any": { fetch: (request) => new Response(request.method) },
  "OPTIONS /own": { fetch: () => new Response(null, { status: 204, headers: { "access-control-allow-origin": "*" } }) },
  "GET /own": { fetch: () => new Response("own") },
  "GET /pool": { run: "pool", fetch: () => new Response("from the pool") },
  "GET /stream": { fetch: () => new Response(new ReadableStream({ start(c) { c.enqueue("streamed"); c.close(); } })) },
  "GET /files/*": { fetch: (request, { params }) => new Response(params["*"]) },
  "/url": { fetch: (request) => new Response(request.url) },
  "/ids": { fetch: (request, context) => { const first = context.requestId; return new Response(first === context.requestId ? first : "two ids"); } },
  "POST /read": { fetch: async (request) => new Response(String((await request.bytes()).length)) },
  "POST /later": { fetch: async (request) => { await Bun.sleep(700); return new Response(String((await request.bytes()).length)); } },
} }`);

const FILES = { "modules/routes.ts": ROUTES };

const withShared = shareHub(FILES);

async function request(hub: Hub, method: string, path: string) {
  const reply = await fetch(`${hub.url}${path}`, { method });
  return [reply.status, reply.headers.get("allow"), await reply.text()];
}

test("the most specific route wins, and a path's other methods are found", () =>
  withShared(async (hub) => {
    expect(await request(hub, "GET", "/users/me")).toEqual([200, null, "me"]);
    expect(await request(hub, "GET", "/users/7")).toEqual([200, null, "user 7"]);
    expect(await request(hub, "DELETE", "/users/me")).toEqual([200, null, "gone me"]);
    expect(await request(hub, "POST", "/users")).toEqual([201, null, "made"]);
    expect(await request(hub, "GET", "/files/a/b%20c")).toEqual([200, null, "a/b c"]);
  }));

test("a method that no route of the path has is a 405 with Allow, also where the http module serves pages beside it", () =>
  withShared(async (hub) => {
    const text = "No module serves this method here.\n";
    expect(await request(hub, "PUT", "/users/7")).toEqual([405, "DELETE, GET, HEAD, OPTIONS, POST", text]);
    expect(await request(hub, "PATCH", "/users")).toEqual([405, "GET, HEAD, OPTIONS, POST", text]);
    expect(await request(hub, "POST", "/index.html")).toEqual([405, "GET, HEAD, OPTIONS", text]);
    expect((await request(hub, "GET", "/index.html"))[0]).toBe(200);
  }));

test("OPTIONS is answered with 204 and Allow where no route has it, and by the route where one does", () =>
  withShared(async (hub) => {
    expect(await request(hub, "OPTIONS", "/users/7")).toEqual([204, "DELETE, GET, HEAD, OPTIONS, POST", ""]);
    expect(await request(hub, "OPTIONS", "/any")).toEqual([200, null, "OPTIONS"]);
    const own = await fetch(`${hub.url}/own`, { method: "OPTIONS" });
    expect([own.status, own.headers.get("access-control-allow-origin")]).toEqual([204, "*"]);
    const client = await hub.connect();
    await client.send(
      "OPTIONS /users/7 HTTP/1.1\r\nHost: x\r\n\r\nGET /own HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    const text = await client.waitForEnd();
    expect(text).not.toMatch(/204 No Content(?:(?!\r\n\r\n)[\s\S])*Content-Length/);
    expect(text).toEndWith("own");
  }));

test("OPTIONS * tells the server's methods", () =>
  withShared(async (hub) => {
    const client = await hub.connect();
    await client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const text = await client.waitForEnd();
    expect(text).toStartWith("HTTP/1.1 200 ");
    expect(text).toContain("Allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n");
  }));

test("HEAD goes to the GET route everywhere, and brings its header without a body", () =>
  withShared(async (hub) => {
    for (const path of ["/users/7", "/users/me", "/pool", "/stream", "/files/x", "/index.html", "/health"]) {
      const client = await hub.connect();
      await client.send(`HEAD ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      const text = await client.waitForEnd();
      expect(text, path).toStartWith("HTTP/1.1 200 ");
      expect(text.slice(text.indexOf("\r\n\r\n") + 4), path).toBe("");
    }
    expect((await fetch(`${hub.url}/users/7`, { method: "HEAD" })).headers.get("x-method")).toBe("HEAD");
  }));

test("an absolute target is routed by its path, and its authority is the request's", () =>
  withShared(async (hub) => {
    const client = await hub.connect();
    await client.send("GET http://a.example:81/url?x=1 HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n");
    expect(await client.waitForEnd()).toEndWith("http://a.example:81/url?x=1");
  }));

test("a request has one id: its own if it is sane, else a new one", () =>
  withShared(async (hub) => {
    const idOf = async (given?: string) =>
      (await fetch(`${hub.url}/ids`, given === undefined ? {} : { headers: { "x-request-id": given } })).text();
    expect(await idOf("0af7651916cd43dd/8448eb")).toBe("0af7651916cd43dd/8448eb");
    const made = await Promise.all([idOf(), idOf("has space"), idOf("x".repeat(129)), idOf("<script>")]);
    for (const id of made) expect(id).toMatch(/^[\da-f]{8}-[\da-z]+$/);
    expect(new Set(made).size).toBe(4);
  }));

describe("slow clients", () => {
  const TIMES = {
    ...FILES,
    "hrmr.json": '{ "timeouts": { "headMs": 300, "bodyMs": 2000, "idleMs": 400, "requestMs": 20000 } }',
  };

  const withTimes = shareHub(TIMES);

  test("a header that is not there at headMs is a 408", () =>
    withTimes(async (hub) => {
      const client = await hub.connect();
      await client.send("GET /own HTTP/1.1\r\nHost: x\r\n");
      const text = await client.waitForEnd();
      expect(text).toStartWith("HTTP/1.1 408 ");
      expect(text).toContain("Connection: close\r\n");
    }));

  test("a body that makes progress may take longer than bodyMs; one that makes none is a 408", () =>
    withTimes(async (hub) => {
      const client = await hub.connect();
      await client.send("POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10240\r\n\r\n");
      const startedAt = performance.now();
      for (let part = 0; part < 5; part++) {
        await Bun.sleep(450);
        await client.send("x".repeat(2048));
      }
      expect(performance.now() - startedAt).toBeGreaterThan(2000);
      expect(await client.waitFor("\r\n\r\n10240")).toStartWith("HTTP/1.1 200 ");
      const silent = await hub.connect();
      await silent.send("POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123");
      expect(await silent.waitForEnd()).toStartWith("HTTP/1.1 408 ");
    }));

  test("a client is not blamed for a handler that does not read: bodyMs counts while the body is wanted", () =>
    withTimes(async (hub) => {
      const client = await hub.connect();
      const body = "x".repeat(900_000);
      await client.send(`POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`);
      await client.send(body);
      expect(await client.waitFor("\r\n\r\n900000")).toStartWith("HTTP/1.1 200 ");
    }));

  test("a connection between requests is closed at idleMs without a word", () =>
    withTimes(async (hub) => {
      const client = await hub.connect();
      await client.send("GET /own HTTP/1.1\r\nHost: x\r\n\r\n");
      const text = await client.waitForEnd();
      expect(text).toEndWith("own");
    }));
});
