/** The Request that handlers get and the Response of modules, beside the standard ones. */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Hono } from "hono";
import { moduleGlobals } from "../../../src/protocol/web/globals";
import { type RawReply, talk } from "../../support/raw-client";
import { type FetchHandler, startHarness } from "../../support/wire-harness";

const globals = moduleGlobals() as { Request: typeof Request; Response: typeof Response; fetch: typeof fetch };
const NativeResponse = Response;

/** The answer of `handler` to `request`, with the first line and the Host added. The connection ends behind it. */
async function answerTo(handler: FetchHandler, request: string): Promise<RawReply> {
  const server = startHarness({ routes: { "/": handler } });
  try {
    const replies = await talk(server.port, request.replace("\r\n", "\r\nHost: a.test\r\nConnection: close\r\n"));
    expect(server.failures).toEqual([]);
    expect(replies.length).toBe(1);
    return replies[0] as RawReply;
  } finally {
    server.stop();
  }
}

/** The result of `inspect` on a handler's request. */
async function inspect<T>(request: string, look: (request: Request) => T | Promise<T>): Promise<T> {
  const found: T[] = [];
  await answerTo(async (one) => {
    found.push(await look(one));
    return new NativeResponse("ok");
  }, request);
  return found[0] as T;
}

const GET = "GET /a?b HTTP/1.1\r\n\r\n";
const post = (body: string, lines = "") =>
  `POST /a HTTP/1.1\r\nContent-Length: ${Buffer.byteLength(body, "latin1")}\r\n${lines}\r\n${body}`;

test("a request is a Request with its usual properties", async () => {
  const found = await inspect(GET, (request) => [
    request instanceof Request,
    request instanceof globals.Request,
    request.method,
    request.url,
    request.headers instanceof Headers,
    request.headers.get("HOST"),
    request.body,
    request.bodyUsed,
    request.signal.aborted,
    request.cache,
    request.mode,
    request.redirect,
  ]);
  expect(found).toEqual([
    true,
    true,
    "GET",
    "http://a.test/a?b",
    true,
    "a.test",
    null,
    false,
    false,
    "default",
    "navigate",
    "follow",
  ]);
});

test("each way of reading a body gives what it should", async () => {
  const json = post('{"a":"\xc3\xab"}', "Content-Type: application/json\r\n");
  expect(await inspect(json, (request) => request.text())).toBe('{"a":"ë"}');
  expect(await inspect(json, (request) => request.json())).toEqual({ a: "ë" });
  expect(await inspect(json, async (request) => Array.from((await request.bytes()).subarray(0, 2)))).toEqual([123, 34]);
  expect(await inspect(json, async (request) => (await request.arrayBuffer()).byteLength)).toBe(10);
  expect(await inspect(json, async (request) => (await request.blob()).type)).toContain("application/json");
  expect(await inspect(json, async (request) => new NativeResponse(request.body).text())).toBe('{"a":"ë"}');
  const form = post("a=1&b=2", "Content-Type: application/x-www-form-urlencoded\r\n");
  expect(await inspect(form, async (request) => (await request.formData()).get("b"))).toBe("2");
  expect(await inspect(GET, (request) => request.text())).toBe("");
});

test("bytes are the handler's own: changing or transferring them touches no other request", async () => {
  const server = startHarness({
    routes: {
      "/": async (request) => {
        const bytes = await request.bytes();
        structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
        return new globals.Response("taken");
      },
    },
  });
  try {
    const one = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    const replies = await talk(server.port, `${one}${one}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    expect(replies.map((reply) => reply.body)).toEqual(["taken", "taken", "taken"]);
  } finally {
    server.stop();
  }
});

test("a body can be read once, and bodyUsed tells", async () => {
  const found = await inspect(post("abc"), async (request) => {
    const before = request.bodyUsed;
    await request.text();
    return [before, request.bodyUsed, await request.text().catch((error: Error) => error.name)];
  });
  expect(found).toEqual([false, true, "TypeError"]);
});

test("json of what is not JSON rejects with a SyntaxError", async () => {
  expect(await inspect(post("{"), (request) => request.json().catch((error: Error) => error.name))).toBe("SyntaxError");
});

test("a clone has the body too", async () => {
  const both = async (request: Request): Promise<string[]> => {
    const copy = request.clone();
    return [await request.text(), await copy.text(), copy.method, copy.url];
  };
  expect(await inspect(post("abc"), both)).toEqual(["abc", "abc", "POST", "http://a.test/a"]);
});

test("the module's Request and fetch take a request, with its method, headers and body", async () => {
  const rebuilt = await inspect(post("abc", "X-A: b\r\n"), async (request) => {
    const copy = new globals.Request(request);
    return [copy instanceof Request, copy.method, copy.url, copy.headers.get("x-a"), await copy.text()];
  });
  expect(rebuilt).toEqual([true, "POST", "http://a.test/a", "b", "abc"]);
  const changed = await inspect(post("abc"), async (request) => {
    const copy = new globals.Request(request, { method: "PUT", body: "other" });
    return [copy.method, await copy.text(), await request.text()];
  });
  expect(changed).toEqual(["PUT", "other", "abc"]);
  const target = startHarness({
    routes: { "/a": async (request) => new globals.Response(`${request.method} ${await request.text()}`) },
  });
  try {
    const proxied: FetchHandler = (request) =>
      globals.fetch(new globals.Request(`http://127.0.0.1:${target.port}/a`, request));
    expect((await answerTo(proxied, post("abc"))).body).toBe("POST abc");
  } finally {
    target.stop();
  }
});

test("the module's Response accepts standard ones as its instances, and the other way round", () => {
  expect(new NativeResponse("") instanceof globals.Response).toBe(true);
  expect(new globals.Response("") instanceof NativeResponse).toBe(true);
  class Own extends globals.Response {}
  expect(new globals.Response("") instanceof Own).toBe(false);
  expect(new Own("") instanceof globals.Response).toBe(true);
  expect([globals.Response.name, globals.Request.name, globals.fetch.name]).toEqual(["Response", "Request", "fetch"]);
});

/** Replies as [status, headers of interest, body]. */
const replies: Record<
  string,
  [() => Response | Promise<Response>, number, Record<string, string | undefined>, string]
> = {
  "a string": [
    () => new globals.Response("text"),
    200,
    { "content-type": "text/plain;charset=utf-8", "content-length": "4" },
    "text",
  ],
  "a string beyond ASCII": [() => new globals.Response("zoë"), 200, { "content-length": "4" }, "zo\xc3\xab"],
  "half a surrogate pair": [() => new globals.Response("a\ud800"), 200, { "content-length": "4" }, "a\xef\xbf\xbd"],
  "an empty string": [() => new globals.Response(""), 200, { "content-type": undefined, "content-length": "0" }, ""],
  nothing: [() => new globals.Response(null), 200, { "content-type": undefined, "content-length": "0" }, ""],
  bytes: [
    () => new globals.Response(new Uint8Array([65, 66])),
    200,
    { "content-type": "application/octet-stream", "content-length": "2" },
    "AB",
  ],
  "an ArrayBuffer": [() => new globals.Response(new Uint8Array([65]).buffer), 200, { "content-length": "1" }, "A"],
  "a blob": [
    () => new globals.Response(new Blob(["x"], { type: "text/css" })),
    200,
    { "content-type": "text/css;charset=utf-8", "content-length": "1" },
    "x",
  ],
  "form fields": [
    () => new globals.Response(new URLSearchParams("a=1")),
    200,
    { "content-type": "application/x-www-form-urlencoded;charset=UTF-8" },
    "a=1",
  ],
  json: [
    () => globals.Response.json({ a: 1 }),
    200,
    { "content-type": "application/json;charset=utf-8", "content-length": "7" },
    '{"a":1}',
  ],
  "json with a status": [
    () => globals.Response.json([], { status: 201, headers: { "X-A": "b" } }),
    201,
    { "x-a": "b", "content-type": "application/json;charset=utf-8" },
    "[]",
  ],
  "a redirect": [() => globals.Response.redirect("/x"), 302, { location: "/x", "content-length": "0" }, ""],
  "a status": [
    () => new globals.Response("no", { status: 404 }),
    404,
    { "content-type": "text/plain;charset=utf-8" },
    "no",
  ],
  "one header": [
    () => new globals.Response("x", { headers: { "X-A": "b" } }),
    200,
    { "x-a": "b", "content-type": "text/plain;charset=utf-8" },
    "x",
  ],
  "a content-type": [
    () => new globals.Response("x", { headers: { "content-type": "a/b" } }),
    200,
    { "content-type": "a/b" },
    "x",
  ],
  "two headers": [
    () => new globals.Response("x", { headers: { "X-A": "b", "X-C": "d" } }),
    200,
    { "x-a": "b", "x-c": "d" },
    "x",
  ],
  "Latin-1 in a header": [
    () => new globals.Response("zoë", { headers: { "X-A": "\xe9" } }),
    200,
    { "x-a": "\xe9" },
    "zo\xc3\xab",
  ],
  "a Headers object": [
    () => new globals.Response("x", { headers: new Headers({ "X-A": "b" }) }),
    200,
    { "x-a": "b" },
    "x",
  ],
  "headers set later": [
    () => {
      const response = new globals.Response("x", { headers: { "X-A": "b" } });
      response.headers.set("X-A", "c");
      return response;
    },
    200,
    { "x-a": "c", "content-type": "text/plain;charset=utf-8" },
    "x",
  ],
  "an init that is changed later": [
    () => {
      const init = { headers: { "X-A": "b" } };
      const response = new globals.Response("x", init);
      init.headers["X-A"] = "c";
      return response;
    },
    200,
    { "x-a": "b" },
    "x",
  ],
  "two cookies": [
    () => {
      const response = new globals.Response("x");
      response.headers.append("Set-Cookie", "a=1");
      response.headers.append("Set-Cookie", "b=2");
      return response;
    },
    200,
    { "set-cookie": "a=1; b=2" },
    "x",
  ],
  "a wrong content-length": [
    () => new globals.Response("hello", { headers: { "Content-Length": "2" } }),
    200,
    { "content-length": "5" },
    "hello",
  ],
  "a transfer-encoding": [
    () => new globals.Response("hello", { headers: { "Transfer-Encoding": "chunked" } }),
    200,
    { "transfer-encoding": undefined, "content-length": "5" },
    "hello",
  ],
  "an own date": [
    () => new globals.Response("x", { headers: { Date: "now" } }),
    200,
    { date: "Sun, 06 Nov 1994 08:49:37 GMT" },
    "x",
  ],
  "no content": [() => new globals.Response(null, { status: 204 }), 204, { "content-length": undefined }, ""],
  "not modified": [
    () => new globals.Response(null, { status: 304, headers: { ETag: '"a"' } }),
    304,
    { etag: '"a"', "content-length": undefined },
    "",
  ],
  "a reason of its own": [() => new globals.Response("x", { status: 299, statusText: "Fine" }), 299, {}, "x"],
  "a response of another's body": [
    () => {
      const first = new globals.Response("x", { status: 201, headers: { "X-A": "b" } });
      return new globals.Response(first.body, first);
    },
    201,
    { "x-a": "b", "content-length": "1" },
    "x",
  ],
  "a body that was looked at": [
    () => {
      const response = new globals.Response("x");
      return response.body === null ? new globals.Response("none") : response;
    },
    200,
    { "content-length": "1" },
    "x",
  ],
  "a clone": [
    () => new globals.Response("x", { status: 201 }).clone() as Response,
    201,
    { "content-length": "1" },
    "x",
  ],
  "a stream": [() => new globals.Response(new Blob(["a", "b"]).stream()), 200, { "content-type": undefined }, "ab"],
  "an async generator": [
    () =>
      new globals.Response(
        (async function* () {
          yield "a";
          yield "b";
        })() as unknown as ReadableStream,
      ),
    200,
    {},
    "ab",
  ],
  "a standard Response": [() => new NativeResponse("x", { headers: { "X-A": "b" } }), 200, { "x-a": "b" }, "x"],
  "what HTMLRewriter makes": [
    () =>
      new HTMLRewriter()
        .on("p", { element: (p) => void p.setInnerContent("new") })
        .transform(new globals.Response("<p>old</p>")),
    200,
    {},
    "<p>new</p>",
  ],
};

for (const [name, [make, status, headers, body]] of Object.entries(replies)) {
  test(`${name} is sent as it should be, at once and after a wait, to GET and to HEAD`, async () => {
    const later: FetchHandler = async () => {
      await new Promise((resolve) => setImmediate(resolve));
      return make();
    };
    for (const handler of [make, later]) {
      const reply = await answerTo(handler, GET);
      expect([reply.status, reply.body]).toEqual([status, body]);
      for (const [field, value] of Object.entries(headers))
        expect([field, reply.headers[field]]).toEqual([field, value]);
      expect(reply.headers.date).toBe("Sun, 06 Nov 1994 08:49:37 GMT");
      const head = await answerTo(handler, GET.replace("GET", "HEAD"));
      expect([head.status, head.body]).toEqual([status, ""]);
      // A reply to HEAD has the length of its body, or the one that the handler set. An empty body says nothing about
      // what GET would get.
      const length = reply.body === "" ? undefined : headers["content-length"];
      if (length !== undefined) expect(head.headers["content-length"]).toBe(length);
    }
  });
}

test("a header cannot smuggle a line, and a reason cannot either", async () => {
  expect(() => new globals.Response("x", { headers: { "X-A": "b\r\nX-C: d" } })).toThrow(TypeError);
  let make: () => Response = () => new globals.Response("x", { statusText: "OK\r\nX-C: d" });
  try {
    make();
  } catch {
    make = () => new globals.Response("x");
  }
  expect((await answerTo(make, GET)).headers["x-c"]).toBeUndefined();
});

test("Connection: close of a handler is heard", async () => {
  const server = startHarness({
    routes: { "/": () => new globals.Response("x", { headers: { Connection: "close" } }) },
  });
  try {
    const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const got = await talk(server.port, request + request);
    expect(got.map((reply) => reply.headers.connection)).toEqual(["close"]);
  } finally {
    server.stop();
  }
});

test("files are sent with their type and length, small and large, and a missing one is a 500", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hrmr-http1-"));
  const large = "0123456789".repeat(60_000);
  writeFileSync(join(folder, "small.css"), "p{}");
  writeFileSync(join(folder, "large.txt"), large);
  writeFileSync(join(folder, "empty.txt"), "");
  const file =
    (name: string): FetchHandler =>
    () =>
      new globals.Response(Bun.file(join(folder, name)));
  try {
    const small = await answerTo(file("small.css"), GET);
    expect([small.headers["content-type"], small.headers["content-length"], small.body]).toEqual([
      "text/css;charset=utf-8",
      "3",
      "p{}",
    ]);
    const whole = await answerTo(file("large.txt"), GET);
    expect([whole.headers["content-length"], whole.body === large]).toEqual(["600000", true]);
    const head = await answerTo(file("large.txt"), GET.replace("GET", "HEAD"));
    expect([head.headers["content-length"], head.body]).toEqual(["600000", ""]);
    expect((await answerTo(file("empty.txt"), GET)).headers["content-length"]).toBe("0");
    const part = await answerTo(() => new globals.Response(Bun.file(join(folder, "large.txt")).slice(5, 10)), GET);
    expect([part.headers["content-length"], part.body]).toEqual(["5", "56789"]);
    const server = startHarness({ routes: { "/": file("none.txt") } });
    try {
      const [missing] = await talk(server.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      expect([missing?.status, server.failures.length]).toEqual([500, 1]);
    } finally {
      server.stop();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a reply that was fetched compressed elsewhere is passed on readable", async () => {
  const page = "page ".repeat(1000);
  const target = startHarness({
    routes: {
      "/": () =>
        new globals.Response(Bun.gzipSync(page), {
          headers: { "Content-Encoding": "gzip", "Content-Type": "text/plain" },
        }),
    },
  });
  const front = startHarness({ routes: { "/": () => globals.fetch(`http://127.0.0.1:${target.port}/`) } });
  try {
    const response = await fetch(`http://127.0.0.1:${front.port}/`);
    expect([response.headers.get("content-type"), await response.text()]).toEqual(["text/plain", page]);
  } finally {
    front.stop();
    target.stop();
  }
});

test("a bare hono app is served: text, json, bodies, middleware, cookies, not found, errors and streams", async () => {
  const own = globalThis.Response;
  // As in a module's graph, where the global Response is the module's.
  globalThis.Response = globals.Response;
  const app = new Hono();
  app.use("/wrapped/*", async (c, next) => {
    await next();
    c.header("X-After", "1");
  });
  app.get("/text", (c) => c.text("text"));
  app.get("/json", (c) => c.json({ a: 1 }));
  app.get("/html", (c) => c.html("<p>"));
  app.get("/wrapped/text", (c) => c.text("wrapped"));
  app.get("/q", (c) => c.text(`${c.req.query("a")} ${c.req.header("x-a")}`));
  app.post("/json", async (c) => c.json(await c.req.json()));
  app.post("/form", async (c) => c.text(String((await c.req.parseBody())["a"])));
  app.get("/error", () => {
    throw new Error("in hono");
  });
  app.onError((error, c) => c.text(`failed ${error.message}`, 500));
  app.get("/redirect", (c) => c.redirect("/text"));
  const server = startHarness({ routes: { "/": (request) => app.fetch(request) } });
  try {
    const host = "Host: a\r\n";
    const get = (path: string, lines = "") => `GET ${path} HTTP/1.1\r\n${host}${lines}\r\n`;
    const send = (path: string, type: string, body: string) =>
      `POST ${path} HTTP/1.1\r\n${host}Content-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const requests =
      get("/text") +
      get("/json") +
      get("/html") +
      get("/wrapped/text") +
      get("/q?a=b", "X-A: c\r\n") +
      send("/json", "application/json", '{"b":2}') +
      send("/form", "application/x-www-form-urlencoded", "a=1") +
      get("/error") +
      get("/redirect") +
      get("/none", "Connection: close\r\n");
    const got = await talk(server.port, requests);
    expect(got.map((reply) => [reply.status, reply.body])).toEqual([
      [200, "text"],
      [200, '{"a":1}'],
      [200, "<p>"],
      [200, "wrapped"],
      [200, "b c"],
      [200, '{"b":2}'],
      [200, "1"],
      [500, "failed in hono"],
      [302, ""],
      [404, "404 Not Found"],
    ]);
    expect(got[3]?.headers).toMatchObject({ "x-after": "1", "content-length": "7" });
    expect(got.slice(0, 3).map((reply) => reply.headers["content-type"])).toEqual([
      "text/plain;charset=utf-8",
      "application/json",
      "text/html; charset=UTF-8",
    ]);
  } finally {
    globalThis.Response = own;
    server.stop();
  }
});
