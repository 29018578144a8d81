import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { shareHub, withHub } from "../support/hub";
import { runOnStore, STORE_MODULE } from "../support/store-module";

const FILES = { "modules/probe.ts": STORE_MODULE };
const withServer = shareHub(FILES);

/** @returns the value; an error of the code fails the test */
async function valueOf(hub: Parameters<typeof runOnStore>[0], code: string): Promise<unknown> {
  const outcome = await runOnStore(hub, code);
  expect(outcome.message).toBe(undefined);
  return outcome.value;
}

test("a project that uses no store has no file of it, and the first use makes one for this user alone", () =>
  withHub(FILES, [], async (hub) => {
    expect(existsSync(join(hub.dir, "data"))).toBe(false);
    expect(await valueOf(hub, `return await store.collection("scores").get("ann");`)).toBe(null);
    expect(readdirSync(join(hub.dir, "data"))).toContain("hub.sqlite");
    expect(statSync(join(hub.dir, "data/hub.sqlite")).mode & 0o777).toBe(0o600);
  }));

test("what was written is there after a restart", async () => {
  await withHub(FILES, [], async (hub) => {
    const code = `return [await store.collection("a").set("k", { n: 1 }), await store.collection("b").set("k", [])];`;
    expect(await valueOf(hub, code)).toEqual([1, 2]);
    const data = join(hub.dir, "data");
    await withHub(FILES, ["--data", data], async (second) => {
      // The first one still has it open: two handles on one file.
      expect(await valueOf(second, `return await store.collection("a").get("k");`)).toEqual({
        value: { n: 1 },
        version: 1,
        expiresAt: null,
      });
      expect(await valueOf(second, `return await store.collection("a").set("k", 2);`)).toBe(3);
    });
    expect(await valueOf(hub, `return (await store.collection("a").get("k")).value;`)).toBe(2);
  });
});

describe("a collection", () => {
  test("sets, gets, patches, adds and deletes", () =>
    withServer(async (hub) => {
      const code = `
        const c = store.collection("first");
        const set = await c.set("x", { a: 1, b: { c: 2 } });
        const same = (await c.get("x")).version === set;
        const patched = await c.patch("x", { b: { c: null, d: 3 }, a: null });
        const made = await c.patch("new", { only: true });
        const n = [await c.increment("n"), await c.increment("n", 4), await c.increment("x", 2, { field: "b.d" })];
        const many = (await c.getMany(["x", "gone", "n"])).map((d) => d && d.value);
        const deleted = [await c.delete("x"), await c.delete("x")];
        return [same, patched.value, made.value, n, many, deleted, await c.get("x")];`;
      expect(await valueOf(hub, code)).toEqual([
        true,
        { b: { d: 3 } },
        { only: true },
        [1, 5, 5],
        [{ b: { d: 5 } }, null, 5],
        [true, false],
        null,
      ]);
    }));

  test("writes only on the version that was expected", () =>
    withServer(async (hub) => {
      const code = `
        const c = store.collection("versions");
        const told = [];
        const tell = (work) => work.then((v) => told.push(v > 0), (e) => told.push(e.code));
        await tell(c.set("k", 1, { ifVersion: 0 }));
        await tell(c.set("k", 2, { ifVersion: 0 }));
        const { version } = await c.get("k");
        await tell(c.set("k", 3, { ifVersion: version }));
        await tell(c.delete("k", { ifVersion: version }));
        await tell(c.batch([{ set: "other", value: 1 }, { set: "k", value: 4, ifVersion: version }]));
        return [...told, await c.get("other"), (await c.get("k")).value];`;
      expect(await valueOf(hub, code)).toEqual([true, "CONFLICT", true, "CONFLICT", "CONFLICT", null, 3]);
    }));

  test("lists by keys in the order of their UTF-8 bytes, a page at a time", () =>
    withServer(async (hub) => {
      const code = `
        const c = store.collection("list");
        const keys = ["", "a", "a/1", "a/2", "a0", "\\u{1F600}", "\\uFFFD", "b\\0c", "b"];
        await c.batch(keys.map((key) => ({ set: key, value: key })));
        const names = (entries) => entries.map(({ key, value }) => { if (key !== value) throw Error(key); return key; });
        const all = names(await c.list());
        const pages = [];
        for (let after; ; after = pages.at(-1).at(-1)) {
          const page = names(await c.list({ limit: 4, ...(after === undefined ? {} : { after }) }));
          pages.push(page);
          if (page.length < 4) break;
        }
        return {
          all,
          pages: pages.flat(),
          reverse: names(await c.list({ reverse: true })).toReversed(),
          prefix: names(await c.list({ prefix: "a/" })),
          behind: names(await c.list({ prefix: "a", after: "a/1" })),
          before: names(await c.list({ prefix: "a", after: "a/2", reverse: true })),
        };`;
      const order = ["", "a", "a/1", "a/2", "a0", "b", "b\0c", "\uFFFD", "\u{1F600}"];
      expect(await valueOf(hub, code)).toEqual({
        all: order,
        pages: order,
        reverse: order,
        prefix: ["a/1", "a/2"],
        behind: ["a/2", "a0"],
        before: ["a/1", "a"],
      });
    }));

  test.each([
    [`store.collection("a b")`, "INVALID_NAME"],
    [`store.collection("a".repeat(65))`, "INVALID_NAME"],
    [`await store.collection("x").get("é".repeat(513))`, "INVALID_KEY"],
    [`await store.collection("x").set("\\uD800", 1)`, "INVALID_KEY"],
    [`await store.collection("x").set(7, 1)`, "INVALID_KEY"],
    [`await store.collection("x").set("k", undefined)`, "INVALID_VALUE"],
    [`await store.collection("x").set("k", 10n)`, "INVALID_VALUE"],
    [`await store.collection("x").set("k", "x".repeat(1048576))`, "TOO_LARGE"],
    [`await store.collection("x").set("k", JSON.parse("[".repeat(201) + "]".repeat(201)))`, "TOO_LARGE"],
    [`await store.collection("x").set("k", 1, { ttlMs: 0 })`, "INVALID_VALUE"],
    [`await store.collection("x").set("k", 1, { ifVersion: -1 })`, "INVALID_VALUE"],
    [`await store.collection("x").list({ limit: 1001 })`, "INVALID_VALUE"],
    [`await store.collection("x").batch([{}])`, "INVALID_VALUE"],
    [`await store.collection("x").set("s", "s"); await store.collection("x").increment("s")`, "NOT_A_NUMBER"],
    [`await store.transaction(1)`, "INVALID_VALUE"],
    [`await store.transaction(() => {}, { timeoutMs: 0 })`, "INVALID_VALUE"],
  ])("%s fails with %s, and the next one is served", (code, expected) =>
    withServer(async (hub) => {
      expect((await runOnStore(hub, code)).code).toBe(expected);
      expect(await valueOf(hub, `return await store.collection("x").get("k")`)).toBe(null);
    }),
  );
});
