/** Indexes that modules declare: `find` on them, in every host, before and after a reload. */
import { describe, expect, test } from "bun:test";
import { type Hub, withHub } from "../support/hub";
import { runOnStore, storeModule } from "../support/store-module";
import { until } from "../support/until";

const INDEXED = `collections: { scores: { indexes: ["user"] } },`;
const ADD_MANY = `
  const c = store.collection("scores");
  for (let from = 0; from < 2500; from += 500)
    await c.batch(Array.from({ length: 500 }, (_, n) => ({ set: "k" + (from + n), value: { user: "u" + (n % 7) } })));
  return true;`;
const COUNT = `
  const c = store.collection("scores");
  const keys = new Set();
  for (let page = await c.find("user", { equals: "u3" }); page.length > 0;
      page = await c.find("user", { equals: "u3", after: page.at(-1) }))
    for (const { key, value } of page) { if (value.user !== "u3") throw Error(key); keys.add(key); }
  return keys.size;`;

async function reload(hub: Hub, ...answer: string[]): Promise<void> {
  const verdict = await hub.ask("RELOAD\n");
  for (const text of answer) expect(verdict).toContain(text);
}

/** Versions that have served declare theirs until their last call is done. */
async function untilMissing(hub: Hub): Promise<void> {
  await until("the index is gone", async () => (await runOnStore(hub, COUNT)).code === "INDEX_MISSING");
}

describe.each(["sqlite", "json"])("on %s", (kind) => {
  const files = (module: string): Record<string, string> => ({
    "modules/probe.ts": module,
    "hrmr.json": JSON.stringify({ store: { url: `${kind}://data/hub.${kind}` } }),
  });

  test.each(kind === "json" ? ["inline"] : ["inline", "pool", "process"])(
    "a reload that declares an index makes it before setup, also %s",
    (run) =>
      withHub(files(storeModule("", run)), [], async (hub) => {
        expect(await runOnStore(hub, ADD_MANY)).toEqual({ value: true });
        const missing = await runOnStore(hub, COUNT);
        expect(missing.code).toBe("INDEX_MISSING");
        expect(missing.message).toContain('collections: { "scores": { indexes: ["user"] } }');
        const setup = `setup: async ({ store }) => (await store.collection("scores").find("user", { limit: 1000 })).length,`;
        const check = `check: ({ state }) => state === 1000,`;
        hub.write("modules/probe.ts", storeModule(`${INDEXED} ${setup} ${check}`, run));
        await reload(hub, "probe v2");
        expect(await runOnStore(hub, COUNT)).toEqual({ value: 355 });
        const moved = `
        const c = store.collection("scores");
        await c.set("new", { user: "u3" });
        await c.delete("k3");
        await c.set("k10", { user: "other" });
        return store.transaction(async (tx) => {
          const found = await tx.collection("scores").find("user", { equals: "other" });
          return found.map(({ key }) => key);
        });`;
        expect(await runOnStore(hub, moved)).toEqual({ value: ["k10"] });
        expect(await runOnStore(hub, COUNT)).toEqual({ value: 354 });
        hub.write("modules/probe.ts", storeModule("", run));
        await reload(hub, "probe v3");
        await untilMissing(hub);
        const inside = `return store.transaction((tx) => tx.collection("scores").find("user"));`;
        expect((await runOnStore(hub, inside)).code).toBe("INDEX_MISSING");
      }),
  );
});

test("an index that one module declares is there for all, until the last one that declares it is gone", () =>
  withHub(
    {
      "modules/probe.ts": storeModule(""),
      "modules/one.ts": `export default { ${INDEXED} routes: { ONE: () => "1\\n" } };`,
      "modules/two.ts": `export default { collections: { scores: { indexes: ["user", "n"] } }, routes: { TWO: () => "2\\n" } };`,
    },
    [],
    async (hub) => {
      const find = async (index: string) =>
        (await runOnStore(hub, `return store.collection("scores").find("${index}");`)).code;
      expect([await find("user"), await find("n"), await find("other")]).toEqual([
        undefined,
        undefined,
        "INDEX_MISSING",
      ]);
      hub.remove("modules/two.ts");
      await reload(hub);
      await until("the index of two is gone", async () => (await find("n")) === "INDEX_MISSING");
      expect(await find("user")).toBe(undefined);
      hub.remove("modules/one.ts");
      await reload(hub);
      await untilMissing(hub);
    },
  ));

test("a version that is refused takes its index along, and the old one serves without it", () =>
  withHub({ "modules/probe.ts": storeModule("") }, [], async (hub) => {
    hub.write("modules/probe.ts", storeModule(`${INDEXED} check: () => false,`));
    await reload(hub, "check returned false");
    await untilMissing(hub);
  }));

test("another database gets the indexes too", () =>
  withHub({ "modules/probe.ts": storeModule(INDEXED) }, [], async (hub) => {
    await runOnStore(hub, ADD_MANY);
    hub.write("hrmr.json", JSON.stringify({ store: { url: "json://data/other.json" } }));
    await reload(hub);
    expect(await runOnStore(hub, COUNT)).toEqual({ value: 0 });
    await runOnStore(hub, ADD_MANY);
    expect(await runOnStore(hub, COUNT)).toEqual({ value: 355 });
  }));

test("processes of one server keep each other's indexes", () =>
  withHub({ "modules/probe.ts": storeModule(INDEXED) }, ["--processes", "2"], async (hub) => {
    const add = (n: number): string => `
      await store.collection("scores").set("k${n}", { user: "u${n % 2}" });
      return process.pid;`;
    const pids = new Set<unknown>();
    let count = 0;
    for (; count < 40 || pids.size < 2; count++) pids.add((await runOnStore(hub, add(count))).value);
    const found = `return (await store.collection("scores").find("user", { equals: "u1" })).length;`;
    for (let n = 0; n < 6; n++) expect(await runOnStore(hub, found)).toEqual({ value: Math.floor(count / 2) });
  }));
