/** Values as JSON texts, and writes with checks: over any port. */
import { describe, expect, test } from "bun:test";
import { storeFor } from "../../../src/module/store/store";
import { MemoryStore } from "../../support/memory-store";

const made = () => {
  const memory = new MemoryStore();
  return { memory, store: storeFor({ id: 1, module: "m" }, memory) };
};

describe("a collection of texts", () => {
  test("hands out what the store has, without a look into it", async () => {
    const { memory, store } = made();
    memory.documents.set("c/a", { text: "{ not JSON", version: 7, expiresAt: null });
    const texts = store.collection("c", { text: true });
    expect(await texts.get("a")).toEqual({ value: "{ not JSON", version: 7, expiresAt: null });
    expect(await texts.getMany(["b", "a"])).toEqual([null, { value: "{ not JSON", version: 7, expiresAt: null }]);
    expect(await texts.list()).toEqual([{ key: "a", value: "{ not JSON", version: 7, expiresAt: null }]);
    await expect(store.collection("c").get("a")).rejects.toThrow();
  });

  test("writes texts as the store would write their values, on one line", async () => {
    const { store } = made();
    const texts = store.collection("c", { text: true });
    await texts.set("a", '{\n "b": 1.0, "b": [ ], "__proto__": 2 }');
    expect((await texts.get("a"))?.value).toBe('{"b":[],"__proto__":2}');
    expect((await texts.patch("a", ' { "c" : "é" }')).value).toBe('{"b":[],"__proto__":2,"c":"é"}');
    await texts.batch([{ set: "d", value: " 7 " }]);
    expect(await store.collection("c").increment("d")).toBe(8);
  });

  test.each(["", "{", "undefined", "1 2", "NaN", "1e999", `[${"9".repeat(400)}]`])("refuses %j", async (text) => {
    const { store } = made();
    const texts = store.collection("c", { text: true });
    for (const write of [texts.set("a", text), texts.patch("a", text), texts.batch([{ set: "a", value: text }])])
      await expect(write).rejects.toMatchObject({ code: "INVALID_VALUE" });
    await expect(texts.set("a", 7 as unknown as string)).rejects.toMatchObject({ code: "INVALID_VALUE" });
    expect(await texts.get("a")).toBeNull();
  });

  test("refuses millions of brackets before it parses them", async () => {
    const texts = made().store.collection("c", { text: true });
    const deep = "[".repeat(5_000_000);
    await expect(texts.set("a", deep)).rejects.toMatchObject({ code: "TOO_LARGE" });
  });

  test("watches texts", async () => {
    const { store } = made();
    const watch = store.collection("c", { text: true }).watch();
    await watch.ready;
    await store.collection("c").set("a", { n: 1 });
    expect((await watch.next()).value).toMatchObject({ key: "a", value: '{"n":1}' });
    await watch.return?.();
  });
});

describe("store.batch", () => {
  test("writes to several collections as one commit, and returns what each has made", async () => {
    const { memory, store } = made();
    const written = await store.batch([
      { collection: "a", set: "x", value: { n: 1 } },
      { collection: "b", increment: "x", by: 2 },
      { collection: "a", patch: "x", value: { m: 2 } },
      { collection: "a", delete: "none" },
    ]);
    expect(written).toEqual([
      { version: 1 },
      { version: 2, value: 2 },
      { version: 3, value: { n: 1, m: 2 } },
      { version: 0 },
    ]);
    expect(memory.commits).toHaveLength(1);
  });

  test("writes nothing if a check does not hold", async () => {
    const { store } = made();
    const version = await store.collection("a").set("x", 1);
    const write = { collection: "b", set: "y", value: 1 };
    const checked = (key: string, at: number) =>
      store.batch([write], { checks: [{ collection: "a", key, version: at }] });
    await expect(checked("x", version + 1)).rejects.toMatchObject({ code: "CONFLICT" });
    await expect(checked("x", 0)).rejects.toMatchObject({ code: "CONFLICT" });
    await expect(checked("none", version)).rejects.toMatchObject({ code: "CONFLICT" });
    expect(await store.collection("b").get("y")).toBeNull();
    await checked("x", version);
    await checked("none", 0);
    expect((await store.collection("b").get("y"))?.value).toBe(1);
  });

  test.each([
    ["no list", {}, [], "INVALID_VALUE"],
    ["no object", [7], [], "INVALID_VALUE"],
    ["no collection", [{ set: "a", value: 1 }], [], "INVALID_NAME"],
    ["no write", [{ collection: "a" }], [], "INVALID_VALUE"],
    ["a check without a version", [], [{ collection: "a", key: "b" }], "INVALID_VALUE"],
    ["a check without a key", [], [{ collection: "a", version: 1 }], "INVALID_KEY"],
  ])("refuses %s", async (_, writes, checks, code) => {
    const { store } = made();
    await expect(store.batch(writes as never, { checks: checks as never })).rejects.toMatchObject({ code });
  });
});
