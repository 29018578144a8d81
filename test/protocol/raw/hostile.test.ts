/**
 * Bytes that no client of ours would send, and clients that behave like none: the server stays the same process, and
 * serves the next one.
 */
import { describe, expect, test } from "bun:test";
import { type Hub, moduleSource, reuseHubs, shareHub } from "../../support/hub";
import { Random } from "../../support/random";
import { RawClient } from "../../support/client";
import { eventually, until } from "../../support/until";

const reused = reuseHubs();

const MODULE = moduleSource(`{
  routes: {
    "PING": () => "PONG\\n",
    "ECHO ": { framing: "line", handle: (message) => message.text.slice(5) + "\\n" },
    "LEN": { framing: { length: { prefixBytes: 4 } }, handle: (message) => message.bytes.length + "\\n" },
    "EIGHT": { framing: { length: { prefixBytes: 8 } }, handle: (message) => message.bytes.length + "\\n" },
    "LITTLE": { framing: { length: { prefixBytes: 2, endian: "little", includesPrefix: true } }, handle: (message) => message.bytes.length + "\\n" },
    "FUN": { framing: (bytes) => bytes.length < 5 ? NEED_MORE : bytes[4] === 0 ? NaN : bytes[4] === 1 ? -7 : bytes[4] === 2 ? 1e12 : bytes[4] === 3 ? "x" : 3, handle: () => "fun\\n" },
    "NEVER": { framing: () => NEED_MORE, handle: () => "never\\n" },
    "BIG": { framing: "line", handle: () => "x".repeat(200000) + "\\n" },
    "TALK": { async connect(connection) { for await (const line of connection.lines()) await connection.write(line + "\\n"); } },
    "POOL ": { framing: "line", run: "pool", handle: (message) => "pool " + message.text.slice(5) + "\\n" },
    "LOOP": { framing: "line", run: "pool", timeoutMs: 200, handle: () => { for (;;); } },
    "THROW": { framing: "line", run: "pool", handle: () => { throw new Error("on purpose"); } },
    "EXIT": { framing: "line", run: "pool", handle: () => { process.exit(3); } },
    "/page": { fetch: () => new Response("page") },
  },
}`);
const FILES = { "modules/raw.ts": MODULE };
const QUICK = {
  ...FILES,
  "hrmr.json":
    '{ "limits": { "maxMessageBytes": 5000 }, "timeouts": { "requestMs": 300, "idleMs": 1500, "writeMs": 400 } }',
};

const TCP_AND_UDP = ["--listen", "udp://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"];
const withShared = shareHub(FILES, TCP_AND_UDP);
const withQuick = shareHub(QUICK);

/** A fresh client is served, by the same process, which found no mistake of its own. */
async function alive(hub: Hub): Promise<void> {
  expect(await hub.ask("PING")).toBe("PONG\n");
  // Not by fetch, whose connection would stay open and be counted.
  expect(await hub.ask("GET /page HTTP/1.0\r\n\r\n")).toEndWith("\r\n\r\npage");
  expect((await hub.status()).pid).toBe(hub.program.pid);
  expect(hub.program.output()).not.toContain("bug in hrmr");
}

/** Ends when the server closes; a reset while sending is an answer too. */
async function throwAt(hub: Hub, bytes: Uint8Array): Promise<string> {
  const client = await hub.connect();
  await client.send(bytes).catch(() => undefined);
  const text = await client.finish().waitForEnd();
  client.close();
  return text;
}

describe("garbage", () => {
  test("200 random blobs of up to 4 KB, some with a protocol's opening, disturb no other client", () =>
    withQuick(async (hub) => {
      const openings = [
        "",
        "",
        "PING",
        "ECHO ",
        "LEN",
        "EIGHT",
        "LITTLE",
        "FUN",
        "NEVER",
        "TALK",
        "GET ",
        "POST / HTTP/1.1\r\n",
        "\x16\x03\x01",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POOL ",
        "RELOAD",
        "STATUS",
      ];
      for (let batch = 0; batch < 10; batch++) {
        await Promise.all(
          Array.from({ length: 20 }, async (_, at) => {
            const random = new Random(batch * 20 + at);
            const blob = Buffer.from(Array.from({ length: random.below(4096) }, () => random.below(256)));
            await throwAt(hub, Buffer.concat([Buffer.from(random.pick(openings), "latin1"), blob]));
          }),
        );
      }
      await alive(hub);
      await until("all connections closed", async () => (await hub.status()).openConnections <= 2);
    }));

  test("error lines show what was sent escaped and cut, and nothing raw", () =>
    withShared(async (hub) => {
      const reply = await throwAt(hub, Buffer.from('\x1b]0;title\x07\x00"\\\x80\xff'.repeat(5), "latin1"));
      expect(reply).toMatch(/^[ -~…\n]*$/);
      expect(reply).toStartWith("ERR ");
      await alive(hub);
    }));

  // On a server of its own: LOOP ends threads of the pool until the module is out of service.
  test("UDP garbage of any size is survived, and the next datagram answered", () =>
    reused(FILES, TCP_AND_UDP, async (hub) => {
      const port = Number(/udp:\/\/127\.0\.0\.1:(\d+)/.exec(hub.program.listening.join())?.[1]);
      const got = Promise.withResolvers<string>();
      const socket = await Bun.udpSocket({
        socket: { data: (_, bytes) => void (bytes.toString() === "PONG\n" && got.resolve("PONG\n")) },
      });
      try {
        for (let seed = 0; seed < 300; seed++) {
          const random = new Random(seed);
          const size = seed % 50 === 0 ? 60_000 : random.below(1400);
          socket.send(Buffer.from(Array.from({ length: size }, () => random.below(256))), port, "127.0.0.1");
          if (seed % 3 === 0)
            socket.send(
              random.pick(["TALK", "RELOAD", "GET / HTTP/1.1\r\n\r\n", "LEN", "NEVER", "FUN12", "LOOP", ""]),
              port,
              "127.0.0.1",
            );
        }
        const timer = setInterval(() => socket.send("PING", port, "127.0.0.1"), 20);
        expect(await got.promise.finally(() => clearInterval(timer))).toBe("PONG\n");
      } finally {
        socket.close();
      }
      await alive(hub);
    }));
});

describe("UDP clients", () => {
  test("who do not wait for their reply are no bug of ours", () =>
    withShared(async (hub) => {
      const port = Number(/udp:\/\/127\.0\.0\.1:(\d+)/.exec(hub.program.listening.join())?.[1]);
      for (let n = 0; n < 20; n++) {
        const impatient = await Bun.udpSocket({});
        impatient.send("POOL later", port, "127.0.0.1");
        impatient.close();
        // Its reply, which nobody takes, was sent before this one.
        expect(await hub.ask("POOL marker\n")).toBe("pool marker\n");
      }
      await alive(hub);
    }));
});

describe("messages that do not end as they should", () => {
  test("over the limit they are refused and closed, in every framing", () =>
    withQuick(async (hub) => {
      const over = "ERR message over 5000 bytes\n";
      const messages: [string, string][] = [
        [`ECHO ${"x".repeat(6000)}`, over],
        [`ECHO ${"x".repeat(6000)}\n`, over],
        ["LEN\0\0\x20\0", over],
        ["LEN\xff\xff\xff\xff", over],
        ["EIGHT\xff\xff\xff\xff\xff\xff\xff\xff", "ERR malformed message\n"],
        ["EIGHT\0\0\0\0\0\0\x20\0", over],
        ["LITTLE\x20\x20", over],
        [`NEVER${"x".repeat(6000)}`, over],
        [`PING${"x".repeat(60_000)}`, over],
        ["FUN \x00", "ERR malformed message\n"],
        ["FUN \x01", "ERR malformed message\n"],
        ["FUN \x03", "ERR malformed message\n"],
        ["LITTLE\x01\0", "ERR malformed message\n"],
      ];
      const wrong: string[] = [];
      for (const [message, reply] of messages) {
        const client = await hub.connect();
        await client.send(Buffer.from(message, "latin1")).catch(() => undefined);
        const text = await client.waitForEnd();
        if (text !== reply) wrong.push(`${JSON.stringify(message.slice(0, 20))}: ${JSON.stringify(text)}`);
      }
      expect(wrong).toEqual([]);
      await alive(hub);
    }));

  test("a framing function that tells a length over the limit has its message refused at once", () =>
    withQuick(async (hub) => {
      const client = await hub.connect();
      // By its fifth byte this message has a length of 1e12.
      await client.send("FUN \x02");
      expect(await client.waitForEnd()).toBe("ERR message over 5000 bytes\n");
    }));

  test("a key, a line or a length that never completes is closed at requestMs, even if a byte comes now and then", () =>
    withQuick(async (hub) => {
      const clients = await Promise.all(
        ["P", "ECHO ", "ECHO abc", "LEN", "LEN\0", "LEN\0\0\0\x09abc", "NEVER", "FU", "LITTL", "EIGHT\0\0\0"].map(
          async (opening) => {
            const client = await hub.connect();
            await client.send(Buffer.from(opening, "latin1"));
            return client;
          },
        ),
      );
      const [dripping] = [await hub.connect()];
      await dripping.send("ECHO ");
      const timer = setInterval(() => void dripping.send("x").catch(() => undefined), 60);
      try {
        for (const client of [...clients, dripping]) expect(await client.waitForEnd()).toMatch(/^ERR [^\n]*\n$/);
      } finally {
        clearInterval(timer);
      }
      await alive(hub);
    }));

  test("a client that half-closes anywhere in a message is answered and closed", () =>
    withShared(async (hub) => {
      for (const message of [
        "ECHO abc\r\n",
        "LEN\0\0\0\x03abc",
        "LITTLE\x05\0abc",
        "EIGHT\0\0\0\0\0\0\0\x02ab",
        "TALK\nabc\n",
        "POOL abc\n",
        "STATUS\n",
      ]) {
        for (let at = 1; at <= message.length; at++) await throwAt(hub, Buffer.from(message.slice(0, at), "latin1"));
      }
      await alive(hub);
      await until("all connections closed", async () => (await hub.status()).openConnections === 1);
    }));
});

describe("clients that do not read, do not speak or do not stay", () => {
  test("who never reads replies is pushed back, costs little memory and is cut at writeMs", () =>
    withQuick(async (hub) => {
      const before = (await hub.status()).memoryBytes;
      const deaf = await Promise.all(
        Array.from({ length: 20 }, async () => {
          const client = await hub.connect();
          client.pause();
          void client.send("BIG\n".repeat(10_000)).catch(() => undefined);
          return client;
        }),
      );
      let peak = 0;
      await until("the deaf are cut", async () => {
        const { openConnections, memoryBytes } = await hub.status();
        peak = Math.max(peak, memoryBytes);
        return openConnections === 1;
      });
      // Asked for are 40 GB. 20 times maxWriteBufferBytes may be held, and a multiple of it until the collector looks.
      expect(peak - before).toBeLessThan(200_000_000);
      for (const client of deaf) client.close();
      await alive(hub);
    }));

  test("500 that connect and reset at once, some in the middle of a message, leave nothing open", () =>
    withShared(async (hub) => {
      for (let batch = 0; batch < 10; batch++) {
        const clients = await Promise.all(Array.from({ length: 50 }, () => RawClient.connect(hub.port)));
        await Promise.all(
          clients.map(async (client, at) => {
            if (at % 5 !== 0)
              await client.send(
                [
                  "ECHO ab",
                  "GET / HT",
                  "BIG\nBIG\nBIG\n",
                  "TALK\nabc\n",
                  "POOL x\n",
                  "POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
                ][at % 6] as string,
              );
            client.close();
          }),
        );
      }
      await until("all are gone", async () => (await hub.status()).openConnections === 1);
      await alive(hub);
    }));

  test("thousands of silent connections leave room for one more client, and all of them end", () =>
    reused({ ...FILES, "hrmr.json": '{ "limits": { "maxConnections": 20000 } }' }, [], async (hub) => {
      const before = await hub.status();
      // This process and the server need a descriptor each for every one.
      const count = Math.min(10_000, descriptorLimit() - 500);
      const silent: Bun.Socket[] = [];
      const handlers = { data: () => {}, error: () => {} };
      for (let made = 0; made < count; made += 400) {
        const size = Math.min(400, count - made);
        silent.push(
          ...(await Promise.all(
            Array.from({ length: size }, () =>
              Bun.connect({ hostname: "127.0.0.1", port: hub.port, socket: handlers }),
            ),
          )),
        );
      }
      await until("all are accepted", async () => (await hub.status()).openConnections === count + 1);
      await alive(hub);
      await eventually(async () => {
        const { memoryBytes } = await hub.status();
        expect((memoryBytes - before.memoryBytes) / count).toBeLessThan(6000);
      });
      for (const socket of silent) socket.terminate();
      await until("all are gone", async () => (await hub.status()).openConnections === 1);
      await alive(hub);
    }));

  test("a flood above maxConnections is refused without harm to those who are in", () =>
    reused({ ...FILES, "hrmr.json": '{ "limits": { "maxConnections": 50 } }' }, [], async (hub) => {
      const inside = await hub.connect();
      await inside.send("ECHO in\n");
      await inside.waitFor("in\n");
      // Some are reset so early that connecting fails.
      const flood = await Promise.all(Array.from({ length: 300 }, () => hub.connect().catch(() => null)));
      await inside.clear().send("ECHO still\n");
      await inside.waitFor("still\n");
      for (const client of flood) client?.close();
      await until("there is room", async () => (await hub.ask("PING").catch(() => "")) === "PONG\n");
      await alive(hub);
    }));
});

test("endless loops, throws and exits on the pool in the middle of good traffic cost only their own callers", () =>
  // Quarantine is a test of its own: here the module stays, whatever it does to its threads.
  reused(FILES, ["--threads", "2", "--set", "modules.raw.maxCrashes=0"], async (hub) => {
    const wrong: string[] = [];
    let isOver = false;
    const good = async (at: number) => {
      const client = await hub.connect();
      for (let n = 0; !isOver; n++) {
        await client.clear().send(`ECHO ${at}-${n}\n`);
        const text = await client.waitFor("\n");
        if (text !== `${at}-${n}\n`) wrong.push(text);
      }
    };
    const goods = Promise.all(Array.from({ length: 8 }, (_, at) => good(at)));
    for (let round = 0; round < 5; round++) {
      const bad = await Promise.all(["LOOP\n", "THROW\n", "EXIT\n", "LOOP\n"].map((message) => hub.ask(message)));
      for (const reply of bad) expect(reply).toMatch(/^ERR [^\n]*\n$/);
      expect(await hub.ask(`POOL ${round}\n`)).toBe(`pool ${round}\n`);
    }
    isOver = true;
    await goods;
    expect(wrong).toEqual([]);
    await alive(hub);
  }));

test("a pool thread is replaced also when its modules' bundles are gone from the disk", () =>
  reused(FILES, ["--threads", "1"], async (hub) => {
    expect(await hub.ask("POOL 1\n")).toBe("pool 1\n");
    // By hand, by `git clean`, or by a second server in the same folder, which prunes files that it does not use.
    hub.remove(".hrmr");
    expect(await hub.ask("LOOP\n")).toStartWith('ERR "LOOP" did not answer within');
    await until("the thread is back", async () => (await hub.ask("POOL 2\n")) === "pool 2\n");
    await alive(hub);
  }));

function descriptorLimit(): number {
  return Number(Bun.spawnSync(["sh", "-c", "ulimit -Hn"]).stdout.toString().trim()) || 1024;
}
