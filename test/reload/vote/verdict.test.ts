/** One verdict of many processes, and reloads that are asked for while one is under way. */
import { expect, test } from "bun:test";
import { join, orderFor, type ReloadOrder, type Source } from "../../../src/reload/order";
import type { ReloadReport } from "../../../src/reload/operations";
import { ReloadQueue } from "../../../src/reload/queue";
import { mergeVerdicts, reportOf } from "../../../src/reload/verdict/report";
import { noTimes, notesOf, verdictText, type ModuleVerdict, type Verdict } from "../../../src/reload/verdict/verdict";
import { rejection } from "../../support/module-fixture";

const SINCE = new Date("2026-11-20T10:42:07Z");

function moduleVerdict(outcome: ModuleVerdict["outcome"], rest: Partial<ModuleVerdict> = {}): ModuleVerdict {
  const flags = { error: null, code: null };
  return {
    name: "greet",
    outcome,
    version: 2,
    previous: 1,
    servingSince: SINCE,
    notes: [],
    draining: [],
    ...flags,
    ...rest,
  };
}

function verdict(modules: ModuleVerdict[], rest: Partial<Verdict> = {}): Verdict {
  const ok = modules.every(({ outcome }) => outcome !== "failed");
  return { ok, modules, elapsedMs: 5, dropped: 0, phases: noTimes(), processes: 1, ...rest };
}

function merged(...verdicts: Verdict[]): Verdict {
  // As they come from other processes.
  return mergeVerdicts(structuredClone(new Map(verdicts.map((each, at) => [at + 1, each]))));
}

test("a swap in four processes is one line, with the slowest's time, the sum of what was dropped, and notes without repeats", () => {
  const swapped = (inFlight: number, elapsedMs: number, dropped: number): Verdict =>
    verdict([moduleVerdict("swapped", { notes: ["its settings changed"], draining: [{ version: 1, inFlight }] })], {
      elapsedMs,
      dropped,
    });
  const text = verdictText(merged(swapped(1, 7, 0), swapped(2, 31, 1), swapped(0, 8, 0), swapped(4, 9, 2)));
  expect(text).toBe(
    "OK greet v2 (was v1) swapped in 31 ms in 4 processes, 3 connections dropped; its settings changed; v1 drains, 7 under way\n",
  );
});

test("nothing changed in three processes is one line", () => {
  const same = verdict([moduleVerdict("unchanged"), moduleVerdict("unchanged", { name: "ping" })]);
  expect(verdictText(merged(same, same, same))).toBe("OK 2 modules unchanged (5 ms in 3 processes)\n");
});

test("the verdict of one process does not speak of processes", () => {
  const one = verdict([moduleVerdict("loaded", { version: 1, previous: null })]);
  expect(verdictText(merged(one))).toBe(verdictText(one));
  expect(verdictText(one)).toBe("OK greet v1 loaded in 5 ms, 0 connections dropped\n");
});

test("the worst outcome of a module wins, and a failure in one process is told with its number", () => {
  const own = moduleVerdict("failed", {
    version: 1,
    error: "setup failed: no port\n  1 | frame",
    code: "broken",
  });
  const refused = moduleVerdict("failed", {
    version: 1,
    error: "process 2: setup failed: no port\n  1 | frame",
    code: "refused",
  });
  const ping = moduleVerdict("unchanged", { name: "ping", version: 1 });
  const all = merged(
    verdict([refused, ping]),
    verdict([own, ping]),
    verdict([refused, { ...ping, outcome: "swapped", version: 2 }]),
  );
  expect(all.ok).toBeFalse();
  expect(all.modules.map(({ name, outcome, code }) => [name, outcome, code])).toEqual([
    ["greet", "failed", "broken"],
    ["ping", "swapped", null],
  ]);
  expect(verdictText(all)).toBe(
    `ERR 1 module failed, 1 module changed in 5 ms in 3 processes, 0 connections dropped
  greet was not loaded: process 2: setup failed: no port
      1 | frame
    v1, loaded at 10:42:07 UTC, goes on serving. Mend the file and send RELOAD again.
  ping v2 (was v1) swapped
`,
  );
});

test("what to do about a failure goes by where the files came from, and by whether there is such a module", () => {
  const broken = moduleVerdict("failed", { version: 1, error: "no port", code: "broken" });
  const nothing = moduleVerdict("failed", { version: null, servingSince: null, error: "no port", code: "conflict" });
  const unknown = moduleVerdict("failed", { name: "nobody", error: 'there is no module "nobody"', code: "unknown" });
  const endOf = (module: ModuleVerdict, source: Source): string | undefined =>
    reportOf({ verdict: verdict([module]), certificates: null, token: null }, orderFor(null, { source }))
      .text.split("\n")
      .at(-2);
  const SERVES = "    v1, loaded at 10:42:07 UTC, goes on serving.";
  expect(endOf(broken, "client")).toBe(`${SERVES} Mend the file and send RELOAD again.`);
  expect(endOf(broken, "push")).toBe(`${SERVES} Mend it and push it again.`);
  expect(endOf(broken, "remove")).toBe(SERVES);
  expect(endOf(nothing, "push")).toBe("    Nothing of it is served. Mend it and push it again.");
  expect(endOf(unknown, "client")).toBe("    HELP lists the modules.");
});

test("a failure of the first process is told with its number, too", () => {
  const own = verdict([moduleVerdict("failed", { error: "no port" })]);
  const refused = verdict([moduleVerdict("failed", { error: "process 1: no port", code: "refused" })]);
  expect(merged(own, refused).modules[0]?.error).toBe("process 1: no port");
});

test("a failure that all processes have alike is told as it is", () => {
  const own = verdict([moduleVerdict("failed", { error: "Unexpected }", code: "conflict" })]);
  const all = merged(own, own);
  expect(all.modules[0]).toMatchObject({ error: "Unexpected }", code: "conflict" });
});

test("a module that only some processes speak of is told, and phases are the slowest's", () => {
  const one = verdict([moduleVerdict("unloaded", { version: null })], { phases: { ...noTimes(), build: 7, swap: 1 } });
  const two = verdict([], { phases: { ...noTimes(), build: 3, agree: 9 } });
  const all = merged(one, two);
  expect(all.modules.map(({ outcome }) => outcome)).toEqual(["unloaded"]);
  expect(all.phases).toEqual({ build: 7, load: 0, start: 0, agree: 9, swap: 1 });
});

test("dates survive, and notes are as in the text", () => {
  const [module] = merged(
    verdict([moduleVerdict("failed", { error: "x", notes: ["a"], draining: [{ version: 1, inFlight: 2 }] })]),
  ).modules;
  expect(module?.servingSince).toEqual(SINCE);
  expect(module === undefined ? [] : notesOf(module)).toEqual(["a", "v1 drains, 2 under way"]);
});

// ---- one at a time ----

const report = (text: string): ReloadReport => ({ ok: true, text, modules: [], elapsedMs: 0, dropped: 0 });

test("what is asked for while a reload is under way becomes one more, and each gets the report of the reload that covered it", async () => {
  const runs: { order: ReloadOrder; done: PromiseWithResolvers<ReloadReport> }[] = [];
  const begun = [0, 1, 2].map(() => Promise.withResolvers<void>());
  const queue = new ReloadQueue((order) => {
    const done = Promise.withResolvers<ReloadReport>();
    runs.push({ order, done });
    begun[runs.length - 1]?.resolve();
    return done.promise;
  });
  const names = (): unknown[] => runs.map(({ order }) => order.names);
  const first = queue.reload(orderFor(["a"]));
  await begun[0]?.promise;
  const second = queue.reload(orderFor(["b"]));
  const between = queue.run(() => Promise.resolve(names()));
  const third = queue.reload(orderFor(["c", "b"]));
  expect([names(), queue.length]).toEqual([[["a"]], 3]);
  runs[0]?.done.resolve(report("first run"));
  expect((await first).text).toBe("first run");
  await begun[1]?.promise;
  const fourth = queue.reload(orderFor(["d"]));
  runs[1]?.done.reject(new Error("second run failed"));
  expect((await Promise.all([rejection(second), rejection(third)])).map(String)).toEqual(
    Array(2).fill("Error: second run failed"),
  );
  expect(await between).toEqual([["a"], ["b", "c"]]);
  await begun[2]?.promise;
  runs[2]?.done.resolve(report("third run"));
  expect((await fourth).text).toBe("third run");
  expect([names(), queue.length]).toEqual([[["a"], ["b", "c"], ["d"]], 0]);
});

test("an order that waits covers what is joined with it, and tells of the source that tells more", () => {
  const saved = orderFor(null, { source: "saved", by: "--watch" });
  const forced = orderFor(["greet"], { forced: ["greet"], by: "RELOAD" });
  expect(join(saved, forced)).toEqual(orderFor(null, { forced: ["greet"], source: "client", by: "--watch" }));
  expect(join(forced, orderFor(["ping", "greet"], { source: "tried again" }))).toEqual(
    orderFor(["greet", "ping"], { forced: ["greet"], by: "RELOAD" }),
  );
  expect(join(forced, orderFor(null, { forced: null, source: "SIGHUP" }))).toMatchObject({
    names: null,
    forced: null,
    source: "SIGHUP",
  });
});

test("a reload that throws at once does not keep the next one out", async () => {
  let calls = 0;
  const queue = new ReloadQueue(() => {
    calls++;
    if (calls === 1) throw new Error("at once");
    return Promise.resolve(report("second"));
  });
  expect(String(await rejection(queue.reload(orderFor(null))))).toBe("Error: at once");
  expect((await queue.reload(orderFor(null))).text).toBe("second");
});
