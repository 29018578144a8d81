/** UDP: each datagram is a message, the reply a datagram. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { type Hub, moduleSource, withHub } from "../../support/hub";
import { UdpClient } from "../../support/udp";
import { eventually, until } from "../../support/until";

const TEXT = moduleSource(`{ routes: {
  "PING": () => "PONG\\n",
  "GREET ": { framing: "line", handle: async (m) => "Hello, " + m.text.slice(6) + " by " + m.client.transport + "\\n" },
  "UP ": { framing: "line", run: "pool", handle: (m) => m.text.slice(3).toUpperCase() + "\\n" },
  "MANY": async function* () { yield "a"; yield "b"; },
  "NEVER": { framing: "line", timeoutMs: 100, handle: () => new Promise(() => {}) },
  "HUGE": () => "x".repeat(100_000),
  "WHO": ({ client }) => client.address + " " + client.isLocal,
  "LEN": { framing: { length: { prefixBytes: 1 } }, handle: () => "length\\n" },
  "ODD": { framing: () => { throw new Error("an author's bug"); }, handle: () => "odd\\n" },
  "CHAT": { async connect(connection) { await connection.write("chat\\n"); } },
  "HOLD": { framing: "line", handle: () => new Promise((done) => (globalThis.held ??= []).push(done)) },
  "POOLED": { framing: "line", run: "pool", timeoutMs: 60_000, handle: () => new Promise(() => {}) },
  "STREAM": async function* () { await new Promise((done) => (globalThis.held ??= []).push(done)); yield "streamed\\n"; },
  "HELD": () => String((globalThis.held ?? []).length),
  "LET GO": () => { for (const done of globalThis.held.splice(0)) done("done\\n"); return "gone\\n"; },
} }`);

/** Calls that write the file "begun", and wait for the file "go". */
const HELD = `import { defineModule } from "hrmr";
import { existsSync, writeFileSync } from "node:fs";
async function go() {
  writeFileSync("begun", "");
  while (!existsSync("go")) await Bun.sleep(10);
  return "done\\n";
}
export default defineModule({ routes: {
  "HOLD": { framing: "line", handle: go },
  "POOL HOLD": { framing: "line", run: "pool", handle: go },
  "STREAM": { framing: "line", handle: async function* () { yield await go(); } },
} });`;

const BOTH = ["--listen", "udp://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"];

test("datagrams are answered by inline and pool handlers, with their transport told", () =>
  withUdp(async ({ ask }) => {
    expect(await ask("PING")).toBe("PONG\n");
    expect(await ask("GREET bob")).toBe("Hello, bob by udp\n");
    expect(await ask("GREET bob\n")).toBe("Hello, bob by udp\n");
    expect(await ask("UP abc")).toBe("ABC\n");
    expect(await ask("MANY")).toBe("ab");
    expect(await ask("NEVER")).toBe('ERR "NEVER" did not answer within 100 ms\n');
    expect(await ask("HELP\n")).toBe("ERR HELP is not accepted over UDP\n");
    expect(await ask("PING")).toBe("PONG\n");
  }));

test("a datagram that matches nothing, or is not one whole message, gets no answer and is counted", () =>
  withUdp(async (client, hub) => {
    const silent = [
      "nobody",
      "x",
      'ERR no module is bound to "x"\n',
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "GREET a\nGREET b\n",
      "LEN\u0009ab",
      "ODD",
      "CHAT",
      "\n",
      "\u0000\u00ff",
    ];
    for (const text of silent) client.send(text);
    // Datagrams of one client to one socket stay in order: had one of them been answered, its answer would have come
    // first.
    expect(await client.ask("PING")).toBe("PONG\n");
    expect(client.received).toEqual(["PONG\n"]);
    expect(await hub.status()).toMatchObject({ datagrams: { dropped: 0, ignored: silent.length } });
  }));

test("two servers that are made to talk to each other fall silent", () =>
  withUdp((one, first) =>
    withUdp(async (two, second) => {
      // With a forged sender's address, one of them would get the other's answers.
      for (const [from, to] of [
        [one, two],
        [two, one],
      ] as const) {
        for (const word of ["HELP\n", "NEVER", "PING", "GREET bob"]) {
          const answer = await from.ask(word);
          to.send(answer);
          expect([word, await to.ask("MANY")]).toEqual([word, "ab"]);
        }
      }
      for (const hub of [first, second])
        await eventually(async () => expect(await hub.status()).toMatchObject({ datagrams: { ignored: 4 } }));
    }),
  ));

for (const word of ["HOLD", "STREAM", "POOLED"]) {
  test(`above limits.maxDatagramCalls datagrams are dropped and counted, and what is under way is answered: ${word}`, () =>
    withUdp(
      async (client, hub) => {
        for (let count = 0; count < 20; count++) client.send(word);
        await until("17 dropped datagrams", async () => (await hub.status()).datagrams.dropped === 17);
        await hub.program.waitFor(/datagrams dropped: 3 calls are under way \(limits\.maxDatagramCalls\)/);
        // Others are served meanwhile.
        expect(await hub.ask("PING")).toBe("PONG\n");
        expect(await (await fetch(`${hub.url}/metrics`)).text()).toContain(
          'hrmr_datagrams_dropped_total{reason="busy"} 17',
        );
        // It never answers: withUdp's stop cuts it.
        if (word === "POOLED") return;
        expect(await hub.ask("HELD")).toBe("3");
        expect(await hub.ask("LET GO")).toBe("gone\n");
        await until("the answers of those under way", () => client.received.length === 3);
        expect(await client.ask("PING")).toBe("PONG\n");
      },
      { "hrmr.json": JSON.stringify({ limits: { maxDatagramCalls: 3 }, timeouts: { drainMs: 500 } }) },
    ));
}

// How a call is held does not depend on the number of processes.
test.each([
  ["HOLD", 1],
  ["STREAM", 1],
  ["POOL HOLD", 1],
  ["POOL HOLD", 2],
])("a server that stops answers what is under way, and ends: %s, %p process(es)", (word, processes) =>
  withUdp(
    async (client, hub) => {
      client.send(`${word}\n`);
      await until("the call", () => existsSync(join(hub.dir, "begun")));
      hub.program.signal("SIGTERM");
      await hub.program.waitFor(/SIGTERM: finishing what is under way/);
      writeFileSync(join(hub.dir, "go"), "");
      await until("the answer", () => client.received.length === 1);
      expect(client.received).toEqual(["done\n"]);
      expect(await hub.program.exited).toBe(0);
    },
    { "modules/text.ts": HELD },
    [...BOTH, "--processes", String(processes)],
  ),
);

for (const word of ["HOLD", "POOL HOLD"]) {
  test(`a UDP call that never answers is cut at drainMs, and the server ends: ${word}`, () =>
    withUdp(
      async (client, hub) => {
        client.send(`${word}\n`);
        await until("the call", () => existsSync(join(hub.dir, "begun")));
        hub.program.signal("SIGTERM");
        expect(await hub.program.exited).toBe(0);
        expect(hub.program.output()).not.toContain("a bug in hrmr");
      },
      { "modules/text.ts": HELD, "hrmr.json": JSON.stringify({ timeouts: { drainMs: 200 } }) },
    ));
}

test("an IPv4 client of an IPv6 socket is told by its IPv4 address", () =>
  withUdp(
    async ({ ask }) => {
      expect(await ask("WHO")).toBe("127.0.0.1 true");
    },
    {},
    ["--listen", "udp://[::]:0", "--listen", "tcp://127.0.0.1:0"],
  ));

async function withUdp(
  test: (client: UdpClient, hub: Hub) => Promise<void>,
  files: Record<string, string> = {},
  args: string[] = BOTH,
): Promise<void> {
  await withHub({ "modules/text.ts": TEXT, ...files }, args, async (hub) => {
    const client = await UdpClient.connect(Number(/udp:\/\/\S+:(\d+)/.exec(hub.program.listening.join(" "))?.[1]));
    try {
      await test(client, hub);
    } finally {
      client.close();
    }
  });
}
