import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { callProgram } from "../support/call-program";
import { type Hub, shareHub, withHub } from "../support/hub";
import { runOnStore, STORE_MODULE } from "../support/store-module";

const FILES = { "modules/probe.ts": STORE_MODULE };
const withServer = shareHub(FILES);

async function hrmr(
  hub: Pick<Hub, "dir">,
  ...words: string[]
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const { exitCode, stdout, stderr } = await callProgram(words, { cwd: hub.dir });
  return { exitCode: exitCode ?? -1, stdout, stderr };
}

async function valueOf(hub: Hub, code: string): Promise<unknown> {
  return (await runOnStore(hub, code)).value;
}

describe("hrmr store", () => {
  test("reads and writes beside the running server", () =>
    withServer(async (hub) => {
      await valueOf(hub, `return await store.collection("scores").set("ann", { points: 3 })`);
      expect((await hrmr(hub, "store", "get", "scores", "ann")).stdout).toBe('{"points":3}\n');
      expect((await hrmr(hub, "store", "set", "scores", "bob", '{"points":5}')).exitCode).toBe(0);
      expect(await valueOf(hub, `return (await store.collection("scores").get("bob")).value`)).toEqual({ points: 5 });
      expect((await hrmr(hub, "store", "ls", "scores")).stdout).toBe('ann\t{"points":3}\nbob\t{"points":5}\n');
      expect((await hrmr(hub, "store")).stdout).toMatch(/COLLECTION +DOCUMENTS\nscores +2/);
      await hrmr(hub, "store", "del", "scores", "bob");
      expect(await valueOf(hub, `return await store.collection("scores").get("bob")`)).toBe(null);
      expect((await hrmr(hub, "store", "check")).stdout).toBe("The store is in order.\n");
    }));

  test("watches changes, of all collections or of some documents", () =>
    withServer(async (hub) => {
      const first = (await valueOf(hub, `return await store.collection("w1").set("a\\n", { n: 1 })`)) as number;
      const watching = hrmr(hub, "store", "watch", "--limit", "4", "--after", String(first - 1));
      const one = hrmr(hub, "store", "watch", "w2", "--prefix", "b", "--limit", "2", "--after", String(first));
      await valueOf(hub, `await store.collection("w2").set("b1", [1]); await store.collection("w2").set("c", 2)`);
      await valueOf(hub, `await store.collection("w2").delete("b1")`);
      const lines = (await watching).stdout
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown);
      const change = (at: number, collection: string, kind: string, key: string, value: unknown) => ({
        collection,
        kind,
        key,
        value,
        version: first + at,
      });
      const all = [
        change(0, "w1", "set", "a\n", { n: 1 }),
        change(1, "w2", "set", "b1", [1]),
        change(2, "w2", "set", "c", 2),
        change(3, "w2", "delete", "b1", null),
      ];
      expect(lines).toEqual(all);
      expect(
        (await one).stdout
          .trimEnd()
          .split("\n")
          .map((line) => JSON.parse(line) as unknown),
      ).toEqual([all[1], all[3]]);
    }));

  test.each([
    [["store", "watch", "a b"], 1, "is not a name of a collection"],
    [["store", "watch", "a", "b", "c"], 2, "cannot read"],
    [["store", "watch", "--after", "-1"], 2, "--after"],
    [["store", "look"], 2, "hrmr store does ls, get"],
    [["store", "get", "scores"], 2, "takes COLLECTION KEY"],
    [["store", "get", "scores", "nobody"], 1, 'There is no document "nobody" in scores'],
    [["store", "set", "scores", "k", "{"], 2, "is not JSON"],
    [["store", "set", "a b", "k", "1"], 1, "is not a name of a collection"],
    [["store", "ls", "--url", "ftp://x"], 2, "is not the URL of a store"],
    [["store", "copy"], 2, "takes URL"],
    [["restore", "missing.sqlite"], 2, "There is no file missing.sqlite"],
  ])("%j ends with %d and says what is wrong", (words, exitCode, text) =>
    withServer(async (hub) => {
      const told = await hrmr(hub, ...words);
      expect([told.exitCode, told.stderr]).toEqual([exitCode, expect.stringContaining(text)]);
    }),
  );

  test("export and import carry every document, and times to live", () =>
    withServer(async (hub) => {
      await valueOf(
        hub,
        `await store.collection("out").batch([{ set: "a\\u0000é", value: [1, { x: null }] }, { set: "t", value: "t", ttlMs: 1e9 }])`,
      );
      expect((await hrmr(hub, "store", "export", "all.jsonl")).exitCode).toBe(0);
      const lines = readFileSync(join(hub.dir, "all.jsonl"), "utf8").trim().split("\n");
      expect(statSync(join(hub.dir, "all.jsonl")).mode & 0o777).toBe(0o600);
      const url = "sqlite://data/second.sqlite";
      expect((await hrmr(hub, "store", "import", "all.jsonl", "--url", url)).stdout).toContain("documents imported");
      expect((await hrmr(hub, "store", "export", "--url", url)).stdout.trim().split("\n")).toEqual(lines);
      writeFileSync(join(hub.dir, "bad.jsonl"), `${lines[0]}\n{"key":1}\n`);
      expect((await hrmr(hub, "store", "import", "bad.jsonl", "--url", url)).stderr).toContain("Line 2 of bad.jsonl");
    }));

  test("copy moves a store to another kind of database, and compares both", () =>
    withServer(async (hub) => {
      await valueOf(
        hub,
        `for (let i = 0; i < 3; i++) await store.collection("many").batch(Array.from({ length: 500 }, (_, n) => ({ set: i + "/" + n, value: { i, n } })))`,
      );
      const told = await hrmr(hub, "store", "copy", "json://moved/hub.json");
      expect([told.exitCode, told.stdout]).toEqual([0, expect.stringContaining("and compared")]);
      const read = await hrmr(hub, "store", "get", "many", "2/499", "--url", "json://moved/hub.json");
      expect(read.stdout).toBe('{"i":2,"n":499}\n');
      expect((await hrmr(hub, "store", "copy", "json://moved/hub.json")).stderr).toContain("already");
    }));
});

describe("hrmr backup and restore", () => {
  test.each(["sqlite", "json"])("%s: bring back what was there, and refuse beside a server", (kind) => {
    const settings = JSON.stringify({ store: { url: `${kind}://data/hub.db` } });
    return withHub({ ...FILES, "hrmr.json": settings }, [], async (hub) => {
      await valueOf(hub, `return await store.collection("a").set("k", "before")`);
      const told = await hrmr(hub, "backup", "copy.db");
      expect([told.exitCode, told.stdout]).toEqual([0, expect.stringContaining("1 documents in copy.db")]);
      expect(statSync(join(hub.dir, "copy.db")).mode & 0o777).toBe(0o600);
      await valueOf(hub, `return await store.collection("a").set("k", "after")`);
      const refused = await hrmr(hub, "restore", "copy.db");
      expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining("A server runs here")]);
      await hrmr(hub, "stop");
      const restored = await hrmr(hub, "restore", "copy.db");
      expect([restored.exitCode, restored.stdout]).toEqual([0, expect.stringContaining("The store before is kept in")]);
      expect((await hrmr(hub, "store", "get", "a", "k")).stdout).toBe('"before"\n');
    });
  });

  test("a damaged file is refused, and the store stays", () =>
    withHub(FILES, [], async (hub) => {
      await valueOf(hub, `return await store.collection("a").set("k", "x".repeat(100000))`);
      await hrmr(hub, "backup", "copy.db");
      truncateSync(join(hub.dir, "copy.db"), 20_000);
      writeFileSync(
        join(hub.dir, "text.db"),
        "not a database, but long enough to be read as the head of one".repeat(20),
      );
      await hrmr(hub, "stop");
      for (const file of ["copy.db", "text.db"]) expect((await hrmr(hub, "restore", file)).exitCode).toBe(1);
      expect((await hrmr(hub, "store", "get", "a", "k")).stdout).toContain("xxx");
      expect(existsSync(join(hub.dir, "data/hub.sqlite"))).toBe(true);
    }));
});
