/**
 * Limits of what one client may do, seen from the clients: the fast one waits and loses nothing, the next one is served
 * at once.
 */
import { describe, expect, test } from "bun:test";
import { RawClient } from "../support/client";
import { type Hub, moduleSource, shareHub, withHub } from "../support/hub";
import { askTls, pairFiles, serverCertificate, TLS_FLAGS } from "../support/tls";
import { close, RawWebSocket, text } from "../support/websocket";
import { eventually } from "../support/until";

const MODULE = moduleSource(`{
  routes: {
    "PING": { framing: "line", handle: () => "PONG\\n" },
    "COUNT ": { framing: "line", handle: (message) => message.text.slice(6) + "\\n" },
    "SLOW ": { framing: "line", handle: async (message) => { await Bun.sleep(30); return message.text.slice(5) + "\\n"; } },
    "/page": { fetch: () => new Response("page") },
    "POST /body": { fetch: async (request) => new Response(await request.text()) },
    "/echo": { websocket: { message: (socket, data) => socket.send(data) } },
    "/large": { websocket: { maxMessageBytes: 5000, message: (socket, data) => socket.send(data) } },
  },
}`);

const limited = (limits: object, more: object = {}): Record<string, string> => ({
  "modules/own.ts": MODULE,
  "hrmr.json": JSON.stringify({ limits, ...more }),
});

/** In milliseconds. */
async function timeOf(action: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await action();
  return performance.now() - startedAt;
}

/** Somebody else is answered at once: within less than the second that the fast one must wait. */
async function proveLife(hub: Hub): Promise<void> {
  expect(await hub.ask("PING\n")).toBe("PONG\n");
  expect(await hub.ask("GET /page HTTP/1.0\r\n\r\n")).toEndWith("\r\n\r\npage");
}

const counted = (from: number, to: number): string =>
  Array.from({ length: to - from + 1 }, (_, at) => `${from + at}\n`).join("");
const lines = (word: string, from: number, to: number): string =>
  counted(from, to)
    .replace(/^/gm, `${word} `)
    .slice(0, -word.length - 1);

describe("limits.maxMessagesPerSecond", () => {
  const FIVE = limited({ maxMessagesPerSecond: 5 });

  const withFive = shareHub(FIVE);

  test("raw messages above it are answered in the seconds that follow, in order, and none is lost", () =>
    withFive(async (hub) => {
      const client = await hub.connect();
      const ms = await timeOf(async () => {
        await client.send(lines("COUNT", 1, 12));
        // On a loaded machine the next second's may be there by now: the time tells that they waited.
        expect(await client.waitFor("5\n")).toStartWith(counted(1, 5));
        await proveLife(hub);
        await client.waitFor("12\n");
      });
      expect(client.text).toBe(counted(1, 12));
      expect(ms).toBeGreaterThan(1900);
    }));

  test("a client that ends its side behind its messages gets all of its replies", () =>
    withFive(async (hub) => {
      expect(await hub.ask(lines("COUNT", 1, 7))).toBe(counted(1, 7));
    }));

  test("replies that take their time do not open the gate", () =>
    withFive(async (hub) => {
      const ms = await timeOf(async () => expect(await hub.ask(lines("SLOW", 1, 11))).toBe(counted(1, 11)));
      expect(ms).toBeGreaterThan(1900);
    }));

  test("a message is counted once, however many reads it comes in", () =>
    withFive(async (hub) => {
      const client = await hub.connect();
      // Were each read counted, the 33 of them would be the messages of six seconds, and the second one would be held
      // back.
      for (const byte of Buffer.from("COUNT 123456789\nCOUNT abcdefghij\n")) await client.send(Buffer.from([byte]));
      // Markers: what the server read before them it has answered before them.
      for (let marker = 0; marker < 3; marker++) expect(await hub.ask("PING\n")).toBe("PONG\n");
      expect(client.text).toBe("123456789\nabcdefghij\n");
    }));

  test("requests of HTTP/1.1 are held back alike, with and without a body", () =>
    withFive(async (hub) => {
      const get = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
      const post = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
      const ms = await timeOf(async () => {
        const replies = await hub.ask(get.repeat(4) + post.repeat(4) + get.repeat(4));
        const bodies = [...replies.matchAll(/(?<=\r\n\r\n)(page|body)/g)].map(([, body]) => body);
        expect(bodies.join(" ")).toBe(`${"page ".repeat(4)}${"body ".repeat(4)}${"page ".repeat(4)}`.trim());
      });
      expect(ms).toBeGreaterThan(1900);
      await proveLife(hub);
    }));

  test("one that asks again after each reply is slowed down too", () =>
    withFive(async (hub) => {
      const client = await hub.connect();
      const ms = await timeOf(async () => {
        for (let count = 1; count <= 11; count++) {
          await client.send("GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
          await client.waitFor(new RegExp(`(page[^]*){${count}}`));
        }
      });
      expect(ms).toBeGreaterThan(1900);
    }));

  test("what matches nothing counts as well", () =>
    withFive(async (hub) => {
      const ms = await timeOf(async () => {
        expect((await hub.ask("nothing\n".repeat(8))).split("\n").length).toBe(9);
      });
      expect(ms).toBeGreaterThan(900);
    }));

  test("under TLS as without", () =>
    withHub({ ...FIVE, ...pairFiles(serverCertificate()) }, TLS_FLAGS, async (hub) => {
      const ms = await timeOf(async () => expect(await askTls(hub.port, lines("COUNT", 1, 7))).toBe(counted(1, 7)));
      expect(ms).toBeGreaterThan(900);
      await proveLife(hub);
    }));

  test("a flood stays in the kernels of both sides, and nobody else notices", () =>
    withHub(FIVE, [], async (hub) => {
      const before = (await memoryOf(hub)) / 1e6;
      const flood = Buffer.from("PING\n".repeat(200_000));
      let sent = 0;
      const stalled = Promise.withResolvers<void>();
      const pour = (socket: Bun.Socket): void => {
        for (let taken = flood.length; taken === flood.length;) {
          taken = socket.write(flood);
          sent += Math.max(taken, 0);
          if (sent > 200e6) stalled.reject(new Error("the server takes in without end"));
        }
        stalled.resolve();
      };
      const attackers = await Promise.all(
        Array.from({ length: 8 }, () =>
          Bun.connect({
            hostname: "127.0.0.1",
            port: hub.port,
            socket: { open: pour, drain: pour, data() {}, error() {} },
          }),
        ),
      );
      try {
        await stalled.promise;
        for (let round = 0; round < 20; round++) await proveLife(hub);
        // The kernel takes some MB of each at most.
        expect(sent).toBeLessThan(8 * 12e6);
        await eventually(async () => expect((await memoryOf(hub)) / 1e6 - before).toBeLessThan(60));
      } finally {
        for (const attacker of attackers) attacker.terminate();
      }
      await proveLife(hub);
    }));

  test("a shutdown answers what it finds waiting", () =>
    withHub(FIVE, [], async (hub) => {
      const raw = await hub.connect();
      const http = await hub.connect();
      await raw.send(lines("COUNT", 1, 9));
      await http.send("GET /page HTTP/1.1\r\nHost: a\r\n\r\n".repeat(6));
      await raw.waitFor("5\n");
      await http.waitFor(/(page[^]*){5}/);
      hub.program.signal("SIGTERM");
      expect(await raw.waitForEnd()).toBe(counted(1, 9));
      expect((await http.waitForEnd()).match(/\r\n\r\npage/g)?.length).toBe(6);
      raw.close();
      http.close();
      expect(await hub.program.exited).toBe(0);
    }));

  test("messages of a WebSocket wait, and its close frame comes through in its turn", () =>
    withFive(async (hub) => {
      const socket = await RawWebSocket.open(hub.port, "/echo");
      try {
        const ms = await timeOf(async () => {
          await socket.send(Buffer.concat([...Array.from({ length: 12 }, (_, at) => text(String(at))), close(1000)]));
          await socket.waitForFrames(5);
          await proveLife(hub);
          const outcome = await socket.outcome();
          expect(outcome).toMatchObject({ code: 1000, frames: Array.from({ length: 12 }, (_, at) => `text:${at}`) });
        });
        expect(ms).toBeGreaterThan(1900);
      } finally {
        socket.close();
      }
    }));

  test("a shutdown closes a WebSocket that is being held back", () =>
    withHub(FIVE, [], async (hub) => {
      const socket = await RawWebSocket.open(hub.port, "/echo");
      await socket.send(Buffer.concat(Array.from({ length: 30 }, (_, at) => text(String(at)))));
      await socket.waitForFrames(5);
      hub.program.signal("SIGTERM");
      await socket.client.waitFor("the server shuts down");
      await socket.send(close(1001));
      expect((await socket.outcome()).code).toBe(1001);
      socket.close();
      expect(await hub.program.exited).toBe(0);
    }));

  test("0, the default, holds nobody back", () =>
    withHub(limited({}), [], async (hub) => {
      const ms = await timeOf(async () => expect(await hub.ask(lines("COUNT", 1, 2000))).toBe(counted(1, 2000)));
      expect(ms).toBeLessThan(2000);
    }));
});

describe("limits.maxPrefixBytes", () => {
  test("that much of a line that matches nothing is waited for, and no more", () =>
    withHub(limited({ maxPrefixBytes: 64 }, { timeouts: { prefixWaitMs: 5000 } }), [], async (hub) => {
      const short = await hub.connect();
      await short.send("x".repeat(60));
      const long = await hub.connect();
      await long.send("x".repeat(65));
      expect(await long.waitForEnd()).toBe('ERR no module is bound to "xxxxxxxxxxxxxxxx…"\n');
      expect(short.text).toBe("");
      await short.send("\n");
      await short.waitFor("ERR no module");
      await proveLife(hub);
    }));

  test("a request is one whatever its method, however long its target", () =>
    withHub(limited({ maxPrefixBytes: 64 }), [], async (hub) => {
      expect(await hub.ask("PROPFIND /page HTTP/1.1\r\nHost: a\r\n\r\n")).toStartWith("HTTP/1.1 ");
      expect(await hub.ask(`PROPFIND /${"a".repeat(80)} HTTP/1.1\r\nHost: a\r\n\r\n`)).toStartWith("HTTP/1.1 ");
      expect(await hub.ask(`PLAY /${"a".repeat(80)} HTTP/1.1\r\nHost: a\r\n\r\n`)).toStartWith("HTTP/1.1 501 ");
      expect(
        await hub.ask(`GET /page?${"a".repeat(800)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`),
      ).toStartWith("HTTP/1.1 200");
    }));

  test("a thousand clients with a beginning that never ends leave the server to the next one", () =>
    withHub(limited({ maxPrefixBytes: 1024 }, { timeouts: { prefixWaitMs: 0 } }), [], async (hub) => {
      const clients = await Promise.all(Array.from({ length: 1000 }, () => RawClient.connect(hub.port)));
      try {
        await Promise.all(clients.map((client) => client.send("?".repeat(1000))));
        await proveLife(hub);
        await Promise.all(
          clients.map(async (client) =>
            expect(await (await client.send("?".repeat(100))).waitForEnd()).toStartWith("ERR "),
          ),
        );
      } finally {
        for (const client of clients) client.close();
      }
      await proveLife(hub);
    }));
});

describe("limits.maxWebSocketMessageBytes", () => {
  test("holds where a route says nothing of its own", () =>
    withHub(limited({ maxWebSocketMessageBytes: 1000 }), [], async (hub) => {
      const say = async (path: string, bytes: number): Promise<number | string> => {
        const socket = await RawWebSocket.open(hub.port, path);
        try {
          await socket.send(Buffer.concat([text("x".repeat(bytes)), close(1000)]));
          const { code, frames } = await socket.outcome();
          return code === 1000 ? (frames[0]?.length ?? 0) - "text:".length : String(code);
        } finally {
          socket.close();
        }
      };
      expect([await say("/echo", 1000), await say("/echo", 1001)]).toEqual([1000, "1009"]);
      expect([await say("/large", 5000), await say("/large", 5001)]).toEqual([5000, "1009"]);
      await proveLife(hub);
    }));
});

async function memoryOf(hub: Hub): Promise<number> {
  return (JSON.parse(await hub.ask("STATUS\n")) as { memoryBytes: number }).memoryBytes;
}
