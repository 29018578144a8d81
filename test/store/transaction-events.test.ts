/** Events that the function of a transaction emits: they leave after its commit, once, and never without it. */
import { expect, test } from "bun:test";
import { shareHub } from "../support/hub";
import { runOnStore, storeModule } from "../support/store-module";

const TELLING = `
  const events = context.events.subscribe("told.*");
  const told = [];
  const reading = (async () => { for await (const { topic, data } of events) {
    told.push([topic.slice(5), data]);
    if (topic === "told.end") return told;
  } })();
  const emit = (name, data) => context.events.emit("told." + name, data);
  const c = store.collection("events");`;

const CASES: [string, string, unknown][] = [
  [
    "leave after the commit, in their order",
    `
    await store.transaction(async (tx) => {
      emit("first", 1);
      await tx.collection("events").set("k", 1);
      emit("second", 2);
      await new Promise((resolve) => setTimeout(resolve, 5));
      emit("third", 3);
      context.events.emit("told.version", (await c.get("k"))?.value ?? null);
    });`,
    [
      ["first", 1],
      ["second", 2],
      ["third", 3],
      ["version", null],
    ],
  ],
  [
    "of a run that is repeated stay away",
    `
    let runs = 0;
    await store.transaction(async (tx) => {
      const run = ++runs;
      emit("run", run);
      await tx.collection("events").get("conflict");
      if (run < 3) await c.set("conflict", run);
      await tx.collection("events").set("other", run);
    });`,
    [["run", 3]],
  ],
  [
    "of a transaction that fails stay away, also those of work that it has left behind",
    `
    const later = Promise.withResolvers();
    let behind;
    await store.transaction(async (tx) => {
      emit("lost", 1);
      await tx.collection("events").set("k", 1);
      behind = later.promise.then(() => emit("late", 1));
      throw Error("no");
    }).catch((error) => emit("failed", error.message));
    later.resolve();
    await behind;
    await store.transaction((tx) => { emit("lost", 2); return tx.collection("events").set("k", 1, { ifVersion: 1e9 }); })
      .catch((error) => emit("failed", error.code));
    await store.transaction((tx) => { emit("lost", 3); return new Promise(() => {}); }, { timeoutMs: 5 })
      .catch((error) => emit("failed", error.code));`,
    [
      ["failed", "no"],
      ["failed", "CONFLICT"],
      ["failed", "TIMEOUT"],
    ],
  ],
  [
    "beside a transaction leave at once",
    `
    const inside = Promise.withResolvers();
    const goOn = Promise.withResolvers();
    const work = store.transaction(async (tx) => { emit("inside"); inside.resolve(); await goOn.promise; });
    await inside.promise;
    emit("beside");
    goOn.resolve();
    await work;
    emit("behind");`,
    [
      ["beside", undefined],
      ["inside", undefined],
      ["behind", undefined],
    ],
  ],
];

for (const run of ["inline", "pool", "process"]) {
  const withServer = shareHub({ "modules/probe.ts": storeModule("", run) });

  for (const [name, code, expected] of CASES)
    test(`${run}: events ${name}`, () =>
      withServer(async (hub) => {
        const outcome = await runOnStore(hub, `${TELLING} ${code} emit("end"); return await reading;`);
        expect(outcome.message).toBe(undefined);
        const told = (outcome.value as [string, unknown][]).slice(0, -1);
        expect(told).toEqual((expected as [string, unknown][]).map((pair) => JSON.parse(JSON.stringify(pair))));
      }));
}
