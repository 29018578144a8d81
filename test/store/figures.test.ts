/** What the server tells about its store. */
import { expect, test } from "bun:test";
import { StoreError } from "../../src/module/store/error";
import { StoreFigures } from "../../src/store/figures";
import { type Hub, shareHub } from "../support/hub";
import { runOnStore, STORE_MODULE } from "../support/store-module";
import { until } from "../support/until";

const withServer = shareHub({ "modules/probe.ts": STORE_MODULE });

async function valueOf(hub: Hub, code: string): Promise<unknown> {
  const outcome = await runOnStore(hub, code);
  expect(outcome.message).toBe(undefined);
  return outcome.value;
}

test("a store that nobody has used is not there", () =>
  withServer(async (hub) => {
    const { store } = await hub.status();
    expect(store).toMatchObject({ state: "unused", backend: "sqlite", size: null, commits: 0 });
    expect(store.url).toEndWith("data/hub.sqlite");
  }));

test("commits, conflicts, transactions and watches are counted", () =>
  withServer(async (hub) => {
    const before = (await hub.status()).store;
    const code = `
      const c = store.collection("counted");
      await Promise.all([c.set("a", 1), c.set("b", 1), c.set("c", 1)]);
      await c.delete("c");
      const refused = await c.set("a", 2, { ifVersion: 99 }).catch((error) => error.code);
      await store.transaction((tx) => tx.collection("counted").increment("a", 1));
      let runs = 0;
      await store.transaction(async (tx) => {
        const { value } = await tx.collection("counted").get("b");
        if (++runs === 1) await c.set("b", 5);
        await tx.collection("counted").set("b", value + 1);
      });
      return [refused, runs];`;
    expect(await valueOf(hub, code)).toEqual(["CONFLICT", 2]);
    const { store } = await hub.status();
    expect(store.leadingPid).toBe(hub.program.pid);
    expect(store).toMatchObject({ state: "open", durability: "full", errors: 0, lastError: null, waiting: 0 });
    expect(store.size?.documents).toBe((before.size?.documents ?? 0) + 2);
    expect(store.size?.changes).toBeGreaterThanOrEqual(7);
    expect(store.commits - before.commits).toBe(9);
    expect([store.conflicts - before.conflicts, store.retries - before.retries]).toEqual([2, 1]);
    expect(store.transactions - before.transactions).toBe(3);
    expect(store.groups).toBeLessThan(store.commits);
    expect(store.largestGroup).toBeGreaterThanOrEqual(3);
    expect(store.p99Ms).toBeGreaterThan(0);
  }));

test("watches are counted while they are there, and those that were lost", () =>
  withServer(async (hub) => {
    await valueOf(hub, `shared.watch = store.collection("seen").watch(); shared.next = shared.watch.next(); return 1;`);
    await until("the watch is there", async () => (await hub.status()).store.watches === 1);
    expect(
      await valueOf(hub, `await store.collection("seen").set("x", 1); return (await shared.next).value.key;`),
    ).toBe("x");
    await valueOf(hub, `await shared.watch.return(); return 1;`);
    await until("the watch has gone", async () => (await hub.status()).store.watches === 0);
    expect((await hub.status()).store.watchesLost).toBe(0);
  }));

test("an error is told, and the store is failing until something succeeds", () => {
  const figures = new StoreFigures();
  const now = {
    url: "sqlite:///data/hub.sqlite",
    durability: "full",
    isOpening: false,
    open: {
      backend: { size: () => ({ documents: 1, bytes: 2, changes: 3 }) },
      writer: { waiting: 4 },
      feed: { size: 5, lost: 6 },
    },
  };
  figures.watchesLost = 1;
  figures.notCommitted(new StoreError("FULL", "no space for postgres://ann:secret@db/hub"));
  const failed = figures.snapshot(now);
  expect(failed).toMatchObject({ state: "failing", waiting: 4, watches: 5, counts: { watchesLost: 7 } });
  expect([failed.groups.errors, failed.lastError?.code, failed.lastError?.message]).toEqual([
    1,
    "FULL",
    "no space for postgres://***@db/hub",
  ]);
  figures.committed({ results: [{ ok: true, mutated: [] }], transactions: 0, durationMs: 1 });
  expect(figures.snapshot(now)).toMatchObject({ state: "open", lastError: { code: "FULL" } });
  expect(figures.snapshot({ ...now, open: null, isOpening: true }).state).toBe("opening");
});
