/** `connect` handlers: a connection as sequential code, over reloads. */
import { expect, test } from "bun:test";
import { moduleSource, reuseHubs } from "../../support/hub";
import { eventually } from "../../support/until";

const reused = reuseHubs();

const chat = (word: string) =>
  moduleSource(`{ routes: { "CHAT": { async connect(connection) {
    connection.data ??= { lines: 0 };
    for await (const line of connection.lines()) {
      connection.data.lines++;
      await connection.write("${word} " + connection.data.lines + " " + line + "\\n");
    }
    if (!connection.replaced) await connection.write("${word} ended\\n");
  } } } }`);

const READS = moduleSource(`{ routes: {
  "READ": { async connect(c) { await c.read(4); const size = (await c.read(2)); const n = size[0] * 256 + size[1]; const body = await c.read(n); await c.end("got " + body.length + "\\n"); } },
  "UNTIL": { async connect(c) { await c.readUntil("\\n"); const block = await c.readUntil("\\r\\n\\r\\n"); await c.end(new Uint8Array(block)); } },
  "ECHO": { async connect(c) { for await (const bytes of c) await c.write(bytes); } },
  "TWICE": { async connect(c) { void c.read(1000); try { await c.read(1); } catch (error) { await c.end(error.message); } } },
  "BREAK": { async connect() { throw new Error("broken on purpose"); } },
  "GONE": { async connect(c) { await c.readUntil("\\n"); c.signal.addEventListener("abort", () => console.log("signal aborted")); await c.write("ready"); await c.read(1000); console.log("read ended"); } },
} }`);

test("lines are echoed as sequential code, the key's line first, a last line without its end included", () =>
  reused({ "modules/chat.ts": chat("one") }, [], async (hub) => {
    expect(await hub.ask("CHAT\nhello\r\nlast")).toBe("one 1 CHAT\none 2 hello\none 3 last\none ended\n");
  }));

test("a reload hands the open connection to the new version: nothing is closed, data stays, half a line is not lost", () =>
  reused({ "modules/chat.ts": chat("one") }, [], async (hub) => {
    const client = await hub.connect();
    await client.send("CHAT\nhel");
    await client.waitFor("one 1 CHAT\n");
    for (const [version, word] of [
      [2, "two"],
      [3, "three"],
    ] as const) {
      hub.write("modules/chat.ts", chat(word));
      expect(await hub.ask("RELOAD")).toStartWith(`OK chat v${version} (was v${version - 1}) swapped`);
    }
    await client.send("lo\n");
    expect(await client.waitFor("hello\n")).toBe("one 1 CHAT\nthree 2 hello\n");
    await eventually(async () =>
      expect((await hub.status()).modules.find((m) => m.name === "chat")?.draining).toEqual([]),
    );
  }));

test("500 open connections go over to each of 10 versions without a loss", () =>
  reused({ "modules/chat.ts": chat("v1") }, [], async (hub) => {
    const clients = await Promise.all(Array.from({ length: 500 }, () => hub.connect()));
    await Promise.all(clients.map(async (client) => (await client.send("CHAT\n")).waitFor("v1 1 CHAT\n")));
    for (let version = 2; version <= 11; version++) {
      hub.write("modules/chat.ts", chat(`v${version}`));
      expect(await hub.ask("RELOAD")).toStartWith("OK");
      await Promise.all(
        clients.map(async (client) => (await client.send(`hi\n`)).waitFor(`v${version} ${version} hi\n`)),
      );
    }
    expect(clients.filter((client) => client.hasEnded).length).toBe(0);
  }));

test("a handler whose route is gone ends, and its connection is closed after what it said", () =>
  reused(
    { "modules/chat.ts": chat("one"), "modules/other.ts": moduleSource(`{ routes: { "PING": () => "PONG\\n" } }`) },
    [],
    async (hub) => {
      const client = await hub.connect();
      await client.send("CHAT\n");
      await client.waitFor("one 1 CHAT\n");
      hub.remove("modules/chat.ts");
      expect(await hub.ask("RELOAD")).toStartWith("OK chat unloaded");
      await client.waitForEnd();
    },
  ));

test("read(n), readUntil and iteration give exact bytes however they arrive", () =>
  reused({ "modules/reads.ts": READS }, [], async (hub) => {
    const client = await hub.connect();
    for (const byte of Buffer.concat([Buffer.from("READ"), Buffer.from([1, 0]), Buffer.alloc(256, 7)]))
      await client.send(Buffer.from([byte]));
    expect(await client.waitForEnd()).toBe("got 256\n");
    expect(await hub.ask("UNTIL\na\r\nb\r\n\r\nignored")).toBe("a\r\nb\r\n\r\n");
    const big = Buffer.concat([Buffer.from("ECHO"), Buffer.alloc(3_000_000, "abcdefghij")]);
    const echo = await hub.connect();
    const sending = echo.send(big);
    expect((await echo.waitForBytes(big.length)).equals(big)).toBe(true);
    await sending;
    expect(await hub.ask("TWICE")).toContain("Another read of this connection is still waiting");
  }));

test("a handler that throws costs its own connection and nothing else", () =>
  reused({ "modules/reads.ts": READS }, [], async (hub) => {
    expect(await hub.ask("BREAK")).toBe("");
    await hub.program.waitFor("broken on purpose");
    expect(await hub.ask("UNTIL\nx\r\n\r\n")).toBe("x\r\n\r\n");
  }));

test("a client that vanishes ends the pending read and aborts the signal", () =>
  reused({ "modules/reads.ts": READS }, [], async (hub) => {
    const client = await hub.connect();
    await client.send("GONE\n");
    await client.waitFor("ready");
    client.close();
    await hub.program.waitFor("read ended");
    await hub.program.waitFor("signal aborted");
  }));

test("a connection whose handler never reads is pushed back, and others are served", () =>
  reused(
    {
      "modules/deaf.ts": moduleSource(
        `{ routes: { "DEAF": { connect: () => new Promise(() => {}) }, "PING": () => "PONG\\n" } }`,
      ),
    },
    [],
    async (hub) => {
      const client = await hub.connect();
      await client.send("DEAF");
      let sent = 0;
      const piece = Buffer.alloc(1_000_000, 1);
      while (
        sent < 64 &&
        (await Promise.race([
          client.send(piece).then(() => true),
          hub
            .ask("PING")
            .then(() => hub.ask("PING"))
            .then(() => false),
        ]))
      )
        sent++;
      expect(sent).toBeLessThan(64);
      expect(await hub.ask("PING")).toBe("PONG\n");
    },
  ));
