/** The rules of RFC 9113 for streams and requests: each offence gets the error that the RFC names, where it names it. */
import { describe, expect, test } from "bun:test";
import type { RawClient } from "../../support/client";
import { type Hub, moduleSource, shareHub, withHub } from "../../support/hub";
import {
  blockOf,
  connectFrames,
  type Fields,
  frame,
  type Frame,
  type FrameReply,
  framesIn,
  getFrame,
  goawayCodes,
  headersFrame,
  OPENING,
  PREFACE,
  repliesIn,
  waitForFrames,
  withHttp2,
} from "../../support/http2";

const withShared = shareHub({
  "modules/web.ts": moduleSource(`{ routes: {
    "/hello": { fetch: () => new Response("hello") },
    "/wait": { fetch: async (request) => { await new Promise((resolve) => request.signal.addEventListener("abort", resolve)); return new Response(""); } },
    "POST /length": { fetch: async (request) => new Response(String((await request.bytes()).length)) },
    "POST /ignore": { fetch: () => new Response("ignored") },
    "/cookie": { fetch: (request) => new Response(request.headers.get("cookie")) },
    "/host": { fetch: (request) => new Response(request.headers.get("host") + " " + new URL(request.url).host) },
    "/large": { fetch: () => new Response("x".repeat(100_000)) },
    "/none": { fetch: () => new Response(null, { status: 204, headers: { "content-length": "0" } }) },
    "/old": { fetch: () => new Response(null, { status: 304 }) },
    "/parts": { fetch: () => new Response(new ReadableStream({ async pull(c) { await 1; c.enqueue("part"); c.close(); } })) },
  } }`),
  "hrmr.json": '{ "limits": { "maxBodyBytes": 300000, "maxHeaderFields": 20 } }',
});

const SETTINGS_ACK = 1;
const GET: Fields = [
  [":method", "GET"],
  [":scheme", "http"],
  [":authority", "localhost"],
  [":path", "/hello"],
];
const with1 = (name: string, value: string): Fields => GET.map((each) => (each[0] === name ? [name, value] : each));
const without = (name: string): Fields => GET.filter(([each]) => each !== name);
const POST: Fields = [
  [":method", "POST"],
  [":scheme", "http"],
  [":authority", "localhost"],
  [":path", "/length"],
];
const WAIT = getFrame(1, "/wait");
const OPEN = headersFrame(1, POST, false);
const CANCEL = frame(3, 0, 1, "\0\0\0\x08");
const MARK = frame(6, 0, 0, "the mark");
const isMarked = (frames: Frame[]): boolean =>
  frames.some(({ type, flags }) => type === 6 && (flags & SETTINGS_ACK) === 1);

async function ask<T>(
  hub: Hub,
  bytes: Uint8Array,
  use: (client: RawClient) => Promise<T>,
  opening = OPENING,
): Promise<T> {
  const client = await connectFrames(hub.port, Buffer.concat([opening, bytes]));
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

/** The error code of the connection's end. */
async function endOf(hub: Hub, bytes: Uint8Array, opening = OPENING): Promise<number[]> {
  const codes = await ask(
    hub,
    bytes,
    async (client) => {
      await client.waitForEnd();
      return goawayCodes(client.bytes);
    },
    opening,
  );
  expect((await withHttp2(hub.url, (client) => client.ask("/hello"))).status).toBe(200);
  return codes;
}

/** What came of a stream. The connection goes on: a PING behind is answered. */
function replyTo(hub: Hub, bytes: Uint8Array, stream = 1): Promise<FrameReply | undefined> {
  return ask(hub, Buffer.concat([bytes, MARK]), async (client) => {
    await waitForFrames(client, isMarked);
    const frames = await waitForFrames(client, (all) => {
      const end = repliesIn(all).get(stream)?.end ?? null;
      return end !== null;
    });
    return repliesIn(frames).get(stream);
  });
}

const PROTOCOL = 1;
const FLOW = 3;
const CLOSED = 5;
const SIZE = 6;
const REFUSED = 7;
const COMPRESSION = 9;

describe("the connection ends with the error that the RFC names for", () => {
  const window = (bytes: number): Buffer => {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(bytes);
    return payload;
  };
  const CASES: [section: string, what: string, bytes: Buffer, code: number][] = [
    ["4.3", "a block that cannot be decoded", frame(1, 5, 1, "\xff\xff\xff\xff\xff"), COMPRESSION],
    ["4.3", "an index without an entry", frame(1, 5, 1, "\xbe"), COMPRESSION],
    ["4.3", "trailers that cannot be decoded", Buffer.concat([OPEN, frame(1, 5, 1, "\xbe")]), COMPRESSION],
    ["5.1", "DATA of an idle stream", frame(0, 0, 1, "x"), PROTOCOL],
    ["5.1", "RST_STREAM of an idle stream", frame(3, 0, 1, "\0\0\0\x08"), PROTOCOL],
    ["5.1", "WINDOW_UPDATE of an idle stream", frame(8, 0, 1, "\0\0\0\x01"), PROTOCOL],
    ["5.1", "DATA behind the end of both sides", Buffer.concat([getFrame(1, "/hello"), frame(0, 0, 1, "x")]), CLOSED],
    [
      "5.1",
      "HEADERS behind the end of both sides",
      Buffer.concat([getFrame(1, "/hello"), getFrame(1, "/hello")]),
      CLOSED,
    ],
    ["5.1.1", "a stream with an even number", getFrame(2, "/hello"), PROTOCOL],
    ["5.1.1", "a stream below the last one", Buffer.concat([getFrame(5, "/hello"), getFrame(3, "/hello")]), PROTOCOL],
    ["6.3", "a PRIORITY of a wrong length, of an idle stream", frame(2, 0, 1, "1234"), SIZE],
    ["6.5.2", "ENABLE_PUSH that is neither 0 nor 1", frame(4, 0, 0, "\0\x02\0\0\0\x02"), PROTOCOL],
    ["6.5.2", "INITIAL_WINDOW_SIZE above 2^31-1", frame(4, 0, 0, "\0\x04\x80\0\0\0"), FLOW],
    ["6.5.2", "MAX_FRAME_SIZE below 16384", frame(4, 0, 0, "\0\x05\0\0\x3f\xff"), PROTOCOL],
    ["6.5.2", "MAX_FRAME_SIZE above 2^24-1", frame(4, 0, 0, "\0\x05\x01\0\0\0"), PROTOCOL],
    ["6.9", "WINDOW_UPDATE of 0 for the connection", frame(8, 0, 0, "\0\0\0\0"), PROTOCOL],
    ["6.9.1", "a window of the connection above 2^31-1", frame(8, 0, 0, window(0x7fffffff)), FLOW],
    [
      "6.9.2",
      "a setting that makes a stream's window too large",
      Buffer.concat([WAIT, frame(8, 0, 1, window(0x7fff0000)), frame(4, 0, 0, "\0\x04\x7f\xff\xff\xff")]),
      FLOW,
    ],
    [
      "6.9.1",
      "more DATA than the connection's window",
      Buffer.concat([
        ...Array.from({ length: 8 }, (_, at) =>
          headersFrame(at * 2 + 1, [...POST.slice(0, 3), [":path", "/wait"]], false),
        ),
        ...Array.from({ length: 128 }, (_, at) => frame(0, 0, (at % 8) * 2 + 1, Buffer.alloc(16_384))),
      ]),
      FLOW,
    ],
  ];
  for (const [section, what, bytes, code] of CASES)
    test(`${what} (${section})`, () => withShared(async (hub) => expect(await endOf(hub, bytes)).toEqual([code])));

  test("a first frame that is not SETTINGS, or acknowledges some (3.4)", () =>
    withShared(async (hub) => {
      for (const first of [getFrame(1, "/hello"), frame(4, SETTINGS_ACK, 0)])
        expect(await endOf(hub, first, PREFACE)).toEqual([PROTOCOL]);
    }));
});

describe("the stream, and it alone, is reset for", () => {
  const post = (length: string, ...frames: Buffer[]): Buffer =>
    Buffer.concat([headersFrame(1, [...POST, ["content-length", length]], false), ...frames]);
  const CASES: [section: string, what: string, bytes: Buffer, code: number][] = [
    ["5.1", "DATA behind END_STREAM", Buffer.concat([WAIT, frame(0, 0, 1, "x")]), CLOSED],
    ["5.1", "HEADERS behind END_STREAM", Buffer.concat([WAIT, getFrame(1, "/hello")]), CLOSED],
    ["5.1", "DATA behind its own RST_STREAM", Buffer.concat([WAIT, CANCEL, frame(0, 0, 1, "x")]), CLOSED],
    ["5.1", "HEADERS behind its own RST_STREAM", Buffer.concat([WAIT, CANCEL, getFrame(1, "/hello")]), CLOSED],
    [
      "5.3.1",
      "HEADERS that depend on themselves",
      frame(1, 0x25, 1, Buffer.concat([Buffer.from("\0\0\0\x01\x10", "latin1"), blockOf(GET)])),
      PROTOCOL,
    ],
    ["6.3", "a PRIORITY of a wrong length", Buffer.concat([WAIT, frame(2, 0, 1, "1234")]), SIZE],
    ["6.9", "a WINDOW_UPDATE of 0", Buffer.concat([WAIT, frame(8, 0, 1, "\0\0\0\0")]), PROTOCOL],
    ["6.9.1", "a window above 2^31-1", Buffer.concat([WAIT, frame(8, 0, 1, "\x7f\xff\xff\xff")]), FLOW],
    ["8.1", "second HEADERS without END_STREAM", Buffer.concat([OPEN, headersFrame(1, [["a", "b"]], false)]), PROTOCOL],
    ["8.1", "a pseudo-field in trailers", Buffer.concat([OPEN, headersFrame(1, [[":path", "/"]])]), PROTOCOL],
    [
      "8.1",
      "a field of the connection in trailers",
      Buffer.concat([OPEN, headersFrame(1, [["upgrade", "x"]])]),
      PROTOCOL,
    ],
    ["8.1.1", "a length above the body's", post("2", frame(0, 1, 1, "x")), PROTOCOL],
    ["8.1.1", "a length below the body's", post("1", frame(0, 0, 1, "x"), frame(0, 1, 1, "y")), PROTOCOL],
    ["8.1.1", "a length without a body", headersFrame(1, [...POST, ["content-length", "1"]]), PROTOCOL],
    [
      "8.1.1",
      "a length above the body's, with trailers",
      post("9", frame(0, 0, 1, "x"), headersFrame(1, [["a", "b"]])),
      PROTOCOL,
    ],
    ["8.1.1", "two lengths", headersFrame(1, [...POST, ["content-length", "0"], ["content-length", "0"]]), PROTOCOL],
    ["8.2", "a name in upper case", headersFrame(1, [...GET, ["X-Test", "1"]]), PROTOCOL],
    ["8.2.1", "a name with a space", headersFrame(1, [...GET, ["x test", "1"]]), PROTOCOL],
    ["8.2.1", "an empty name", headersFrame(1, [...GET, ["", "1"]]), PROTOCOL],
    ["8.2.1", "a name with a high byte", headersFrame(1, [...GET, ["x\xe4", "1"]]), PROTOCOL],
    ["8.2.1", "a value with a line end", headersFrame(1, [...GET, ["x-test", "a\r\nb: c"]]), PROTOCOL],
    ["8.2.1", "a value with a NUL", headersFrame(1, [...GET, ["x-test", "a\0b"]]), PROTOCOL],
    ["8.2.1", "a value that begins with a space", headersFrame(1, [...GET, ["x-test", " a"]]), PROTOCOL],
    ["8.2.1", "a value that ends with a tab", headersFrame(1, [...GET, ["x-test", "a\t"]]), PROTOCOL],
    ...["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"].map(
      (name): [string, string, Buffer, number] => [
        "8.2.2",
        `the field ${name}`,
        headersFrame(1, [...GET, [name, "x"]]),
        PROTOCOL,
      ],
    ),
    ["8.2.2", "TE that is not trailers", headersFrame(1, [...GET, ["te", "trailers, deflate"]]), PROTOCOL],
    ["8.3", "an unknown pseudo-field", headersFrame(1, [...GET, [":test", "x"]]), PROTOCOL],
    ["8.3", "a pseudo-field of replies", headersFrame(1, [...GET, [":status", "200"]]), PROTOCOL],
    ["8.3", "a pseudo-field behind a field", headersFrame(1, [["x-test", "1"], ...GET]), PROTOCOL],
    ["8.3", "a pseudo-field behind a cookie without a value", headersFrame(1, [["cookie", ""], ...GET]), PROTOCOL],
    ["8.3", "a pseudo-field behind host", headersFrame(1, [["host", "localhost"], ...GET]), PROTOCOL],
    ["8.3.1", "an empty :path", headersFrame(1, with1(":path", "")), PROTOCOL],
    ["8.3.1", "no :path", headersFrame(1, without(":path")), PROTOCOL],
    ["8.3.1", "no :method", headersFrame(1, without(":method")), PROTOCOL],
    ["8.3.1", "no :scheme", headersFrame(1, without(":scheme")), PROTOCOL],
    ["8.3.1", "two :path", headersFrame(1, [...GET, [":path", "/"]]), PROTOCOL],
    ["8.3.1", "two :method", headersFrame(1, [...GET, [":method", "GET"]]), PROTOCOL],
    ["8.3.1", "two :scheme", headersFrame(1, [...GET, [":scheme", "http"]]), PROTOCOL],
    ["8.3.1", "two :authority", headersFrame(1, [...GET, [":authority", "localhost"]]), PROTOCOL],
    ["8.3.1", "a :method that is no token", headersFrame(1, with1(":method", "GE T")), PROTOCOL],
    ["8.3.1", "a :scheme that is none", headersFrame(1, with1(":scheme", "1 2")), PROTOCOL],
    [
      "8.2.2",
      "TE in trailers that is not trailers",
      Buffer.concat([OPEN, headersFrame(1, [["te", "gzip"]])]),
      PROTOCOL,
    ],
    ["8.5", "CONNECT without an authority", headersFrame(1, [[":method", "CONNECT"]]), PROTOCOL],
    ["8.5", "CONNECT with a :path", headersFrame(1, with1(":method", "CONNECT")), PROTOCOL],
    ["8.5", "an object's inherited name", headersFrame(1, [...GET, [":constructor", "x"]]), PROTOCOL],
  ];
  for (const [section, what, bytes, code] of CASES)
    test(`${what} (${section})`, () => withShared(async (hub) => expect((await replyTo(hub, bytes))?.end).toBe(code)));

  test("more streams at once than the setting says (5.1.2); the others are served", () =>
    withShared((hub) =>
      ask(hub, Buffer.concat(Array.from({ length: 258 }, (_, at) => getFrame(at * 2 + 1, "/wait"))), async (client) => {
        const frames = await waitForFrames(client, (all) => (repliesIn(all).get(515)?.end ?? null) !== null);
        expect([repliesIn(frames).get(513)?.end, repliesIn(frames).get(515)?.end]).toEqual([REFUSED, REFUSED]);
        await client.send(Buffer.concat([CANCEL, getFrame(517, "/hello")]));
        await waitForFrames(client, (all) => repliesIn(all).get(517)?.body === "hello");
      }),
    ));

  test("more DATA than its window (6.9.1)", () =>
    withShared((hub) =>
      // The handler does not read, so that nothing is given back.
      ask(hub, headersFrame(1, [...POST.slice(0, 3), [":path", "/wait"]], false), async (client) => {
        const more = Buffer.concat(Array.from({ length: 17 }, () => frame(0, 0, 1, Buffer.alloc(16_384))));
        await client.send(more);
        const frames = await waitForFrames(client, (all) => (repliesIn(all).get(1)?.end ?? null) !== null);
        expect(repliesIn(frames).get(1)?.end).toBe(FLOW);
      }),
    ));
});

describe("what HTTP refuses is refused in the words of HTTP/1.1:", () => {
  const CASES: [what: string, fields: Fields, request: string][] = [
    [
      "CONNECT",
      [
        [":method", "CONNECT"],
        [":authority", "a.example:443"],
      ],
      "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n",
    ],
    ["an unknown method", with1(":method", "BREW"), "BREW /hello HTTP/1.1\r\nHost: a\r\n"],
    ["an authority with a space", with1(":authority", "a b"), "GET /hello HTTP/1.1\r\nHost: a b\r\n"],
    ["an authority with a path", with1(":authority", "a/b"), "GET /hello HTTP/1.1\r\nHost: a/b\r\n"],
    ["an authority with a user", with1(":authority", "me@a"), "GET /hello HTTP/1.1\r\nHost: me@a\r\n"],
    ["an authority that is cut", with1(":authority", "["), "GET /hello HTTP/1.1\r\nHost: [\r\n"],
    ["no authority", without(":authority"), "GET /hello HTTP/1.1\r\n"],
    [
      "two hosts",
      [...without(":authority"), ["host", "a"], ["host", "a"]],
      "GET /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
    ],
    ["a target that is no path", with1(":path", "ftp://a/hello"), "GET ftp://a/hello HTTP/1.1\r\nHost: a\r\n"],
    ["* of GET", with1(":path", "*"), "GET * HTTP/1.1\r\nHost: a\r\n"],
    [
      "* of OPTIONS",
      GET.map(([name, value]) => [name, { ":method": "OPTIONS", ":path": "*" }[name] ?? value]),
      "OPTIONS * HTTP/1.1\r\nHost: a\r\n",
    ],
    ["bytes over 0x7f in a target", with1(":path", "/h\xe4llo"), "GET /h\xe4llo HTTP/1.1\r\nHost: a\r\n"],
    [
      "a target that is too long",
      with1(":path", `/${"a".repeat(9000)}`),
      `GET /${"a".repeat(9000)} HTTP/1.1\r\nHost: a\r\n`,
    ],
    ["a path that is badly encoded", with1(":path", "/%zz"), "GET /%zz HTTP/1.1\r\nHost: a\r\n"],
    ["a path that is not canonical", with1(":path", "/a/../hello"), "GET /a/../hello HTTP/1.1\r\nHost: a\r\n"],
    ["a path without a route", with1(":path", "/nowhere"), "GET /nowhere HTTP/1.1\r\nHost: a\r\n"],
    ["an expectation", [...GET, ["expect", "miracles"]], "GET /hello HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n"],
    [
      "a length that is no number",
      [...GET, ["content-length", "x"]],
      "GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n",
    ],
    [
      "too many fields",
      [...GET, ...Array.from({ length: 30 }, (_, at) => [`x-${at}`, "1"] as const)],
      `GET /hello HTTP/1.1\r\nHost: a\r\n${Array.from({ length: 30 }, (_, at) => `X-${at}: 1\r\n`).join("")}`,
    ],
    [
      "fields that are too large",
      [...GET, ["x-large", "x".repeat(20_000)]],
      `GET /hello HTTP/1.1\r\nHost: a\r\nX-Large: ${"x".repeat(20_000)}\r\n`,
    ],
  ];
  for (const [what, fields, request] of CASES) {
    test(what, () =>
      withShared(async (hub) => {
        const client = await hub.connect();
        await client.send(Buffer.from(`${request}Connection: close\r\n\r\n`, "latin1"));
        const http1 = await client.waitForEnd();
        client.close();
        const reply = await replyTo(hub, Buffer.concat([headersInFrames(1, fields)]));
        const [head = "", body = ""] = http1.split("\r\n\r\n");
        // llhttp judges a length before anything else does, and says less.
        if (what === "a length that is no number") expect(reply?.body).toBe("The Content-Length is not a number.\n");
        else expect(reply?.body).toBe(body);
        expect([reply?.end, String(reply?.status)]).toEqual(["whole", head.split(" ")[1]]);
        for (const name of ["allow", "location"])
          expect(reply?.fields[name] ?? null).toBe(new RegExp(`^${name}: (.*)$`, "im").exec(head)?.[1] ?? null);
      }),
    );
  }

  test("a Host that differs from :authority", () =>
    withShared(async (hub) => {
      const reply = await replyTo(hub, headersFrame(1, [...GET, ["host", "other.example"]]));
      expect(reply).toMatchObject({ status: 400, body: "The Host field differs from :authority.\n" });
    }));

  test("a body that is too large, announced or not, with its text; HEAD gets none", () =>
    withShared(async (hub) => {
      const announced = await replyTo(hub, headersFrame(1, [...POST, ["content-length", "99999999"]], false));
      const said = "The body is larger than this server accepts.\n";
      expect(announced).toMatchObject({ status: 413, body: said, end: "whole" });
      const sent = Buffer.concat([OPEN, ...Array.from({ length: 19 }, () => frame(0, 0, 1, Buffer.alloc(16_384)))]);
      expect(await replyTo(hub, sent)).toMatchObject({ status: 413, body: said });
      const head = await replyTo(hub, headersFrame(1, [...with1(":method", "HEAD"), ["expect", "miracles"]]));
      expect(head).toMatchObject({ status: 417, body: "", end: "whole" });
    }));

  test("a POST that is refused behind a HEAD has its text, also if its block is known", () =>
    withShared((hub) => {
      const tooLarge = (stream: number) => headersFrame(stream, [...POST, ["content-length", "99999999"]], false);
      const head = headersFrame(3, with1(":method", "HEAD"));
      return ask(hub, Buffer.concat([tooLarge(1), head, tooLarge(5)]), async (client) => {
        const frames = await waitForFrames(client, (all) => repliesIn(all).get(5)?.end === "whole");
        const replies = repliesIn(frames);
        expect(replies.get(5)).toEqual(replies.get(1) as FrameReply);
        expect(replies.get(5)).toMatchObject({ status: 413, body: "The body is larger than this server accepts.\n" });
      });
    }));

  test("a request that is refused while it waits for its turn does not reach its handler", () =>
    withHub(
      {
        "modules/web.ts": moduleSource(`{ routes: {
          "/large": { fetch: () => new Response("x".repeat(100_000)) },
          "POST /called": { fetch: async (request) => { globalThis.called = true; return new Response(await request.text()); } },
          "/called": { fetch: () => new Response(String(globalThis.called === true)) },
        } }`),
        "hrmr.json": '{ "limits": { "maxBodyBytes": 1000 } }',
      },
      [],
      async (hub) => {
        // The client takes nothing, so that requests behind these wait.
        const streams = Array.from({ length: 12 }, (_, at) => at * 2 + 1);
        const larges = Buffer.concat(streams.map((stream) => getFrame(stream, "/large")));
        const refused = Buffer.concat([getFrame(101, "/called", false), frame(0, 0, 101, Buffer.alloc(2000))]);
        const opening = Buffer.concat([OPENING, frame(4, 0, 0, "\0\x04\0\0\0\0")]);
        await ask(
          hub,
          Buffer.concat([larges, refused]),
          async (client) => {
            await waitForFrames(client, (all) => repliesIn(all).get(101)?.status === 413);
            const room = Buffer.concat([frame(8, 0, 0, "\x10\0\0\0"), frame(4, 0, 0, "\0\x04\x10\0\0\0")]);
            await client.send(Buffer.concat([room, frame(0, 1, 101), getFrame(103, "/called")]));
            const frames = await waitForFrames(client, (all) => (repliesIn(all).get(103)?.end ?? null) !== null);
            expect(repliesIn(frames).get(103)?.body).toBe("false");
            const heads = frames.filter(({ type, stream }) => type === 1 && stream === 101);
            expect([heads.length, repliesIn(frames).get(101)?.end]).toEqual([1, "whole"]);
          },
          opening,
        );
      },
    ));
});

/** HEADERS, with CONTINUATIONs if they need more than a frame. */
function headersInFrames(stream: number, fields: Fields): Buffer {
  const block = blockOf(fields);
  if (block.length <= 16_384) return frame(1, 5, stream, block);
  return Buffer.concat([frame(1, 1, stream, block.subarray(0, 16_384)), frame(9, 4, stream, block.subarray(16_384))]);
}

describe("what the RFC allows is served:", () => {
  const served = (what: string, bytes: Buffer, expected: Partial<FrameReply>, stream = 1): void => {
    test(what, () => withShared(async (hub) => expect(await replyTo(hub, bytes, stream)).toMatchObject(expected)));
  };
  const hello = { status: 200, body: "hello", end: "whole" } as const;
  served(
    "a block in many CONTINUATIONs",
    Buffer.concat([
      frame(1, 1, 1),
      ...[...blockOf(GET)].map((byte) => frame(9, 0, 1, Uint8Array.of(byte))).slice(0, 0),
      frame(9, 0, 1, blockOf(GET).subarray(0, 9)),
      frame(9, 0, 1),
      frame(9, 4, 1, blockOf(GET).subarray(9)),
    ]),
    hello,
  );
  served(
    "padding and a priority",
    frame(1, 0x2d, 1, Buffer.concat([Buffer.from("\x02\0\0\0\x03\x10", "latin1"), blockOf(GET), Buffer.alloc(2)])),
    hello,
  );
  served(
    "frames, flags and settings that nobody knows",
    Buffer.concat([frame(0xbe, 0xff, 9, "x"), frame(4, 0xfe, 0, "\0\xbe\xff\xff\xff\xff"), getFrame(1, "/hello")]),
    hello,
  );
  served("the reserved bit of a stream's number", getFrame(0x80000001, "/hello"), hello);
  served(
    "PRIORITY of any stream",
    Buffer.concat([frame(2, 0, 1, "\0\0\0\x03\x10"), getFrame(3, "/hello"), frame(2, 0, 3, "\0\0\0\x01\x10")]),
    hello,
    3,
  );
  served(
    "WINDOW_UPDATE and RST_STREAM of a stream that has ended",
    Buffer.concat([
      getFrame(1, "/hello"),
      frame(8, 0, 1, "\0\0\0\x01"),
      frame(3, 0, 1, "\0\0\0\x63"),
      getFrame(3, "/hello"),
    ]),
    hello,
    3,
  );
  served("numbers that are skipped", getFrame(1001, "/hello"), hello, 1001);
  served("trailers behind a body", Buffer.concat([OPEN, frame(0, 0, 1, "12345"), headersFrame(1, [["x-sum", "5"]])]), {
    status: 200,
    body: "5",
  });
  served("trailers without a body", Buffer.concat([OPEN, headersFrame(1, [["x-sum", "0"]])]), {
    status: 200,
    body: "0",
  });
  served(
    "a body in frames of any size, some padded",
    Buffer.concat([
      OPEN,
      frame(0, 0, 1),
      frame(0, 8, 1, "\x04ab\0\0\0\0"),
      frame(0, 0, 1, "cde"),
      frame(0, 9, 1, "\0"),
    ]),
    { body: "5" },
  );
  served("TE: trailers", headersFrame(1, [...GET, ["te", "trailers"]]), hello);
  served("a Host that equals :authority", headersFrame(1, [...GET, ["host", "LOCALHOST"]]), hello);
  served(
    "a Host instead of :authority",
    headersFrame(
      1,
      [...without(":authority"), ["host", "b.example:1"]].map(([name = "", value = ""]) => [
        name,
        name === ":path" ? "/host" : value,
      ]),
    ),
    { body: "b.example:1 b.example:1" },
  );
  served(
    "cookies in pieces",
    headersFrame(1, [...with1(":path", "/cookie"), ["cookie", "a=1"], ["x-test", "1"], ["cookie", "b=2"]]),
    { body: "a=1; b=2" },
  );
  served(
    "a body that nobody reads",
    Buffer.concat([headersFrame(1, [...POST.slice(0, 3), [":path", "/ignore"]], false), frame(0, 1, 1, "12345")]),
    { body: "ignored", end: "whole" },
  );
  served("an empty value", headersFrame(1, [...GET, ["x-empty", ""]]), hello);

  test("a 204 and a 304 have no length, and HEAD of a stream none of 0 (RFC 9110 section 8.6)", () =>
    withShared(async (hub) => {
      const none = await replyTo(hub, getFrame(1, "/none"));
      expect([none?.status, none?.fields["content-length"], none?.end]).toEqual([204, undefined, "whole"]);
      const old = await replyTo(hub, getFrame(1, "/old"));
      expect([old?.status, old?.fields["content-length"], old?.end]).toEqual([304, undefined, "whole"]);
      const head = await replyTo(hub, headersFrame(1, [[":method", "HEAD"], ...with1(":path", "/parts").slice(1)]));
      expect([head?.status, head?.fields["content-length"], head?.body]).toEqual([200, undefined, ""]);
    }));

  test("a client with a small window gets as much as it takes, also if settings make it negative (6.9.2)", () =>
    withShared((hub) =>
      ask(hub, Buffer.concat([frame(4, 0, 0, "\0\x04\0\0\0\x03"), getFrame(1, "/hello")]), async (client) => {
        const body = async (text: string): Promise<void> =>
          void (await waitForFrames(client, (all) => repliesIn(all).get(1)?.body === text));
        await body("hel");
        // -2 now, and 1 behind the update.
        await client.send(Buffer.concat([frame(4, 0, 0, "\0\x04\0\0\0\x01"), MARK]));
        await waitForFrames(client, isMarked);
        await client.send(Buffer.concat([frame(8, 0, 1, "\0\0\0\x03")]));
        await body("hell");
        await client.send(frame(4, 0, 0, "\0\x04\0\0\0\x09"));
        await body("hello");
        expect(repliesIn(framesIn(client.bytes)).get(1)?.end).toBe("whole");
      }),
    ));

  test("a reply goes no further than the connection's window", () =>
    withShared((hub) =>
      ask(hub, getFrame(1, "/large"), async (client) => {
        const size = (frames: Frame[]): number => repliesIn(frames).get(1)?.body.length ?? 0;
        expect(size(await waitForFrames(client, (all) => size(all) >= 65_535))).toBe(65_535);
        await client.send(Buffer.concat([frame(8, 0, 1, "\0\x01\0\0"), MARK]));
        expect(size(await waitForFrames(client, isMarked))).toBe(65_535);
        await client.send(frame(8, 0, 0, "\0\x01\0\0"));
        await waitForFrames(client, (all) => size(all) === 100_000);
      }),
    ));

  test("a block of a client whose table is smaller begins with a size update (RFC 7541 section 4.2)", () =>
    withShared((hub) =>
      ask(
        hub,
        Buffer.concat([frame(4, 0, 0, "\0\x01\0\0\0\0"), getFrame(1, "/hello"), getFrame(3, "/hello")]),
        async (client) => {
          const frames = await waitForFrames(client, (all) => repliesIn(all).get(3)?.end === "whole");
          const blocks = frames.filter(({ type }) => type === 1).map(({ payload }) => payload[0]);
          expect(blocks).toEqual([0x20, 0x88]);
        },
      ),
    ));
});
