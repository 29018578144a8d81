/** Trailers of requests and replies, over HTTP/2 and chunked HTTP/1.1, from every host. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connectFrames, frame, type Frame, headersFrame, OPENING, repliesIn, waitForFrames } from "../../support/http2";
import { Hub, makeProject, moduleSource } from "../../support/hub";
import { startProgram } from "../../support/program";

const HOSTS = ["inline", "pool", "process"] as const;

const source = (host: string): string =>
  moduleSource(`{ routes: {
    "POST /${host}/sum": { run: "${host}", fetch: async (request, context) => {
      const text = await request.text();
      const trailers = await context.requestTrailers;
      return Response.json({ length: text.length, sum: trailers.get("x-sum"), all: [...trailers] });
    } },
    "POST /${host}/late": { run: "${host}", fetch: async (request, context) => {
      const trailers = context.requestTrailers;
      for await (const part of request.body ?? []) void part;
      return new Response((await trailers).get("x-sum") ?? "none");
    } },
    "/${host}/text": { run: "${host}", fetch: (request, context) => {
      context.responseTrailers.set("grpc-status", "0");
      context.responseTrailers.append("x-note", "gr\\u00fcn");
      context.responseTrailers.set("content-length", "7");
      return new Response("a text");
    } },
    "/${host}/empty": { run: "${host}", fetch: async (request, context) => {
      context.responseTrailers.set("grpc-status", "5");
      return new Response(null);
    } },
    "/${host}/parts": { run: "${host}", fetch: async (request, context) => new Response((async function* () {
      yield "one "; await Bun.sleep(1); yield "two"; context.responseTrailers.set("x-parts", "2");
    })()) },
    "/${host}/asked": { run: "${host}", fetch: (request, context) => { void context.responseTrailers; return new Response("none"); } },
  } }`);

let hub: Hub;
beforeAll(async () => {
  const dir = makeProject({
    ...Object.fromEntries(HOSTS.map((host) => [`modules/${host}m.ts`, source(host)])),
    // Trailers pass through middleware, too.
    "modules/guard.ts": moduleSource(`{ routes: {}, middleware: async (request, context, next) => {
      const response = await next();
      if (new URL(request.url).searchParams.has("guard")) context.responseTrailers.set("x-guard", "seen");
      return response;
    } }`),
    "hrmr.json": JSON.stringify({ http: { use: ["guard"] } }),
  });
  hub = new Hub(dir, await startProgram(["--port", "0", "--threads", "2"], { cwd: dir }));
});
afterAll(() => hub.stop());

interface Got {
  body: string;
  trailers: Record<string, string> | null;
}

async function overHttp2(path: string, upload: Buffer | null = null): Promise<Got> {
  const fields = [
    [":method", upload === null ? "GET" : "POST"],
    [":scheme", "http"],
    [":authority", "localhost"],
    [":path", path],
    ["te", "trailers"],
  ] as const;
  const client = await connectFrames(
    hub.port,
    Buffer.concat([OPENING, headersFrame(1, fields, upload === null), upload ?? Buffer.alloc(0)]),
  );
  try {
    const isWhole = (frames: Frame[]): boolean => (repliesIn(frames).get(1)?.end ?? null) !== null;
    const reply = repliesIn(await waitForFrames(client, isWhole)).get(1);
    expect([path, reply?.end]).toEqual([path, "whole"]);
    return { body: reply?.body ?? "", trailers: reply?.trailers ?? null };
  } finally {
    client.close();
  }
}

async function overHttp1(path: string, fields = "TE: trailers\r\n", upload = ""): Promise<Got> {
  const client = await hub.connect();
  try {
    const method = upload === "" ? "GET" : "POST";
    const head = `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${fields}\r\n`;
    await client.send(Buffer.from(head + upload, "latin1"));
    await client.waitForEnd();
    const text = client.bytes.toString("latin1");
    const at = text.indexOf("\r\n\r\n");
    if (!/^transfer-encoding: chunked/im.test(text.slice(0, at + 2)))
      return { body: text.slice(at + 4), trailers: null };
    let body = "";
    let rest = text.slice(at + 4);
    for (;;) {
      const size = Number.parseInt(rest, 16);
      rest = rest.slice(rest.indexOf("\r\n") + 2);
      if (size === 0) break;
      body += rest.slice(0, size);
      rest = rest.slice(size + 2);
    }
    const lines = rest.split("\r\n").filter((line) => line !== "");
    return { body, trailers: lines.length === 0 ? null : Object.fromEntries(lines.map((line) => line.split(": "))) };
  } finally {
    client.close();
  }
}

describe.each(HOSTS)("on the host %s", (host) => {
  test("a reply's trailers are sent behind a text, an empty body and a stream", async () => {
    for (const get of [overHttp2, overHttp1]) {
      expect(await get(`/${host}/text`)).toEqual({
        body: "a text",
        trailers: { "grpc-status": "0", "x-note": "gr\xfcn" },
      });
      expect(await get(`/${host}/empty`)).toEqual({ body: "", trailers: { "grpc-status": "5" } });
      expect(await get(`/${host}/parts`)).toEqual({ body: "one two", trailers: { "x-parts": "2" } });
      expect(await get(`/${host}/asked`)).toEqual({ body: "none", trailers: null });
      expect(await get(`/${host}/parts?guard`)).toEqual({
        body: "one two",
        trailers: { "x-guard": "seen", "x-parts": "2" },
      });
    }
  });

  test("a client of HTTP/1.1 that does not take trailers gets none", async () => {
    expect(await overHttp1(`/${host}/text`, "")).toEqual({ body: "a text", trailers: null });
    expect(await overHttp1(`/${host}/text`, "TE: gzip\r\n")).toEqual({ body: "a text", trailers: null });
    expect(await overHttp1(`/${host}/parts`, "")).toEqual({ body: "one two", trailers: null });
  });

  test("a request's trailers come behind its body, read whole or in parts", async () => {
    const trailers = headersFrame(1, [
      ["x-sum", "17"],
      ["x-other", "a"],
    ]);
    const upload = Buffer.concat([frame(0, 0, 1, "12345"), trailers]);
    const seen = '{"length":5,"sum":"17","all":[["x-other","a"],["x-sum","17"]]}';
    expect((await overHttp2(`/${host}/sum`, upload)).body).toBe(seen);
    expect((await overHttp2(`/${host}/late`, upload)).body).toBe("17");
    expect((await overHttp2(`/${host}/late`, frame(0, 1, 1, "12345"))).body).toBe("none");
    const chunked = "TE: trailers\r\nTransfer-Encoding: chunked\r\n";
    expect((await overHttp1(`/${host}/sum`, chunked, "5\r\n12345\r\n0\r\nX-Sum: 17\r\nX-Other:a\r\n\r\n")).body).toBe(
      seen,
    );
    expect((await overHttp1(`/${host}/late`, chunked, "5\r\n12345\r\n0\r\nX-Sum: 17\r\n\r\n")).body).toBe("17");
    expect((await overHttp1(`/${host}/late`, "Content-Length: 5\r\n", "12345")).body).toBe("none");
  });

  test("a small body of a told length has trailers over HTTP/2", async () => {
    const fields = [
      [":method", "POST"],
      [":scheme", "http"],
      [":authority", "localhost"],
      [":path", `/${host}/sum`],
      ["content-length", "5"],
    ] as const;
    const bytes = [OPENING, headersFrame(1, fields, false), frame(0, 0, 1, "12345"), headersFrame(1, [["x-sum", "9"]])];
    const client = await connectFrames(hub.port, Buffer.concat(bytes));
    const frames = await waitForFrames(client, (all) => repliesIn(all).get(1)?.end === "whole");
    expect(repliesIn(frames).get(1)?.body).toBe('{"length":5,"sum":"9","all":[["x-sum","9"]]}');
    client.close();
  });
});

test("trailers that frame a message, or are malformed, are refused", async () => {
  for (const trailer of ["Content-Length: 1", "Host: a", "Transfer-Encoding: chunked", "X Y: 1", "X-A"]) {
    const client = await hub.connect();
    await client.send(
      `POST /inline/sum HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n${trailer}\r\n\r\n`,
    );
    expect([trailer, (await client.waitForEnd()).split("\r\n")[0]]).toEqual([trailer, "HTTP/1.1 400 Bad Request"]);
    client.close();
  }
  expect((await overHttp1("/inline/text")).body).toBe("a text");
});
