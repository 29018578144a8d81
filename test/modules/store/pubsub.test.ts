/** Messages for clients of Redis: events of modules and changes of documents. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createClient } from "@redis/client";
import { Redis } from "ioredis";
import { type Listener, Subscriptions } from "../../../modules/store/resp/pubsub/subscriptions";
import { wishOf } from "../../../modules/store/resp/pubsub/wish";
import { WatchGuards } from "../../../modules/store/watch/guards";
import type { RawClient } from "../../support/client";
import { type Hub, shareHub, withHub } from "../../support/hub";
import { NO_REDIS, RedisServer } from "../../support/redis/server";
import { runOnStore, STORE_MODULE, storeModule, untilProcessesAnswer } from "../../support/store-module";
import { addToken, revokeToken } from "../../support/tokens";
import { until } from "../../support/until";

const settingsOf = (more: object = {}, others: object = {}): string =>
  JSON.stringify({ modules: { store: { topics: ["user.>", "room.*"], emit: ["room.*"], ...more } }, ...others });
const onHub = shareHub({ "modules/any.ts": STORE_MODULE, "hrmr.json": settingsOf() });

const command = (...words: string[]): string =>
  `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
const frame = (...words: string[]): string => command(...words);

/** A client that has sent commands and got the last reply. */
async function heard(hub: Hub, commands: readonly string[][], last: string): Promise<RawClient> {
  const client = await hub.connect();
  await client.send(commands.map((each) => command(...each)).join(""));
  await client.waitFor(last);
  client.clear();
  return client;
}

const subscribed = (kind: string, name: string, count: number): string =>
  `*3\r\n$${kind.length}\r\n${kind}\r\n$${name.length}\r\n${name}\r\n:${count}\r\n`;

describe("a client that has subscribed", () => {
  test("hears the events of modules as messages: strings as they are, other data as JSON", () =>
    onHub(async (hub) => {
      const one = await heard(hub, [["SUBSCRIBE", "user.created"]], subscribed("subscribe", "user.created", 1));
      const all = await heard(hub, [["PSUBSCRIBE", "user.*e?"]], subscribed("psubscribe", "user.*e?", 1));
      await runOnStore(
        hub,
        `for (const data of ["hällo", { id: 7 }, null, undefined]) context.events.emit("user.created", data);
         context.events.emit("other.created", 1);
         context.events.emit("user.a.closed", 2);`,
      );
      const texts = ["hällo", '{"id":7}', "null", ""];
      const last = frame("pmessage", "user.*e?", "user.a.closed", "2");
      await all.waitFor(last);
      expect(all.text).toBe(texts.map((text) => frame("pmessage", "user.*e?", "user.created", text)).join("") + last);
      await one.waitFor(frame("message", "user.created", ""));
      expect(one.text).toBe(texts.map((text) => frame("message", "user.created", text)).join(""));
    }));

  test("gets what another publishes, as modules do", () =>
    onHub(async (hub) => {
      const module = runOnStore(
        hub,
        `for await (const { topic, data, emitter } of context.events.subscribe("room.*")) return [topic, data, emitter];`,
      );
      const client = await heard(hub, [["SUBSCRIBE", "room.a"]], ":1\r\n");
      const sender = await hub.connect();
      await until("the module hears it", async () => {
        await sender.send(command("PUBLISH", "room.a", "x\r\ny"));
        await sender.waitFor(":1\r\n");
        return (await Promise.race([module, Bun.sleep(20)])) !== undefined;
      });
      expect(await module).toEqual({ value: ["room.a", "x\r\ny", "store"] });
      await client.waitFor(frame("message", "room.a", "x\r\ny"));
    }));

  test("gets an event of a transaction once, behind its commit", () =>
    onHub(async (hub) => {
      const client = await heard(hub, [["SUBSCRIBE", "room.b"]], ":1\r\n");
      const sender = await hub.connect();
      const parts = [["MULTI"], ["SET", "k", "v"], ["PUBLISH", "room.b", "one"], ["PUBLISH", "none", "x"], ["EXEC"]];
      await sender.send(parts.map((each) => command(...each)).join("") + command("PUBLISH", "room.b", "two"));
      await sender.waitFor("not open to clients: modules.store.emit in hrmr.json lists those that are\r\n:1\r\n");
      await client.waitFor(frame("message", "room.b", "two"));
      expect(client.text).toBe(frame("message", "room.b", "one") + frame("message", "room.b", "two"));
    }));

  test("is told what it may not hear or emit, and why", () =>
    onHub(async (hub) => {
      const client = await hub.connect();
      const refused = [
        ["SUBSCRIBE", "room.a", "other"],
        ["SUBSCRIBE", "user created"],
        ["SUBSCRIBE", "user.*"],
        ["PUBLISH", "user.created", "x"],
        ["PUBLISH", "a..b", "x"],
        ["PUBLISH", "__keyspace@0__:a", "set"],
        ["PSUBSCRIBE", "__keyevent@*__:expired"],
        ["PSUBSCRIBE", "a*".repeat(300)],
        ["PSUBSCRIBE", ...Array.from({ length: 101 }, (_, at) => `user.${at}*`)],
        ["PSUBSCRIBE", "user.*", ".a*"],
        ["PSUBSCRIBE", "a>b"],
        ["SUBSCRIBE", "room.a", `__keyspace@0__:${"k".repeat(2000)}`],
        ["CONFIG", "SET", "notify-keyspace-events", ""],
        ["MULTI"],
        ["SUBSCRIBE", "room.a"],
        ["DISCARD"],
        ["CONFIG", "SET", "notify-keyspace-events", "Ex"],
        ["PUBSUB", "NUMSUB", "room.a"],
        ["QUIT"],
      ];
      await client.send(refused.map((each) => command(...each)).join(""));
      const replies = (await client.waitForEnd()).split("\r\n");
      const expected = [
        '-NOPERM "other" is not open to clients: modules.store.topics',
        '-ERR "user created" is no channel',
        '-ERR "user.*" is no channel',
        '-NOPERM "user.created" is not open to clients: modules.store.emit',
        '-ERR "a..b" is no channel',
        '-ERR "__keyspace@0__:a" is the store\'s own channel',
        '-ERR "__keyevent@*__:expired": write __keyspace@COLLECTION__:KEY',
        "-ERR a pattern has at most 512 characters, and one has 600",
        "-ERR a connection has at most 1000 channels and 100 patterns",
        '-ERR ".a*" matches no channel: write names with dots',
        '-ERR "a>b" matches no channel: write names with dots',
        "-INVALID_KEY the key has 2000 bytes",
        "-ERR CONFIG SET failed",
        "+OK",
        "-ERR Command not allowed inside a transaction",
        "+OK",
        "+OK",
        "*2",
        "$6",
        "room.a",
        ":0",
        "+OK",
      ];
      for (const [at, text] of expected.entries()) expect(replies[at]).toStartWith(text);
    }));

  test("is ioredis or node-redis, as it is", () =>
    onHub(async (hub) => {
      const got: unknown[] = [];
      const hears = new Redis(hub.port, "127.0.0.1");
      const sends = new Redis(hub.port, "127.0.0.1");
      const three = createClient({ RESP: 3, socket: { host: "127.0.0.1", port: hub.port } });
      try {
        hears.on("messageBuffer", (channel: Buffer, bytes: Buffer) => got.push([channel.toString(), bytes]));
        hears.on("pmessage", (...words: string[]) => got.push(words));
        expect(await hears.subscribe("room.io", "room.other")).toBe(2);
        expect(await hears.psubscribe("room.i*")).toBe(3);
        await three.connect();
        await three.subscribe("room.io", (message) => got.push(message));
        const bytes = Buffer.from([0, 255, 13, 10]);
        expect(await sends.publish("room.io", bytes)).toBe(3);
        expect(await sends.publish("room.io", "text")).toBe(3);
        await until("all messages", () => got.length === 6);
        expect(got).toContainEqual(["room.io", bytes]);
        expect(got).toContainEqual(["room.i*", "room.io", "text"]);
        expect(got).toContainEqual("text");
        // In RESP3 a client may go on with other commands.
        expect(await three.set("io", "1")).toBe("OK");
        expect(await sends.pubsub("CHANNELS", "room.*")).toEqual(expect.arrayContaining(["room.io", "room.other"]));
        expect(await sends.pubsub("NUMSUB", "room.io", "room.none")).toEqual([
          "room.io",
          2,
          "room.none",
          0,
        ] as unknown[]);
        expect<unknown>(await sends.pubsub("NUMPAT")).toBe(1);
        expect(await hears.punsubscribe("room.i*")).toBe(2);
        expect(await hears.unsubscribe()).toBe(0);
        expect(await hears.get("io")).toBe("1");
      } finally {
        hears.disconnect();
        sends.disconnect();
        three.destroy();
      }
    }));

  test("is redis-cli, as it is", () =>
    onHub(async (hub) => {
      const cli = (...args: string[]) => Bun.spawn(["redis-cli", "-p", String(hub.port), ...args], { stdout: "pipe" });
      const hears = cli("SUBSCRIBE", "room.cli");
      let text = "";
      const read = (async () => {
        for await (const part of hears.stdout) text += Buffer.from(part).toString();
      })();
      try {
        await until("it has subscribed", () => text === "subscribe\nroom.cli\n1\n");
        expect(await cli("PUBLISH", "room.cli", "hällo").stdout.text()).toBe("1\n");
        await until("the message", () => text.endsWith("\nmessage\nroom.cli\nhällo\n"));
      } finally {
        hears.kill();
        await read;
      }
    }));

  test("and reads too slowly loses its own messages, which STATUS counts by topic", () =>
    onHub(async (hub) => {
      const fast = await heard(hub, [["SUBSCRIBE", "user.bloat"]], ":1\r\n");
      const slow = await heard(hub, [["PSUBSCRIBE", "user.bloa?"]], ":1\r\n");
      slow.pause();
      const gone = await heard(hub, [["SUBSCRIBE", "user.bloat"]], ":1\r\n");
      gone.pause();
      const droppedOf = async (topic: string) => {
        const { subscribers } = (await hub.status()).events;
        return subscribers.find((each) => each.module === "store" && each.topic === topic)?.dropped ?? 0;
      };
      let told = 0;
      await until("messages are dropped", async () => {
        await runOnStore(
          hub,
          `for (let n = 0; n < 10; n++) context.events.emit("user.bloat", "x".repeat(200_000) + n);`,
        );
        told += 10;
        await fast.waitForBytes(told * 200_000);
        return (await droppedOf("user.>")) > 0;
      });
      gone.close();
      slow.resume();
      await slow.waitForBytes(8_000_000);
      await slow.send(command("PUNSUBSCRIBE") + command("ECHO", "here"));
      await slow.waitFor("$4\r\nhere\r\n");
      expect(hub.program.output()).not.toContain("a subscription of a client of Redis has ended");
    }));

  test("goes on over reloads of the module, and misses nothing of what is told meanwhile", () =>
    onHub(async (hub) => {
      const client = await heard(
        hub,
        [
          ["SUBSCRIBE", "user.n", "__keyevent@kept__:set"],
          ["PSUBSCRIBE", "user.*"],
        ],
        subscribed("psubscribe", "user.*", 3),
      );
      const TOLD = 100;
      const telling = runOnStore(
        hub,
        `for (let n = 1; n <= ${TOLD}; n++) {
           context.events.emit("user.n", n);
           await store.collection("kept").set("k" + n, 1);
         }
         shared.isTold = true;
         for (let n = ${TOLD + 1}; !shared.mayEnd; n++) {
           context.events.emit("user.n", n);
           await store.collection("kept").set("k" + n, 1);
           if (n % 10 === 0) await Bun.sleep(1);
           shared.last = n;
         }
         return shared.last;`,
      );
      for (let round = 0; round < 2; round++) {
        hub.write("hrmr.json", settingsOf({ heartbeatMs: 1000 + round }));
        expect(await hub.ask("RELOAD\n")).toContain("store");
      }
      await until("much is told", async () => (await runOnStore(hub, "return shared.isTold")).value === true);
      await runOnStore(hub, "shared.mayEnd = true");
      const last = (await telling).value as number;
      await client.waitFor(frame("message", "user.n", String(last)));
      await client.waitFor(frame("pmessage", "user.*", "user.n", String(last)));
      await client.waitFor(frame("message", "__keyevent@kept__:set", `k${last}`));
      const all = Array.from({ length: last }, (_, at) => at + 1);
      const told = (pattern: RegExp): number[] => [...client.text.matchAll(pattern)].map(([, n]) => Number(n));
      expect(told(/^message\r\n\$6\r\nuser\.n\r\n\$\d+\r\n(\d+)/gm)).toEqual(all);
      expect(told(/^pmessage\r\n\$6\r\nuser\.\*\r\n\$6\r\nuser\.n\r\n\$\d+\r\n(\d+)/gm)).toEqual(all);
      expect(told(/^message\r\n\$21\r\n__keyevent@kept__:set\r\n\$\d+\r\nk(\d+)/gm)).toEqual(all);
      await client.send(command("UNSUBSCRIBE") + command("PUNSUBSCRIBE") + command("ECHO", "free"));
      await client.waitFor("$4\r\nfree\r\n");
    }));
});

describe("keyspace notifications", () => {
  test("tell of documents that modules and clients set, delete or let expire", () =>
    onHub(async (hub) => {
      const client = await heard(
        hub,
        [
          ["SUBSCRIBE", "__keyspace@7__:a"],
          ["PSUBSCRIBE", "__keyevent@7__:*"],
        ],
        subscribed("psubscribe", "__keyevent@7__:*", 2),
      );
      await runOnStore(hub, `await store.collection("7").set("a", { n: 1 }); await store.collection("8").set("a", 1)`);
      const sender = await hub.connect();
      await sender.send(command("SELECT", "7") + command("DEL", "a") + command("SET", "b", "x", "PX", "30"));
      await client.waitFor(frame("pmessage", "__keyevent@7__:*", "__keyevent@7__:expired", "b"));
      const events = [...client.text.matchAll(/__keyevent@7__:(\w+)\r\n\$1\r\n(\w)/g)].map(([, ...words]) => words);
      expect(events).toEqual([
        ["set", "a"],
        ["del", "a"],
        ["set", "b"],
        ["expired", "b"],
      ]);
      const keys = [...client.text.matchAll(/__keyspace@7__:(\w+)\r\n\$3\r\n(\w+)/g)].map(([, ...words]) => words);
      expect(keys).toEqual([
        ["a", "set"],
        ["a", "del"],
      ]);
    }));
});

describe.skipIf(NO_REDIS !== null)("replies", () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis.stop());

  test.each([2, 3])("to commands on subscriptions are those of redis-server, in RESP%d", (version) =>
    onHub(async (hub) => {
      const lines = [
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE none",
        "SUBSCRIBE room.a room.b room.a",
        "PSUBSCRIBE room.[ab] user.*",
        "PING",
        "PING hi",
        "GET a",
        "SUBSCRIBE",
        "UNSUBSCRIBE room.b room.c",
        "PUNSUBSCRIBE",
        "UNSUBSCRIBE",
        "SET subscribed 1",
        "SUBSCRIBE room.a __keyspace@0__:a",
        ...(version === 3 ? ["PUBLISH room.b hello"] : []),
        "RESET",
        "ECHO free",
        "PUBLISH room.b hello",
        "PUBSUB NUMSUB room.b",
        "PUBSUB NUMPAT",
        "PUBSUB NOPE",
        "QUIT",
      ];
      const tell = async (address: number | string): Promise<string> => {
        const client = await hub.connect(address);
        await client.send(command("HELLO", String(version)));
        await client.waitFor("modules\r\n*0\r\n");
        client.clear();
        await client.send(lines.map((line) => command(...line.split(" "))).join(""));
        return await client.waitForEnd();
      };
      expect(await tell(hub.port)).toBe(await tell(redis.socket));
    }),
  );
});

test("a client hears what its token allows, until it is revoked", async () => {
  const files = { "hrmr.json": settingsOf({}, { access: { required: true } }) };
  await withHub(files, [], async (hub) => {
    const token = await addToken(hub, "eye", "events:room.*", "store:seen:read");
    const sender = await addToken(hub, "mouth", "events:room.a", "store:*");
    const client = await hub.connect();
    const lines = [
      ["AUTH", token],
      ["SUBSCRIBE", "user.created"],
      ["PSUBSCRIBE", "*"],
      ["PSUBSCRIBE", "roo*"],
      ["SUBSCRIBE", "__keyspace@0__:a"],
      ["SUBSCRIBE", "room.a", "__keyspace@seen__:a"],
      ["PSUBSCRIBE", "room.*"],
    ];
    await client.send(lines.map((each) => command(...each)).join(""));
    await client.waitFor(subscribed("psubscribe", "room.*", 3));
    const noScope = (action: string): string => `-NOPERM the token "eye" has no scope for "${action}"`;
    for (const action of ["events:user.created", "events:*", "events:roo*", "store:0:read"])
      expect(client.text).toContain(noScope(action));
    const other = await hub.connect();
    await other.send(command("SUBSCRIBE", "room.a"));
    await other.waitFor("-NOAUTH");
    const talker = await hub.connect();
    await talker.send(command("AUTH", sender) + command("PUBLISH", "room.b", "x") + command("PUBLISH", "room.a", "y"));
    await talker.waitFor(":2\r\n");
    expect(talker.text).toContain('-NOPERM the token "mouth" has no scope for "events:room.b"');
    await client.waitFor(frame("message", "room.a", "y"));
    const keyspace = await hub.connect();
    await keyspace.send(command("AUTH", token) + command("SUBSCRIBE", "__keyspace@seen__:a"));
    await keyspace.waitFor(":1\r\n");
    const topic = await hub.connect();
    await topic.send(command("AUTH", token) + command("SUBSCRIBE", "room.a"));
    await topic.waitFor(":1\r\n");
    revokeToken(hub, "eye");
    for (const each of [client, keyspace, topic]) await each.waitForEnd();
    expect(hub.program.output()).not.toContain("has ended");
  });
});

test("clients of all processes hear each other", () =>
  withHub({ "modules/any.ts": storeModule(""), "hrmr.json": settingsOf() }, ["--processes", "2"], async (hub) => {
    await untilProcessesAnswer(hub, 2);
    const subscribe = [["SUBSCRIBE", "room.all", "__keyevent@0__:set"]];
    const clients = await Promise.all(
      Array.from({ length: 4 }, () => heard(hub, subscribe, subscribed("subscribe", "__keyevent@0__:set", 2))),
    );
    for (let n = 1; n <= 10; n++) {
      // Any process may get it.
      const sender = await hub.connect();
      await sender.send(command("PUBLISH", "room.all", `m${n}`) + command("SET", `k${n}`, "1") + command("QUIT"));
      await sender.waitForEnd();
    }
    for (const client of clients)
      for (let n = 1; n <= 10; n++) {
        await client.waitFor(frame("message", "room.all", `m${n}`));
        await client.waitFor(frame("message", "__keyevent@0__:set", `k${n}`));
      }
  }));

test("the next version of the module subscribes behind what the previous one has told", async () => {
  const asked: unknown[] = [];
  const silent = { position: "p8", ready: Promise.resolve(41), next: () => new Promise(() => {}) };
  const opened = { ...silent, [Symbol.asyncIterator]: () => silent };
  const ask = (name: string, options: unknown): typeof opened => {
    asked.push([name, options]);
    return opened;
  };
  const guards = new WatchGuards();
  const hearing = new Set<Subscriptions>();
  const heard = {
    channel: new Map<string, string | number>([
      ["room.a", "p7"],
      ["__keyspace@0__:k", 41],
    ]),
    pattern: new Map([["room.*", "p6"]]),
  };
  const subscriptions = new Subscriptions({
    connection: { replaced: false },
    face: {
      context: {
        events: { subscribe: ask },
        store: { collection: (name: string) => ({ watch: (options: unknown) => ask(name, options) }) },
      },
      settings: { topics: ["room.*"], emit: [] },
      guards,
      hearing,
    },
    data: { version: 2, heard },
    refusal: () => null,
  } as unknown as Listener);
  await subscriptions.goOn();
  guards.close();
  expect(asked).toEqual([
    ["room.a", { after: "p7" }],
    ["0", { key: "k", after: 41 }],
    ["room.>", { after: "p6" }],
  ]);
  expect([subscriptions.channels, subscriptions.size, hearing.size]).toEqual([2, 3, 1]);
});

test("a pattern asks for the narrowest topics that hold all its matches, and for the right to these", () => {
  const of = (pattern: string) => wishOf("pattern", pattern);
  expect(of("user.*")).toMatchObject({ topics: "user.>", action: "events:user.*" });
  expect(of("user.cr*")).toMatchObject({ topics: "user.>", action: "events:user.cr*" });
  expect(of("user")).toMatchObject({ topics: "user", action: "events:user" });
  expect(of("us?r.x")).toMatchObject({ topics: ">", action: "events:us*" });
  expect(of("*")).toMatchObject({ topics: ">", action: "events:*" });
  expect(of("__keyspace@0__:a.*")).toMatchObject({ collection: "0", key: null, prefix: "a.", action: "store:0:read" });
  expect(of("__key*@b__:*")).toMatchObject({ collection: "b", key: null, prefix: "", action: "store:b:read" });
});
