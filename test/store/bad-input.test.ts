/** What no client and no module may write. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { callProgram } from "../support/call-program";
import { shareHub } from "../support/hub";
import { runOnStore, STORE_MODULE } from "../support/store-module";

const LIMIT = 100_000;
const onHub = shareHub({
  "modules/probe.ts": STORE_MODULE,
  "hrmr.json": JSON.stringify({ modules: { store: {} }, store: { maxValueBytes: LIMIT } }),
});

const NESTED = `let deep = 1; for (let at = 0; at < 10000; at++) deep = [deep];`;

const CODE_CASES: readonly (readonly [code: string, error: string, says: RegExp])[] = [
  [`c.set("k", "x".repeat(${LIMIT}))`, "TOO_LARGE", /has 100002 bytes; at most 100000/],
  [`c.set("k", "ä".repeat(${LIMIT / 2}))`, "TOO_LARGE", /has 100002 bytes/],
  [`c.set("k", deep)`, "TOO_LARGE", /nested more than 200 deep/],
  [`c.patch("k", { deep })`, "TOO_LARGE", /nested more than 200 deep/],
  [`c.batch([{ set: "k", value: deep }])`, "TOO_LARGE", /nested more than 200 deep/],
  [`store.transaction((tx) => tx.collection("a").set("k", deep))`, "TOO_LARGE", /nested more than 200 deep/],
  [`c.set("k".repeat(1025), 1)`, "INVALID_KEY", /1025 bytes; at most 1024/],
  [`c.set("ä".repeat(513), 1)`, "INVALID_KEY", /1026 bytes; at most 1024/],
  [`c.set("\\uD800", 1)`, "INVALID_KEY", /surrogate/],
  [`c.get("\\uDC00")`, "INVALID_KEY", /surrogate/],
  [`c.list({ prefix: "\\uD800" })`, "INVALID_KEY", /surrogate/],
  [`c.get(null)`, "INVALID_KEY", /not a string/],
  [`c.set("k", undefined)`, "INVALID_VALUE", /not JSON/],
  [`c.set("k", 1n)`, "INVALID_VALUE", /not JSON/],
  [`c.set("k", (() => { const self = {}; self.self = self; return self; })())`, "INVALID_VALUE", /not JSON/],
  [`c.set("k", 1, { ttlMs: -1 })`, "INVALID_VALUE", /above 0/],
  [`c.set("k", 1, { ttlMs: NaN })`, "INVALID_VALUE", /above 0/],
  [`c.set("k", 1, { expiresAt: -1 })`, "INVALID_VALUE", /must be a moment/],
  [`c.set("k", 1, { expiresAt: 4e12, ttlMs: 5 })`, "INVALID_VALUE", /both there/],
  [`c.set("k", 1, { ifVersion: 1.5 })`, "INVALID_VALUE", /must be a version/],
  [`c.list({ limit: 1001 })`, "INVALID_VALUE", /1 to 1000/],
  [`c.getMany(Array.from({ length: 1001 }, (_, at) => "k" + at))`, "INVALID_KEY", /at most 1000/],
  [`c.batch(Array.from({ length: 1001 }, (_, at) => ({ delete: "k" + at })))`, "INVALID_VALUE", /at most 1000/],
  [`c.increment("k", Infinity)`, "NOT_A_NUMBER", /not a number/],
  [`store.collection("a/b").get("k")`, "INVALID_NAME", /name of a collection/],
  [`store.collection("x".repeat(65)).get("k")`, "INVALID_NAME", /name of a collection/],
  [`c.watch({ after: -1 }).next()`, "INVALID_VALUE", /must be a version/],
  [`c.watch({ after: 1e12 }).next()`, "GONE", /restored, or is another one/],
  [`store.sql\`BEGIN\``, "UNSUPPORTED", /store\.transaction/],
  [`store.sql\`SAVEPOINT mine\``, "UNSUPPORTED", /store\.transaction/],
];

test("from a module is refused with a code, and nothing is written", () =>
  onHub(async (hub) => {
    for (const [code, error, says] of CODE_CASES) {
      const outcome = await runOnStore(hub, `${NESTED} const c = store.collection("a"); return await ${code}`);
      expect([code, outcome]).toEqual([code, { code: error, message: expect.stringMatching(says) }]);
    }
    expect(await runOnStore(hub, `return (await store.collection("a").list({})).length`)).toEqual({ value: 0 });
  }));

test("is told apart from what only looks odd: any key of UTF-8, and any JSON", () =>
  onHub(async (hub) => {
    const keys = ["", "\0", "\n", "a/b", "..", "😀", "\u{10FFFF}", "__proto__", "constructor", "x".repeat(1024)];
    const code = `
      const c = store.collection("__proto__");
      const keys = ${JSON.stringify(keys)};
      for (const [at, key] of keys.entries()) await c.set(key, { at, ["__proto__"]: 1, "\\uDFFF": "\\uD800" });
      const found = await c.getMany(keys);
      return [found.map(({ value }) => value.at), found.every(({ value }) => value["\\uDFFF"] === "\\uD800"),
        (await c.list({})).length, ({}).at === undefined];`;
    expect(await runOnStore(hub, code)).toEqual({ value: [keys.map((_, at) => at), true, keys.length, true] });
  }));

test("a statement of sql is seen by reads, and the store is written after one that was refused", () =>
  onHub(async (hub) => {
    const code = `
      const c = store.collection("sql");
      await c.set("k", 1);
      await store.sql\`UPDATE documents SET text = \${"5"} WHERE key = \${"k"}\`;
      await store.sql\`BEGIN IMMEDIATE\`.catch(() => {});
      await c.set("other", 2);
      return [(await c.get("k")).value, (await c.get("other")).value];`;
    expect(await runOnStore(hub, code)).toEqual({ value: [5, 2] });
  }));

type Bytes = string | Buffer;
const BROKEN = Buffer.from([0x61, 0xff]);
const LONE_SURROGATE = Buffer.from([0xed, 0xa0, 0x80]);

function command(...args: Bytes[]): Buffer {
  const parts = args.flatMap((each) => {
    const bytes = Buffer.from(each as string);
    return [Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n")];
  });
  return Buffer.concat([Buffer.from(`*${args.length}\r\n`), ...parts]);
}

const RESP_CASES: readonly (readonly [args: readonly Bytes[], reply: RegExp])[] = [
  [["SET", "k", "x".repeat(LIMIT)], /^-TOO_LARGE .*at most 100000/],
  [["SETRANGE", "k", "536870000", "x"], /^-ERR string exceeds maximum/],
  [["SETRANGE", "k", "200000", "x"], /^-TOO_LARGE/],
  [["SET", "k".repeat(1025), "1"], /^-INVALID_KEY .*at most 1024/],
  [["SET", BROKEN, "1"], /^-INVALID_KEY .*not UTF-8/],
  [["GET", LONE_SURROGATE], /^-INVALID_KEY .*not UTF-8/],
  [["HSET", "h", BROKEN, "1"], /^-INVALID_KEY .*not UTF-8/],
  [["ZADD", "z", "1", BROKEN], /^-INVALID_KEY .*not UTF-8/],
  [["SELECT", "a/b"], /^-ERR invalid DB index/],
  [["EXPIRE", "k", "99999999999999999999"], /^-ERR value is not an integer/],
  [["SETEX", "k", "-1", "v"], /^-ERR invalid expire time/],
];

test("from a client of Redis gets an error, and the connection goes on", () =>
  onHub(async (hub) => {
    const client = await hub.connect();
    for (const [args, reply] of RESP_CASES) {
      client.clear();
      await client.send(command(...args));
      await client.waitFor("\r\n");
      expect([String(args[0]), client.text]).toEqual([String(args[0]), expect.stringMatching(reply)]);
    }
    client.clear();
    await client.send(Buffer.concat([command("SET", "bytes", BROKEN), command("GET", "bytes"), command("DBSIZE")]));
    await client.waitFor(":1\r\n");
    expect(client.bytes.equals(Buffer.concat([Buffer.from("+OK\r\n$2\r\n"), BROKEN, Buffer.from("\r\n:1\r\n")]))).toBe(
      true,
    );
    expect(await hub.ask(command("GET", "none"))).toBe("$-1\r\n");
  }));

test("from the shell is refused with what is wrong", () =>
  onHub(async (hub) => {
    const deep = "[".repeat(10_000) + "]".repeat(10_000);
    const cases: [args: string[], says: RegExp][] = [
      [["set", "cli", "k", "{bad"], /JSON/],
      [["set", "cli", "k", JSON.stringify("x".repeat(LIMIT))], /at most 100000/],
      [["set", "cli", "k", deep], /nested more than 200 deep/],
      [["set", "c/li", "k", "1"], /name of a collection/],
      [["get", "cli", "x".repeat(1025)], /at most 1024/],
    ];
    for (const [args, says] of cases) {
      const { exitCode, stderr } = await callProgram(["store", ...args], { cwd: hub.dir });
      expect([args[0], exitCode, stderr]).toEqual([args[0], expect.any(Number), expect.stringMatching(says)]);
      expect(exitCode).not.toBe(0);
    }
    await Bun.write(join(hub.dir, "lines.jsonl"), '{"collection":"cli","key":"k","value":1}\n{"collection":"cli"}\n');
    const { exitCode } = await callProgram(["store", "import", "lines.jsonl"], { cwd: hub.dir });
    expect(exitCode).not.toBe(0);
    expect(await runOnStore(hub, `return await store.collection("cli").get("k")`)).toEqual({ value: null });
  }));
