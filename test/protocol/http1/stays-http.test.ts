/**
 * HTTP requests stay HTTP (docs/modules.md, Keys): header lines and bodies are never messages, whatever the method or
 * the raw keys.
 */
import { describe, expect, test } from "bun:test";
import { type Hub, moduleSource, reuseHubs, shareHub, withHub } from "../../support/hub";

const reused = reuseHubs();

/** Tells by COUNT how many raw messages reached a handler, and by /count so over HTTP. */
const RAW = moduleSource(`{
  setup: () => ({ messages: 0, connections: 0 }),
  routes: {
    "SAY": (message, { state }) => { state.messages++; return "said " + JSON.stringify(message.text) + "\\n"; },
    "LINE ": { framing: "line", handle: (message, { state }) => { state.messages++; return "line " + JSON.stringify(message.text) + "\\n"; } },
    "LEN": { framing: { length: { prefixBytes: 2 } }, handle: (message, { state }) => { state.messages++; return "len\\n"; } },
    "FUN": { framing: (bytes) => bytes.length, handle: (message, { state }) => { state.messages++; return "fun\\n"; } },
    "GET ": (message, { state }) => { state.messages++; return "raw get\\n"; },
    "POST /x": (message, { state }) => { state.messages++; return "raw post\\n"; },
    "Host": (message, { state }) => { state.messages++; return "raw host\\n"; },
    "CHAT": { async connect(connection) { await connection.write("chat\\n"); } },
    "PING": () => "PONG\\n",
    "/page": { fetch: async (request) => new Response("page " + (await request.text())) },
    "GET /count": { fetch: (request, { state }) => new Response(String(state.messages)) },
  },
}`);
const ELSEWHERE = moduleSource(`{ routes: {
  "POOL": { run: "pool", framing: "line", handle: () => "pooled\\n" },
  "PROC": { run: "process", framing: "line", handle: () => "processed\\n" },
} }`);
/** Without a pool and a module's process, which cost each start. */
const RAW_ONLY = { "modules/raw.ts": RAW };
const FILES = { ...RAW_ONLY, "modules/elsewhere.ts": ELSEWHERE };
const withShared = shareHub(FILES);
/** No raw message is sent to it. */
const withHttpOnly = shareHub(RAW_ONLY);
/** A client that sends one byte after each round trip. */
const withPatience = shareHub({ ...FILES, "hrmr.json": JSON.stringify({ timeouts: { prefixWaitMs: 15_000 } }) });

const WORDS = [
  "STATUS",
  "HELP",
  "RELOAD",
  "CLOSE",
  "SHUTDOWN",
  "SAY",
  "SAY-IT",
  "LINE",
  "LEN",
  "FUN",
  "CHAT",
  "PING",
  "POOL",
  "PROC",
  "say",
  "UNKNOWN",
];

async function countOf(hub: Hub): Promise<number> {
  const reply = await hub.ask("GET /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  expect(reply).toStartWith("HTTP/1.1 200 ");
  return Number(reply.slice(reply.indexOf("\r\n\r\n") + 4));
}

/** A browser's request whose body holds commands. */
function requestOf(method: string, target = "/", version = "HTTP/1.1"): string {
  const body = "\nSHUTDOWN\nSAY hello\n";
  return `${method} ${target} ${version}\r\nHost: a\r\nUser-Agent: SAY\r\nContent-Length: ${body.length}\r\nOrigin: http://a\r\n\r\n${body}`;
}

for (const commands of ["loopback", "off", "anyone"]) {
  test(`with commands: ${commands} a request whose method is a raw route's or a command's word is a 501, and nothing of it is run`, () =>
    reused(FILES, ["--commands", commands], async (hub) => {
      for (const word of WORDS) {
        for (const target of ["/", "/page", "*", "http://a/page", "/SHUTDOWN"]) {
          const reply = await hub.ask(requestOf(word, target));
          expect(reply).toStartWith("HTTP/1.1 501 ");
          expect(reply.match(/HTTP\/1\.1 /g)).toHaveLength(1);
          expect(reply).toContain("Connection: close\r\n");
        }
      }
      expect(await countOf(hub)).toBe(0);
    }));
}

test("a wrong request is refused as HTTP, in its own version's words", () =>
  withHttpOnly(async (hub) => {
    const statusOf = async (request: string) => Number((await hub.ask(request)).slice(9, 12));
    expect(await statusOf(requestOf("LINE", "/", "HTTP/2.0"))).toBe(505);
    expect(await statusOf(requestOf("LINE", "/a b"))).toBe(400);
    expect(await statusOf(requestOf("LINE", " /"))).toBe(400);
    expect(await statusOf(requestOf("GET", "no-target"))).toBe(400);
    expect(await statusOf(requestOf("CONNECT", "a:443"))).toBe(501);
    expect(await statusOf(requestOf("POST", "/x"))).toBe(405);
    expect(await statusOf(requestOf("GET", "/page", "HTTP/1.2"))).toBe(200);
    expect(await statusOf("POST x\r\n\r\n")).toBe(400);
    expect(await countOf(hub)).toBe(0);
  }));

test("a request is one wherever it is cut, for keys that wait for their line", () =>
  withPatience(async (hub) => {
    for (const method of ["STATUS", "LINE", "POOL", "POST"]) {
      const request = `${method} /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nSAY hello`;
      for (let cut = 1; cut < request.length; cut += cut < 24 ? 1 : 7) {
        const client = await hub.connect();
        await client.send(request.slice(0, cut));
        // Round trips by another connection: bytes that were sent before them have been read.
        expect(await hub.ask("PING")).toBe("PONG\n");
        await client.send(request.slice(cut)).catch(() => {});
        const text = await (method === "POST" ? client.waitFor("No module") : client.waitForEnd());
        expect([cut, text.slice(0, 13)]).toEqual([cut, method === "POST" ? "HTTP/1.1 405 " : "HTTP/1.1 501 "]);
        client.close();
      }
    }
    expect(await countOf(hub)).toBe(0);
  }));

test("a request is one byte by byte", () =>
  withPatience(async (hub) => {
    for (const method of ["STATUS", "LINE", "PROPFIND"]) {
      const client = await hub.connect();
      for (const byte of `${method} /nothing HTTP/1.1\r\n`) {
        await client.send(byte);
        await hub.ask("PING");
      }
      await client.send("Host: a\r\n\r\n").catch(() => {});
      expect(await client.waitFor(/HTTP\/1\.1 (501|405) /)).not.toContain("ERR");
    }
  }));

describe("a raw line", () => {
  test("that only mentions HTTP is a message", () =>
    withShared(async (hub) => {
      const client = await hub.connect();
      for (const line of [
        "LINE I like HTTP/2",
        "LINE x HTTP/1.1",
        "LINE / is a slash",
        "LINE http://a/",
        "LINE / HTTP/1",
        "LINE GET / HTTP/1.1",
      ]) {
        await client.send(`${line}\n`);
        expect(await client.waitFor(`line ${JSON.stringify(line)}\n`)).not.toContain("ERR");
      }
    }));

  test("that cannot be a request is answered at once, without its line end", () =>
    reused(
      { ...RAW_ONLY, "hrmr.json": JSON.stringify({ timeouts: { prefixWaitMs: 0, requestMs: 0 } }) },
      [],
      async (hub) => {
        const client = await hub.connect();
        for (const [message, reply] of [
          ["PING", "PONG\n"],
          ["SAY hello", 'said "SAY hello"\n'],
          ["SAY ", 'said "SAY "\n'],
          ["GET key", "raw get\n"],
          ["GET key\n", "raw get\n"],
        ] as const) {
          await client.clear().send(message);
          expect(await client.waitFor(reply)).toBe(reply);
        }
      },
    ));

  test("that begins like a request waits a moment for its end, and then is a message", () =>
    withShared(async (hub) => {
      const client = await hub.connect();
      for (const message of ["SAY /x", "SAY *", "SAY http://a HTTP/1.", "SAY / HTTP/1.1"]) {
        await client.clear().send(message);
        expect(await client.waitFor("\n")).toBe(`said ${JSON.stringify(message)}\n`);
      }
      await client.clear().send("LINE /x");
      expect(await hub.ask("SAY /x")).toBe('said "SAY /x"\n');
      await client.send(" y\n");
      expect(await client.waitFor("\n")).toBe('line "LINE /x y"\n');
      // A route that waits for its line has seen nothing yet: the line is a request if it ends as one.
      await client.clear().send("LINE /x");
      expect(await hub.ask("SAY /x")).toBe('said "SAY /x"\n');
      await client.send(" HTTP/1.1\r\n");
      expect(await client.waitForEnd()).toStartWith("HTTP/1.1 501 ");
    }));

  test("that begins like a request and does not end gets a 414", () =>
    reused(
      { ...RAW_ONLY, "hrmr.json": JSON.stringify({ limits: { maxHeaderBytes: 1024 }, timeouts: { prefixWaitMs: 0 } }) },
      [],
      async (hub) => {
        for (const word of ["SAY", "LINE", "STATUS", "UNKNOWN", "CHAT"]) {
          const client = await hub.connect();
          await client.send(`${word} /${"a".repeat(900)}`);
          expect(await hub.ask("PING")).toBe("PONG\n");
          expect(client.text).toBe("");
          await client.send("a".repeat(200));
          expect(await client.waitForEnd()).toStartWith("HTTP/1.1 414 ");
        }
        expect(await hub.ask(`LINE /${"a".repeat(1100)}\n`)).toStartWith("line ");
        expect(await hub.ask(`LINE /${"a".repeat(1100)} HTTP/1.1\r\n\r\n`)).toStartWith("HTTP/1.1 414 ");
      },
    ));
});

describe("a connection that has spoken HTTP", () => {
  const GET = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";

  test.each([
    "PING\n",
    "PING",
    "STATUS\n",
    "SHUTDOWN\n",
    "SAY hello\n",
    "SAY hello",
    "GET key\n",
    "\u0000\n",
    "CHAT",
    "Host: x\r\n\r\n",
    '{"a":1}\n',
    "*1\r\n$4\r\nPING\r\n",
  ])("is told that %j is no request, and ended", (message) =>
    withHttpOnly(async (hub) => {
      for (const opening of [
        GET,
        requestOf("POST", "/page"),
        "POST /page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      ]) {
        const client = await hub.connect();
        await client.send(opening);
        await client.waitFor("page ");
        await client.clear().send(message);
        const reply = await client.waitForEnd();
        expect(reply).toMatch(/^HTTP\/1\.1 400 /);
        expect(reply).toContain("Connection: close");
      }
      expect(await countOf(hub)).toBe(0);
    }),
  );

  test("skips line ends between requests, and reads requests byte by byte", () =>
    reused({ "modules/raw.ts": RAW.replace('"SAY":', '"\\n": () => "line feed\\n", "SAY":') }, [], async (hub) => {
      const client = await hub.connect();
      await client.send(`${GET}\r\n\r\n${GET}\n`);
      for (const byte of GET) {
        await client.send(byte);
        await hub.ask("PING");
      }
      await client.waitFor(/(page [^]*){3}/);
      expect(client.text).not.toContain("400");
      expect(client.text).not.toContain("line feed");
    }));

  test("ends a request that does not come in time with a 408", () =>
    reused(
      { ...RAW_ONLY, "hrmr.json": JSON.stringify({ timeouts: { requestMs: 100, headMs: 100 } }) },
      [],
      async (hub) => {
        for (const begun of ["PO", "PROPF", "GET /pa", "UNKNOWN /x"]) {
          const client = await hub.connect();
          await client.send(GET + begun);
          expect(await client.waitForEnd()).toMatch(/page HTTP\/1\.1 408 /);
        }
      },
    ));

  test("may have sent raw messages before", () =>
    withShared(async (hub) => {
      const client = await hub.connect();
      await client.send(`LINE one\nPOOL\nPROC\n${GET}PING\n`);
      const text = await client.waitForEnd();
      expect(text).toMatch(/^line "LINE one"\npooled\nprocessed\nHTTP\/1\.1 200 [^]*page HTTP\/1\.1 400 /);
    }));
});

describe("a message that matches nothing", () => {
  test("ends the connection if it reads like a header field", () =>
    withShared(async (hub) => {
      const before = await countOf(hub);
      for (const field of ["Content-Length: 5\r\n", "x:y\n", "X-Long: a", "Cookie: SAY\r\nSAY hello\r\n"]) {
        const client = await hub.connect();
        await client.send(`LINE one\n${field}`);
        expect(await client.waitForEnd()).toMatch(/^line "LINE one"\nERR no module is bound to "[^\n]*\n$/);
      }
      expect(await hub.ask("nothing of it\nPING")).toEndWith("PONG\n");
      expect(await countOf(hub)).toBe(before + 4);
    }));

  test("counts over the whole connection, also with matches in between", () =>
    withShared(async (hub) => {
      const client = await hub.connect();
      for (let miss = 1; miss < 16; miss++) {
        await client.clear().send("nothing\nLINE one\n");
        await client.waitFor('line "LINE one"\n');
      }
      await client.clear().send("nothing\nLINE one\n");
      expect(await client.waitForEnd()).toBe('ERR no module is bound to "nothing"\n');
    }));

  test("and is a TLS record ends the connection without a reply, first or later", () =>
    withShared(async (hub) => {
      for (const before of ["", "LINE one\n", "GET /page HTTP/1.1\r\nHost: a\r\n\r\n"]) {
        const client = await hub.connect();
        await client.send(before);
        if (before !== "") await client.waitFor(/line "LINE one"\n|page /);
        client.clear();
        await client.send(Buffer.from("16030100050100000100", "hex"));
        expect(await client.waitForEnd()).toBe("");
      }
      expect(await hub.ask("PING")).toBe("PONG\n");
    }));
});

describe("a raw route with a method for its key", () => {
  const routes = (options: string) => `{ routes: {
    "GET ": { ${options} description: "All of it", handle: (message) => "raw " + message.text.split("\\r\\n")[0] + "\\n" },
    "POST /chat": { ${options} async connect(connection) { await connection.write("chat\\n"); } },
    "PUT ": { ${options} run: "pool", framing: "line", handle: (message) => "pooled " + message.text + "\\n" },
    "/page": { fetch: () => new Response("page") },
  } }`;
  const request = (line: string) => `${line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;

  test("gets no requests, but gets all other messages", () =>
    reused({ "modules/raw.ts": moduleSource(routes("")) }, [], async (hub) => {
      expect(hub.program.output()).not.toContain("HTTP requests");
      expect(await hub.ask(request("GET /page"))).toMatch(/^HTTP\/1\.1 200 [^]*page$/);
      expect(await hub.ask(request("GET /health"))).toStartWith("HTTP/1.1 200 ");
      expect(await hub.ask(request("PUT /page"))).toMatch(/^HTTP\/1\.1 200 [^]*page$/);
      expect(await hub.ask(request("POST /chat"))).toStartWith("HTTP/1.1 ");
      expect(await hub.ask("GET key")).toBe("raw GET key\n");
      expect(await hub.ask("PUT key\n")).toBe("pooled PUT key\n");
      expect(await hub.ask("HELP\n")).not.toContain("HTTP requests");
    }));

  test("gets requests with takesHttp: true, first or behind others, and the start, HELP and the verdict say so", () =>
    withHub({ "modules/raw.ts": moduleSource(routes("takesHttp: true,")) }, [], async (hub) => {
      const told = '"GET " and "POST /chat" and "PUT " take HTTP requests';
      await hub.program.waitFor(`module raw: ${told}`);
      expect(await hub.ask("HELP\n")).toMatch(/"GET " +raw +All of it \(takes HTTP requests\)\n/);
      for (const path of ["/page", "/health", "*"])
        expect(await hub.ask(request(`GET ${path}`))).toBe(`raw GET ${path} HTTP/1.1\n`);
      expect(await hub.ask(request("POST /chat"))).toBe("chat\n");
      expect(await hub.ask("PUT /x HTTP/1.1\n")).toBe("pooled PUT /x HTTP/1.1\n");
      // A connection that has spoken HTTP goes on with these routes too, and with no other raw one.
      const client = await hub.connect();
      await client.send("DELETE /page HTTP/1.1\r\nHost: a\r\n\r\n");
      await client.waitFor("page");
      await client.clear().send("GET /page HTTP/1.1\r\n\r\n");
      expect(await client.waitFor("\n")).toBe("raw GET /page HTTP/1.1\n");
      await client.clear().send("HELP\n");
      expect(await client.waitForEnd()).toStartWith("HTTP/1.1 400 ");
      hub.write("modules/raw.ts", `${moduleSource(routes("takesHttp: true,"))}// changed\nconsole.debug;\n`);
      expect(await hub.ask("RELOAD\n")).toContain(`; ${told}`);
    }));

  test("may be in C", () =>
    withHub(
      {
        "modules/raw.c": `#include "hrmr.h"
          static void taken(hrmr_request *request) { hrmr_reply_format(request, "C: %s\\n", request->bytes); }
          void hrmr_module(hrmr_setup *setup) {
            hrmr_takes_http(hrmr_command(setup, "PATCH ", HRMR_LINE, taken));
            hrmr_command(setup, "TRACE ", HRMR_LINE, taken);
          }`,
      },
      [],
      async (hub) => {
        await hub.program.waitFor('module raw: "PATCH " takes HTTP requests');
        expect(await hub.ask("PATCH /x HTTP/1.1\n")).toBe("C: PATCH /x HTTP/1.1\n");
        expect(await hub.ask(request("TRACE /x"))).toStartWith("HTTP/1.1 ");
        expect(await hub.ask("TRACE x\n")).toBe("C: TRACE x\n");
      },
    ));
});
