/**
 * HTTP that breaks the rules: each request gets its status or a closed connection, no handler ever sees it, and the
 * next client is served.
 */
import { describe, expect, test } from "bun:test";
import { type Hub, moduleSource, shareHub, withHub } from "../../support/hub";
import { eventually } from "../../support/until";

/** Writes down every request that reaches a handler; SEEN tells and forgets. */
const RECORDER = moduleSource(`{
  setup: () => ({ seen: [] }),
  routes: {
    "/": { async fetch(request, { state }) { state.seen.push(request.method + " " + new URL(request.url).pathname); return new Response("ok:" + (await request.text())); } },
    "SEEN": { framing: "line", handle: (message, { state }) => JSON.stringify(state.seen.splice(0)) + "\\n" },
  },
}`);
const FILES = {
  "modules/recorder.ts": RECORDER,
  // On a loaded machine a request takes its time, byte by byte.
  "hrmr.json": '{ "timeouts": { "requestMs": 60000, "headMs": 60000, "bodyMs": 60000 } }',
};
const LIMITS = {
  ...FILES,
  "hrmr.json": '{ "limits": { "maxBodyBytes": 1000 }, "timeouts": { "requestMs": 300, "headMs": 300, "bodyMs": 300 } }',
};

const withShared = shareHub(FILES);

const seen = async (hub: Hub): Promise<string[]> => JSON.parse(await hub.ask("SEEN\n")) as string[];
/** Latin-1, so that a test can hold any byte. */
const raw = (text: string) => Buffer.from(text, "latin1");

/** The server is the same process, and serves a fresh client. */
async function alive(hub: Hub): Promise<void> {
  expect(await hub.ask("GET /alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).toEndWith("\r\n\r\nok:");
  expect((await seen(hub)).at(-1)).toBe("GET /alive");
  expect(hub.program.output()).not.toContain("bug in hrmr");
  process.kill(hub.program.pid, 0);
}

const H = "Host: x\r\n";
const post = (fields: string, body = "") => `POST /bad HTTP/1.1\r\n${H}${fields}\r\n${body}`;
const get = (fields: string) => `GET /bad HTTP/1.1\r\n${H}${fields}\r\n`;

/** The case, its bytes, and the status. */
const REFUSED: [string, string, number][] = [
  // Framing: each of these has served to smuggle a request past some proxy.
  [
    "Content-Length and Transfer-Encoding",
    post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    400,
  ],
  [
    "Transfer-Encoding and Content-Length",
    post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
    400,
  ],
  ["two Content-Lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), 400],
  ["two equal Content-Lengths", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400],
  ["a list of lengths", post("Content-Length: 3, 3\r\n", "abc"), 400],
  ["a negative length", post("Content-Length: -1\r\n"), 400],
  ["a signed length", post("Content-Length: +3\r\n", "abc"), 400],
  ["a hexadecimal length", post("Content-Length: 0x3\r\n", "abc"), 400],
  ["a length with a letter", post("Content-Length: 3a\r\n", "abc"), 400],
  ["a length with a space in it", post("Content-Length: 3 4\r\n", "abc"), 400],
  ["an empty length", post("Content-Length:\r\n", "abc"), 400],
  ["a length of 2^64", post("Content-Length: 18446744073709551616\r\n"), 400],
  ["a length with a fraction", post("Content-Length: 3.0\r\n", "abc"), 400],
  ["Transfer-Encoding: xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400],
  ["Transfer-Encoding: identity", post("Transfer-Encoding: identity\r\n", "abc"), 400],
  ["Transfer-Encoding: chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 400],
  ["Transfer-Encoding: chunked, chunked", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400],
  ["two Transfer-Encodings", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400],
  ["an empty Transfer-Encoding", post("Transfer-Encoding:\r\n", "0\r\n\r\n"), 400],
  ["Transfer-Encoding: gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501],
  ["Transfer-Encoding on HTTP/1.0", "POST /bad HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400],
  ["a vertical tab before chunked", post("Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n"), 400],
  ["a space before the colon of Transfer-Encoding", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400],
  ["a chunk size in C notation", post("Transfer-Encoding: chunked\r\n", "0x3\r\nabc\r\n0\r\n\r\n"), 400],
  ["a negative chunk size", post("Transfer-Encoding: chunked\r\n", "-3\r\nabc\r\n0\r\n\r\n"), 400],
  ["an empty chunk size", post("Transfer-Encoding: chunked\r\n", "\r\nabc\r\n0\r\n\r\n"), 400],
  ["a chunk size that overflows", post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nabc"), 400],
  ["a chunk size with a space behind it", post("Transfer-Encoding: chunked\r\n", "3 \r\nabc\r\n0\r\n\r\n"), 400],
  ["a bare LF behind the chunk size", post("Transfer-Encoding: chunked\r\n", "3\nabc\r\n0\r\n\r\n"), 400],
  ["a bare LF behind the chunk's data", post("Transfer-Encoding: chunked\r\n", "3\r\nabc\n0\r\n\r\n"), 400],
  ["no line end behind the chunk's data", post("Transfer-Encoding: chunked\r\n", "3\r\nabcd\r\n0\r\n\r\n"), 400],
  ["Content-Length in the trailers", post("Transfer-Encoding: chunked\r\n", "0\r\nContent-Length: 5\r\n\r\n"), 400],
  // Lines and fields.
  ["bare LFs", "GET /bad HTTP/1.1\nHost: x\n\n", 400],
  ["a bare LF behind a field", "GET /bad HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400],
  ["a bare CR in a value", get("A: b\rc\r\n"), 400],
  ["a folded field", get("A: b\r\n c\r\n"), 400],
  ["a folded first field", "GET /bad HTTP/1.1\r\n Host: x\r\n\r\n", 400],
  ["a space before the colon", get("A : b\r\n"), 400],
  ["an empty name", get(": b\r\n"), 400],
  ["a field without a colon", get("abc\r\n"), 400],
  ["a NUL in a value", get("A: b\0c\r\n"), 400],
  ["a NUL in a name", get("A\0: b\r\n"), 400],
  ["a control byte in a value", get("A: b\x01\r\n"), 400],
  ["DEL in a value", get("A: b\x7f\r\n"), 400],
  ["a high byte in a name", get("\xe4: b\r\n"), 400],
  ["a parenthesis in a name", get("(a): b\r\n"), 400],
  // The request line.
  ["a lower-case method", "get /bad HTTP/1.1\r\nHost: x\r\n\r\n", 501],
  ["an unknown method", "BREW /bad HTTP/1.1\r\nHost: x\r\n\r\n", 501],
  ["a space before the method", " GET /bad HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["a tab for a space", "GET\t/bad\tHTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["two spaces behind the method", "GET  /bad HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["two spaces behind the target", "GET /bad  HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["a space in the target", "GET /b ad HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["a space behind the version", "GET /bad HTTP/1.1 \r\nHost: x\r\n\r\n", 400],
  ["a lower-case version", "GET /bad http/1.1\r\nHost: x\r\n\r\n", 400],
  ["no version", "GET /bad\r\nHost: x\r\n\r\n", 400],
  ["HTTP/0.9", "GET /bad HTTP/0.9\r\nHost: x\r\n\r\n", 505],
  ["HTTP/2.0", "GET /bad HTTP/2.0\r\nHost: x\r\n\r\n", 505],
  ["HTTP/11", "GET /bad HTTP/11\r\nHost: x\r\n\r\n", 400],
  ["RTSP/1.0", "GET /bad RTSP/1.0\r\nHost: x\r\n\r\n", 400],
  ["ICE/1.0", "GET /bad ICE/1.0\r\nHost: x\r\n\r\n", 400],
  ["a target without a slash", "GET bad HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["a NUL in the target", "GET /b\0ad HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["a control byte in the target", "GET /b\x02ad HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["a high byte in the target", "GET /b\xe4d HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["another scheme", "GET ftp://x/bad HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["asterisk-form for GET", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["CONNECT", "CONNECT bad:443 HTTP/1.1\r\nHost: bad:443\r\n\r\n", 501],
  // Host and Expect.
  ["no Host", "GET /bad HTTP/1.1\r\nA: b\r\n\r\n", 400],
  ["two Hosts", "GET /bad HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400],
  ["two Hosts in other letters", "GET /bad HTTP/1.1\r\nHost: x\r\nhOST: y\r\n\r\n", 400],
  ["an empty Host", "GET /bad HTTP/1.1\r\nHost:\r\n\r\n", 400],
  ["a Host with userinfo", "GET /bad HTTP/1.1\r\nHost: a@b\r\n\r\n", 400],
  ["a Host with a path", "GET /bad HTTP/1.1\r\nHost: a/b\r\n\r\n", 400],
  ["a Host with a space", "GET /bad HTTP/1.1\r\nHost: a b\r\n\r\n", 400],
  ["a list of Hosts", "GET /bad HTTP/1.1\r\nHost: a, b\r\n\r\n", 400],
  ["a port that is none", "GET /bad HTTP/1.1\r\nHost: a:b\r\n\r\n", 400],
  ["a port that is too large", "GET /bad HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400],
  ["an unknown Expect", get("Expect: something\r\n"), 417],
  // Sizes.
  ["a target over 8 KB", `GET /${"b".repeat(9000)} HTTP/1.1\r\n${H}\r\n`, 414],
  ["fields over 8 KB", get(`A: ${"b".repeat(10_000)}\r\n`), 431],
  ["101 fields", get("A: b\r\n".repeat(100)), 431],
  ["a field name over 8 KB", get(`${"a".repeat(10_000)}: b\r\n`), 431],
  ["a body over 1 MB", post("Content-Length: 1048577\r\n"), 413],
  ["a body of 2^53", post("Content-Length: 9007199254740993\r\n"), 413],
];

describe("a malformed request", () => {
  test.each(["GET /bad HTTP/1.1\r\nHost:\r\n\r\n", "GET http:///bad HTTP/1.0\r\n\r\n"])(
    "without a host is refused as the first request of a server, too: %j",
    (request) =>
      withHub(FILES, [], async (hub) => {
        expect(await hub.ask(request)).toStartWith("HTTP/1.1 400 ");
        expect(await seen(hub)).toEqual([]);
        await alive(hub);
      }),
  );

  test(`gets its status and a close, and reaches no handler: ${REFUSED.length} kinds`, () =>
    withShared(async (hub) => {
      const wrong: string[] = [];
      for (const [what, request, status] of REFUSED) {
        const client = await hub.connect();
        // The next message would be served if the connection went on.
        await client.send(raw(`${request}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n`)).catch(() => undefined);
        const reply = await client.waitForEnd();
        const replies = reply.match(/HTTP\/1\.1 \d{3} /g) ?? [];
        if (replies.length !== 1 || replies[0] !== `HTTP/1.1 ${status} `)
          wrong.push(`${what}: ${JSON.stringify(reply.slice(0, 300))}`);
        const reached = await seen(hub);
        if (
          reached.some((request) => request !== "POST /bad") ||
          (reached.length > 0 && !request.includes("chunked"))
        ) {
          wrong.push(`${what}: handlers saw ${reached.join()}`);
        }
        client.close();
      }
      expect(wrong).toEqual([]);
      await alive(hub);
    }));

  test("is refused in the same way when it comes byte by byte", () =>
    withShared(async (hub) => {
      const wrong: string[] = [];
      const check = async ([what, request, status]: [string, string, number]) => {
        const client = await hub.connect();
        for (const byte of raw(request)) {
          if (client.hasEnded) break;
          await client.send(new Uint8Array([byte])).catch(() => undefined);
          await new Promise((resolve) => setImmediate(resolve));
        }
        const reply = await client.waitForEnd();
        if (!reply.startsWith(`HTTP/1.1 ${status} `)) wrong.push(`${what}: ${JSON.stringify(reply.slice(0, 200))}`);
        client.close();
      };
      // Bytes that do not begin with a method are answered as a raw message if they pause, which can happen on a busy
      // machine.
      const isHttp = ([, request]: [string, string, number]) =>
        /^(GET|POST|CONNECT) /.test(request) && request.length < 500;
      await Promise.all(REFUSED.filter(isHttp).map(check));
      expect(wrong).toEqual([]);
      expect((await seen(hub)).filter((request) => request !== "POST /bad")).toEqual([]);
      await alive(hub);
    }));
});

describe("a second request hidden in the first", () => {
  const HIDDEN = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
  const size = HIDDEN.length;
  const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
  const PAIRS: [string, string][] = [
    ["CL over TE", post(`Content-Length: ${size + 5}\r\nTransfer-Encoding: chunked\r\n`, `0\r\n\r\n${HIDDEN}`)],
    ["TE over CL", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", `${chunk(HIDDEN)}0\r\n\r\n`)],
    ["TE with a blank", post(`Content-Length: ${size + 5}\r\nTransfer-Encoding : chunked\r\n`, `0\r\n\r\n${HIDDEN}`)],
    ["TE in odd letters", post(`Content-Length: ${size + 5}\r\ntRANSFER-eNCODING: cHUNKED\r\n`, `0\r\n\r\n${HIDDEN}`)],
    ["TE with a tab", post(`Content-Length: ${size + 5}\r\nTransfer-Encoding:\tchunked\r\n`, `0\r\n\r\n${HIDDEN}`)],
    ["TE twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", `0\r\n\r\n${HIDDEN}`)],
    ["TE in quotes", post(`Content-Length: ${size + 5}\r\nTransfer-Encoding: "chunked"\r\n`, `0\r\n\r\n${HIDDEN}`)],
    [
      "TE behind a fold",
      post(`Content-Length: ${size + 5}\r\nA: b\r\n Transfer-Encoding: chunked\r\n`, `0\r\n\r\n${HIDDEN}`),
    ],
    ["two lengths, the first 0", post(`Content-Length: 0\r\nContent-Length: ${size}\r\n`, HIDDEN)],
    ["two lengths, the last 0", post(`Content-Length: ${size}\r\nContent-Length: 0\r\n`, HIDDEN)],
    ["a GET with a body", `GET /ok HTTP/1.1\r\n${H}Content-Length: ${size}\r\n\r\n${HIDDEN}`],
    [
      "a GET with a chunked body",
      `GET /ok HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n${chunk(HIDDEN)}0\r\n\r\n`,
    ],
    ["a HEAD with a body", `HEAD /ok HTTP/1.1\r\n${H}Content-Length: ${size}\r\n\r\n${HIDDEN}`],
    [
      "an upgrade with a body",
      `GET /ok HTTP/1.1\r\n${H}Connection: upgrade\r\nUpgrade: x\r\nContent-Length: ${size}\r\n\r\n${HIDDEN}`,
    ],
    [
      "h2c with a body",
      `POST /ok HTTP/1.1\r\n${H}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: ${size}\r\n\r\n${HIDDEN}`,
    ],
    ["a chunk extension with a line", post("Transfer-Encoding: chunked\r\n", `1;a=\n\r\nx\r\n0\r\n\r\n${HIDDEN}`)],
    ["a request in the trailers", post("Transfer-Encoding: chunked\r\n", `0\r\n${HIDDEN}`)],
    [
      "a length in the trailers",
      post("Transfer-Encoding: chunked\r\n", `0\r\nContent-Length: ${size}\r\n\r\n${HIDDEN}`),
    ],
    ["a raw command in the body", `POST /ok HTTP/1.1\r\n${H}Content-Length: 9\r\n\r\nSHUTDOWN\n`],
    [
      "a raw command in a chunk",
      `POST /ok HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n9\r\nSHUTDOWN\n\r\n0\r\n\r\n`,
    ],
  ];

  test.each(PAIRS)("is never dispatched: %s", (_, request) =>
    withShared(async (hub) => {
      for (const cut of [request.length, request.indexOf("\r\n\r\n") + 4, request.indexOf(HIDDEN) + 4]) {
        const client = await hub.connect();
        await client.send(raw(request.slice(0, cut)));
        await new Promise((resolve) => setImmediate(resolve));
        await client.send(raw(request.slice(cut))).catch(() => undefined);
        await client.finish().waitForEnd();
        expect((await seen(hub)).filter((request) => request.includes("hidden"))).toEqual([]);
      }
      await alive(hub);
    }),
  );
});

test("what stands behind a request that closes the connection is not dispatched", () =>
  withShared(async (hub) => {
    const behind = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\nSTATUS\n";
    for (const last of [
      "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      "GET /last HTTP/1.1\r\nHost: x\r\nConnection: foo, CLOSE\r\n\r\n",
      "GET /last HTTP/1.0\r\n\r\n",
      "POST /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
      "POST /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ]) {
      for (const cut of [0, 1, last.length - 1, last.length, last.length + 5]) {
        const client = await hub.connect();
        await client.send(last.slice(0, cut));
        await client.send((last + behind).slice(cut)).catch(() => undefined);
        const reply = await client.finish().waitForEnd();
        expect([last, reply.match(/HTTP\/1\.1 \d+/g), reply.includes("uptimeSeconds")]).toEqual([
          last,
          ["HTTP/1.1 200"],
          false,
        ]);
        expect(await seen(hub)).toEqual([`${last.slice(0, last.indexOf(" HTTP"))}`]);
      }
    }
    await alive(hub);
  }));

describe("what ends too late or never", () => {
  const withLimits = shareHub(LIMITS);

  test("a head, a body and a chunk that stop halfway get a 408 and a close at headMs or bodyMs", () =>
    withLimits(async (hub) => {
      const openings = [
        "GET /",
        "GET / HTTP/1.1\r\nHost: x\r\nA: ",
        post("Content-Length: 10\r\n", "abc"),
        post("Transfer-Encoding: chunked\r\n", "5\r\nab"),
      ];
      for (const opening of openings) {
        const client = await hub.connect();
        await client.send(opening);
        expect(await client.waitForEnd()).toStartWith("HTTP/1.1 408 ");
      }
      await alive(hub);
    }));

  test("a byte now and then does not push the deadline out", () =>
    withLimits(async (hub) => {
      for (const [opening, more] of [
        ["GET / HTTP/1.1\r\nA: ", "b"],
        [post("Content-Length: 1000\r\n"), "b"],
        [post("Transfer-Encoding: chunked\r\n"), "1\r\nb\r\n"],
      ] as const) {
        const client = await hub.connect();
        await client.send(opening);
        const timer = setInterval(() => void client.send(more).catch(() => undefined), 50);
        try {
          expect(await client.waitForEnd()).toStartWith("HTTP/1.1 408 ");
        } finally {
          clearInterval(timer);
        }
      }
      await alive(hub);
    }));

  test("endless chunk extensions, trailers, empty lines and empty chunks are cut", () =>
    withLimits(async (hub) => {
      const floods: [string, string][] = [
        [post("Transfer-Encoding: chunked\r\n", "1;"), "e".repeat(8192)],
        [post("Transfer-Encoding: chunked\r\n", "0\r\n"), `T: ${"t".repeat(8192)}\r\n`],
        [post("Transfer-Encoding: chunked\r\n"), "1;ext=1\r\na\r\n".repeat(500)],
        ["", "\r\n".repeat(4096)],
        ["GET / HTTP/1.1\r\n", `A: ${"b".repeat(4096)}\r\n`],
      ];
      for (const [opening, more] of floods.filter(([opening]) => opening !== "")) {
        const client = await hub.connect();
        await client.send(opening);
        let sent = 0;
        while (!client.hasEnded && sent < 20_000_000) {
          const taken = await client.send(more).then(
            () => true,
            () => false,
          );
          if (!taken) break;
          sent += more.length;
          await new Promise((resolve) => setImmediate(resolve));
        }
        expect([opening.slice(-4), await client.waitForEnd()]).toEqual([
          opening.slice(-4),
          expect.stringMatching(/^(HTTP\/1\.1 4(00|13|31|08) |$)/),
        ]);
        expect(sent).toBeLessThan(20_000_000);
      }
      await alive(hub);
    }));

  test("a client that half-closes in the middle of anything gets an answer and a close", () =>
    withShared(async (hub) => {
      const request = "POST /whole HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
      for (let at = 1; at <= request.length; at++) {
        const reply = await hub.ask(request.slice(0, at));
        if (at < "POST ".length) expect(reply).toStartWith("ERR ");
        else if (at < request.length)
          expect([at, reply]).toEqual([at, expect.stringMatching(/^HTTP\/1\.1 400 [^]*\r\n\r\n.*\n$/)]);
        else expect(reply).toEndWith("\r\n\r\nok:abc");
      }
      expect((await seen(hub)).every((request) => request === "POST /whole")).toBe(true);
      await alive(hub);
    }));
});

describe("a flood of good requests", () => {
  const PAGES = {
    ...FILES,
    "modules/page.ts": moduleSource(`{
      routes: {
        "GET /now/:n": { fetch: (request, { params }) => new Response(params.n + ";") },
        "GET /later/:n": { fetch: async (request, { params }) => { await 1; return new Response(params.n + ";"); } },
      },
    }`),
    "modules/more.ts": moduleSource(`{
      routes: {
        "POST /length": { fetch: async (request) => new Response((await request.bytes()).length + "!") },
        "GET /slow": { fetch: async () => { await Bun.sleep(200); return new Response("slow"); } },
      },
    }`),
    "hrmr.json": '{ "timeouts": { "requestMs": 15000, "headMs": 15000, "bodyMs": 15000 } }',
  };
  const withPages = shareHub(PAGES);
  const pipelined = async (hub: Hub, path: string) => {
    const before = await memory(hub);
    const requests = Array.from({ length: 10_000 }, (_, at) => `GET /${path}/${at} HTTP/1.1\r\nHost: x\r\n\r\n`).join(
      "",
    );
    const text = await converse(hub, requests, (tail) => tail.endsWith("\r\n\r\n9999;"));
    const answers = [...text.matchAll(/\r\n\r\n(\d+);/g)].map(([, n]) => Number(n));
    expect(answers).toEqual(Array.from({ length: 10_000 }, (_, at) => at));
    await eventually(async () => expect((await memory(hub)) - before).toBeLessThan(60_000_000));
    await alive(hub);
  };

  test("10,000 pipelined GETs in one write are answered in order, and memory stays bounded", () =>
    withPages((hub) => pipelined(hub, "now")));

  test("so are 10,000 whose handler is asynchronous", () => withPages((hub) => pipelined(hub, "later")));

  test("a long body that came behind slow GETs while the connection was paused is read to its end", () =>
    withPages(async (hub) => {
      const requests = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + "GET /later/1 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10);
      const post = `POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n${"x".repeat(900_000)}`;
      const text = await converse(hub, requests + post, (tail) => tail.endsWith("!"));
      expect(text).toEndWith("900000!");
      await alive(hub);
    }));

  test("a client that asks for a file again and again and never reads costs little memory", () =>
    withHub(
      { "static_html/page.bin": "x".repeat(60_000), "modules/recorder.ts": RECORDER.replace('"/"', '"/rec"') },
      [],
      async (hub) => {
        const before = await memory(hub);
        const deaf = await Promise.all(
          Array.from({ length: 8 }, async () => {
            const client = await hub.connect();
            client.pause();
            // As many as the server takes before it stops reading; the rest waits in the kernel, or here.
            void client.send("GET /page.bin HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20_000)).catch(() => undefined);
            return client;
          }),
        );
        const counts: number[] = [];
        while (counts.length < 2 || counts.at(-1) !== counts.at(-2)) {
          await hub.ask("GET /page.bin HTTP/1.0\r\n\r\n");
          counts.push((JSON.parse(await hub.ask("STATUS\n")) as { httpRequests: number }).httpRequests - counts.length);
        }
        // A write buffer of 1 MB each, some kernel buffers that are not ours, and what the collector has not seen yet.
        await eventually(async () => expect((await memory(hub)) - before).toBeLessThan(80_000_000));
        for (const client of deaf) client.close();
        expect(await hub.ask("GET /page.bin HTTP/1.0\r\n\r\n")).toEndWith("xxx");
      },
    ));
});

async function memory(hub: Hub): Promise<number> {
  return (JSON.parse(await hub.ask("STATUS\n")) as { memoryBytes: number }).memoryBytes;
}

/**
 * Sends all of it and reads until `isLast` of the latest bytes; for more replies than RawClient, which looks at all it
 * has each time.
 */
async function converse(hub: Hub, requests: string, isLast: (tail: string) => boolean): Promise<string> {
  const pieces: string[] = [];
  const done = Promise.withResolvers<void>();
  let rest = Buffer.from(requests);
  const write = (socket: Bun.Socket) => void (rest = rest.subarray(Math.max(0, socket.write(rest))));
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: hub.port,
    socket: {
      open: write,
      drain: write,
      data(_, bytes) {
        pieces.push(bytes.toString());
        if (isLast(pieces.slice(-3).join(""))) done.resolve();
      },
      close: () => done.reject(new Error(`closed after ${pieces.join("").slice(-300)}`)),
    },
  });
  try {
    await done.promise;
    return pieces.join("");
  } finally {
    socket.terminate();
  }
}
