/** Raw messages over real sockets: routing, framing, order, limits. */
import { expect, test } from "bun:test";
import { type Hub, moduleSource, reuseHubs, shareHub } from "../../support/hub";
import { until } from "../../support/until";

const reused = reuseHubs();

const TEXT = {
  "modules/text.ts": moduleSource(`{
    routes: {
      "PING": () => "PONG\\n",
      "PINGX": () => "PONGX\\n",
      "GREET ": { framing: "line", handle: (m) => "Hello, " + m.text.slice(6) + "\\n" },
      "SLOW ": { framing: "line", handle: async (m) => { await Bun.sleep(Number(m.text.slice(5))); return m.text + "\\n"; } },
      "BYTES ": { framing: "line", handle: (m) => new Uint8Array([1, 2, 3, 255]) },
      "NONE ": { framing: "line", handle: () => {} },
      "THROW": { framing: "line", handle: () => { throw new Error("secret detail"); } },
      "REJECT": { framing: "line", handle: async () => { throw new Error("secret detail"); } },
      "WRONG": { framing: "line", handle: () => ({ a: 1 }) },
      "NEVER": { framing: "line", timeoutMs: 150, handle: () => new Promise(() => {}) },
      "COUNT ": { framing: "line", handle: async function* (m) { for (let i = 1; i <= Number(m.text.slice(6)); i++) yield i + "\\n"; } },
      "LEN": { framing: { length: { prefixBytes: 2 } }, handle: (m) => m.bytes.length + ":" + m.text.slice(5) + "\\n" },
      "#": { framing: (bytes) => bytes.length < 2 ? NEED_MORE : 2 + bytes[1], handle: (m) => "got " + m.bytes.length + "\\n" },
      "BIG ": { framing: "line", handle: (m) => "x".repeat(Number(m.text.slice(4))) + "\\n" },
      "WHO": (m) => m.client.address + " " + m.client.transport + " " + m.client.isLocal + "\\n",
    },
  }`),
};

const shared = shareHub(TEXT);

test("a message is routed by its first bytes, the longest key wins, and text behind a chunk key belongs to it", () =>
  shared(async (hub) => {
    expect(await hub.ask("PING")).toBe("PONG\n");
    expect(await hub.ask("PING\n")).toBe("PONG\n");
    expect(await hub.ask("PINGX")).toBe("PONGX\n");
    expect(await hub.ask("PINGY")).toBe("PONG\n");
    expect(await hub.ask("GREET bob\r\n")).toBe("Hello, bob\n");
    expect(await hub.ask("WHO")).toBe("127.0.0.1 tcp true\n");
  }));

test("an opening gives the same reply whole, byte by byte and split at every point", () =>
  shared(async (hub) => {
    const client = await hub.connect();
    const openings: [string, string][] = [
      ["GREET bob\n", "Hello, bob\n"],
      ["LEN\u0000\u0003abc", "8:abc\n"],
      ["#\u0004wxyz", "got 6\n"],
      ["HELPLESS\n", 'ERR no module is bound to "HELPLESS"\n'],
    ];
    for (const [opening, reply] of openings) {
      const pieces: string[][] = [[opening], [...opening]];
      for (let at = 1; at < opening.length; at++) pieces.push([opening.slice(0, at), opening.slice(at)]);
      for (const parts of pieces) {
        client.clear();
        for (const part of parts) {
          await client.send(part);
          // A turn of the loop lets the part leave as a packet of its own.
          await new Promise((resolve) => setImmediate(resolve));
        }
        expect(await client.waitFor(/\n$/)).toBe(reply);
      }
    }
  }));

test("where a longer key still could match, the shorter one is taken after prefixWaitMs, and at once at the client's FIN", () =>
  shared(async (hub) => {
    const waiting = await hub.connect();
    await waiting.send("PING");
    expect(await waiting.waitFor("\n")).toBe("PONG\n");
    waiting.clear();
    await waiting.send("PING");
    await waiting.send("X");
    expect(await waiting.waitFor("\n")).toBe("PONGX\n");
  }));

test("replies leave in the order of the messages, whatever takes longer", () =>
  shared(async (hub) => {
    expect(await hub.ask("SLOW 80\nGREET a\nSLOW 1\nNONE x\nCOUNT 3\nBYTES x\nGREET b\n")).toBe(
      "SLOW 80\nHello, a\nSLOW 1\n1\n2\n3\n" + Buffer.from([1, 2, 3, 255]).toString() + "Hello, b\n",
    );
  }));

test("many pipelined slow messages are all answered in order though only some are taken at a time", () =>
  shared(async (hub) => {
    const lines = Array.from({ length: 300 }, (_, i) => `SLOW ${i % 3}\n`);
    expect(await hub.ask(lines.join(""))).toBe(lines.join(""));
  }));

test("a client that half-closes still gets asynchronous replies", () =>
  shared(async (hub) => {
    expect(await hub.ask("SLOW 50")).toBe("SLOW 50\n");
  }));

test("a handler that throws, rejects, returns nonsense or never answers costs its caller an ERR line and nobody else anything", () =>
  shared(async (hub) => {
    const client = await hub.connect();
    await client.send("THROW\nREJECT\nWRONG\nNEVER\nGREET on\n");
    expect(await client.waitFor("on\n")).toBe(
      'ERR "THROW" failed\nERR "REJECT" failed\nERR "WRONG" failed\nERR "NEVER" did not answer within 150 ms\nHello, on\n',
    );
    await hub.program.waitFor("secret detail");
    await hub.program.waitFor("The handler returned an object");
    expect(await hub.ask("PING")).toBe("PONG\n");
  }));

test("bytes that match nothing get an escaped, cut error line, and the line behind them is routed", () =>
  shared(async (hub) => {
    expect(await hub.ask("XYZ\nGREET a\n")).toBe('ERR no module is bound to "XYZ"\nHello, a\n');
    expect(await hub.ask(Buffer.from([0x80, 0x00, 0x22, 0x41]))).toBe('ERR no module is bound to "\\x80\\x00\\"A"\n');
    expect(await hub.ask("Q".repeat(100) + "\n")).toStartWith(`ERR no module is bound to "${"Q".repeat(16)}`);
    const noLineEnd = await hub.connect();
    await noLineEnd.send("XYZ");
    expect(await noLineEnd.waitFor("\n")).toBe('ERR no module is bound to "XYZ"\n');
  }));

test("a client that only sends what matches nothing is told so a few times and then closed", () =>
  shared(async (hub) => {
    const reply = await hub.ask("nothing\n".repeat(1000));
    expect(reply.split("\n").length).toBeLessThan(30);
    expect(await hub.ask("PING")).toBe("PONG\n");
  }));

test("a message over the limit is refused as soon as its length is known, and the connection closed", () =>
  reused({ ...TEXT, "hrmr.json": '{ "limits": { "maxMessageBytes": 1000 } }' }, [], async (hub) => {
    const announced = await hub.connect();
    await announced.send("LEN\u0010\u0000");
    expect(await announced.waitForEnd()).toBe("ERR message over 1000 bytes\n");
    const line = await hub.connect();
    await line.send("GREET " + "x".repeat(2000));
    expect(await line.waitForEnd()).toBe("ERR message over 1000 bytes\n");
    expect(await hub.ask("GREET " + "x".repeat(900) + "\n")).toBe("Hello, " + "x".repeat(900) + "\n");
  }));

test("a message that never completes is answered and closed at requestMs", () =>
  reused({ ...TEXT, "hrmr.json": '{ "timeouts": { "requestMs": 200 } }' }, [], async (hub) => {
    const partial = await hub.connect();
    await partial.send("GREET bo");
    expect(await partial.waitForEnd()).toBe("ERR message incomplete after 200 ms\n");
    const prefix = await hub.connect();
    await prefix.send("GREE");
    expect(await prefix.waitForEnd()).toBe('ERR no module is bound to "GREE"\n');
    expect(await hub.ask("PING")).toBe("PONG\n");
  }));

test("an idle connection is closed at idleMs, one that talks is not", () =>
  reused({ ...TEXT, "hrmr.json": '{ "timeouts": { "idleMs": 400 } }' }, [], async (hub) => {
    const silent = await hub.connect();
    expect(await silent.waitForEnd()).toBe("");
    expect(await hub.ask("PING")).toBe("PONG\n");
  }));

test("a client that never reads is cut at writeMs while others are served", () =>
  reused({ ...TEXT, "hrmr.json": '{ "timeouts": { "writeMs": 300 } }' }, [], async (hub) => {
    const deaf = await hub.connect();
    deaf.pause();
    await deaf.send("BIG 30000000\n");
    await until("the other connections are closed", async () => (await hub.status()).openConnections === 1);
    expect(await hub.ask("PING")).toBe("PONG\n");
  }));

test("a reply of many megabytes arrives whole", () =>
  shared(async (hub) => {
    const reply = await hub.ask("BIG 20000000\n");
    expect(reply.length).toBe(20_000_001);
  }));

test("connections over the cap are closed, those below it are served", () =>
  reused({ ...TEXT, "hrmr.json": '{ "limits": { "maxConnections": 3 } }' }, [], async (hub) => {
    const open = [await hub.connect(), await hub.connect(), await hub.connect()];
    for (const client of open) {
      await client.send("GREET a\n");
      await client.waitFor("a\n");
    }
    await refused(hub);
    open[0]?.close();
    await until("there is room again", async () => (await hub.ask("PING").catch(() => "")) === "PONG\n");
  }));

test("connections of one address over its cap are closed", () =>
  reused({ ...TEXT, "hrmr.json": '{ "limits": { "maxConnectionsPerAddress": 2 } }' }, [], async (hub) => {
    const open = [await hub.connect(), await hub.connect()];
    for (const client of open) {
      await client.send("GREET a\n");
      await client.waitFor("a\n");
    }
    await refused(hub);
    open[1]?.close();
    await until("there is room again", async () => (await hub.ask("PING").catch(() => "")) === "PONG\n");
  }));

test("a TLS client is dropped without a word while TLS is off", () =>
  shared(async (hub) => {
    const tls = await hub.connect();
    await tls.send(Buffer.from([0x16, 0x03, 0x01, 0x00, 0x05, 1, 0, 0, 1, 0]));
    expect(await tls.waitForEnd()).toBe("");
    expect(await hub.ask("PING")).toBe("PONG\n");
  }));

test("several listeners serve the same routes: two TCP ports, IPv6, a unix socket", async () => {
  const path = `/tmp/hrmr-test-${process.pid}.sock`;
  await reused(
    TEXT,
    ["--listen", "tcp://127.0.0.1:0", "--listen", "tcp://[::1]:0", "--listen", `unix://${path}`],
    async (hub) => {
      const urls = hub.program.listening;
      expect(urls.length).toBe(3);
      expect(await hub.ask("WHO")).toBe("127.0.0.1 tcp true\n");
      const unix = await hub.connect(path);
      await unix.send("WHO");
      expect(await unix.waitFor("\n")).toBe("unix unix true\n");
    },
  );
});

/** A connection too many is reset, during or after the handshake. */
async function refused(hub: Hub): Promise<void> {
  const surplus = await hub.connect().catch((error: NodeJS.ErrnoException) => expect(error.code).toBe("ECONNRESET"));
  await surplus?.waitForEnd();
}
