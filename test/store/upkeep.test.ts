/** Documents whose time is over go by themselves, and so do indexes that no version declares. */
import { describe, expect, test } from "bun:test";
import type { Commit, CommitResult } from "../../src/module/store/port";
import { Upkeep } from "../../src/store/upkeep";
import { type Hub, withHub } from "../support/hub";
import { runOnStore, STORE_MODULE } from "../support/store-module";
import { until } from "../support/until";

const ENDED = { collection: "c", text: "1", version: 1, expiresAt: 1 };

/** A database of so many documents whose time is over, and of these indexes. */
function fake(documents: number, indexes: string[] = []) {
  let keys = Array.from({ length: documents }, (_, at) => `k${at}`);
  const steps: number[] = [];
  const dropped: string[] = [];
  let result: CommitResult = { ok: true, mutated: [] };
  const store = {
    backend: {
      expired: (limit: number) => keys.slice(0, limit).map((key) => ({ ...ENDED, key })),
      indexes: () => indexes.filter((index) => !dropped.includes(index)).map((index) => ({ collection: "c", index })),
    },
    writer: {
      commit: ({ mutations }: Commit) => {
        steps.push(mutations.length);
        const gone = new Set(mutations.map(({ key }) => key));
        if (result.ok) keys = keys.filter((key) => !gone.has(key));
        return result;
      },
    },
    indexes: { drop: async (_: string, index: string) => void dropped.push(index) },
  };
  return { store, steps, dropped, refuse: () => (result = { ok: false, code: "TOO_LARGE", message: "", at: 0 }) };
}

const always = (): boolean => true;

test("a sweep takes bounded steps until nothing is left", async () => {
  const { store, steps } = fake(450);
  await new Upkeep({ of: () => [] }).run(store, always, 0);
  expect(steps).toEqual([200, 200, 50]);
});

test("a sweep ends between two steps when it may not go on, and when a step is refused", async () => {
  const stopped = fake(450);
  let asked = 0;
  await new Upkeep({ of: () => [] }).run(stopped.store, () => ++asked < 2, 0);
  expect(stopped.steps).toEqual([200]);
  const refused = fake(450);
  refused.refuse();
  await new Upkeep({ of: () => [] }).run(refused.store, always, 0);
  expect(refused.steps).toEqual([200]);
});

test("an index goes when no version has declared it for a minute, and not before", async () => {
  const { store, dropped } = fake(0, ["kept", "old", "back"]);
  let declared = ["kept"];
  const upkeep = new Upkeep({ of: () => declared });
  await upkeep.run(store, always, 1000);
  await upkeep.run(store, always, 60_999);
  expect(dropped).toEqual([]);
  declared = ["kept", "back"];
  await upkeep.run(store, always, 61_000);
  expect(dropped).toEqual(["old"]);
  declared = ["kept"];
  await upkeep.run(store, always, 62_000);
  await upkeep.run(store, always, 121_999);
  expect(dropped).toEqual(["old"]);
  await upkeep.run(store, always, 122_000);
  expect(dropped).toEqual(["old", "back"]);
});

const WATCH = `
  shared.changes = [];
  const watch = store.collection("ending").watch();
  await watch.ready;
  (async () => { for await (const { kind, key } of watch) shared.changes.push(kind + " " + key); })();
  return process.pid;`;
const SET = `
  const c = store.collection("ending");
  await c.batch(["a", "b"].map((key) => ({ set: key, value: 1, ttlMs: 30 })));
  return c.set("c", 1, { ttlMs: 600000 });`;

async function changesIn(hub: Hub): Promise<string[]> {
  return (await runOnStore(hub, "return shared.changes.toSorted();")).value as string[];
}

describe.each(["sqlite", "json"])("on %s", (kind) => {
  test("a watch hears of documents whose time is over", () =>
    withHub(
      {
        "modules/probe.ts": STORE_MODULE,
        "hrmr.json": JSON.stringify({ store: { url: `${kind}://data/hub.${kind}` } }),
      },
      [],
      async (hub) => {
        await runOnStore(hub, WATCH);
        await runOnStore(hub, SET);
        await until("both are gone", async () => (await changesIn(hub)).includes("expire b"));
        expect(await changesIn(hub)).toEqual(["expire a", "expire b", "set a", "set b", "set c"]);
      },
    ));
});

test("of several processes one sweeps, also when only others have used the store", () =>
  withHub({ "modules/probe.ts": STORE_MODULE }, ["--processes", "3"], async (hub) => {
    const first = (await runOnStore(hub, WATCH)).value;
    await runOnStore(hub, SET);
    const told = await until("both are gone", async () => {
      const answer = await runOnStore(hub, "return [process.pid, (shared.changes ?? []).toSorted()];");
      const [pid, changes] = answer.value as [number, string[]];
      return pid === first && changes.includes("expire b") && changes;
    });
    expect(told).toEqual(["expire a", "expire b", "set a", "set b", "set c"]);
  }));
