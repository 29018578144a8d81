/** One verdict of many processes, and reloads that are asked for while one is under way. */
import { expect, test } from "bun:test";
import { mergeVerdicts } from "../../../src/reload/verdict/merge";
import { noTimes } from "../../../src/reload/verdict/phases";
import { SingleFlight } from "../../../src/reload/single-flight";
import { notesOf, verdictText, type ModuleVerdict, type Verdict } from "../../../src/reload/verdict/verdict";
import { rejection } from "../../support/module-fixture";

const SINCE = new Date("2026-11-20T10:42:07Z");

function moduleVerdict(outcome: ModuleVerdict["outcome"], rest: Partial<ModuleVerdict> = {}): ModuleVerdict {
  const flags = { error: null, isKnown: true, isConflict: false, isRefused: false };
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
  const own = moduleVerdict("failed", { version: 1, error: "setup failed: no port\n  1 | frame" });
  const refused = moduleVerdict("failed", {
    version: 1,
    error: "process 2: setup failed: no port\n  1 | frame",
    isRefused: true,
  });
  const ping = moduleVerdict("unchanged", { name: "ping", version: 1 });
  const all = merged(
    verdict([refused, ping]),
    verdict([own, ping]),
    verdict([refused, { ...ping, outcome: "swapped", version: 2 }]),
  );
  expect(all.ok).toBeFalse();
  expect(all.modules.map(({ name, outcome, isRefused }) => [name, outcome, isRefused])).toEqual([
    ["greet", "failed", false],
    ["ping", "swapped", false],
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

test("a failure of the first process is told with its number, too", () => {
  const own = verdict([moduleVerdict("failed", { error: "no port" })]);
  const refused = verdict([moduleVerdict("failed", { error: "process 1: no port", isRefused: true })]);
  expect(merged(own, refused).modules[0]?.error).toBe("process 1: no port");
});

test("a failure that all processes have alike is told as it is", () => {
  const own = verdict([moduleVerdict("failed", { error: "Unexpected }", isConflict: true })]);
  const all = merged(own, own);
  expect(all.modules[0]).toMatchObject({ error: "Unexpected }", isConflict: true, isRefused: false });
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

test("what is asked for while a run is under way becomes one more, and each gets the result of the run that covered it", async () => {
  const runs: { wish: string[]; done: PromiseWithResolvers<string> }[] = [];
  const flight = new SingleFlight<string[], string>(
    (wish) => {
      const done = Promise.withResolvers<string>();
      runs.push({ wish, done });
      return done.promise;
    },
    (earlier, later) => [...earlier, ...later],
  );
  const first = flight.request(["a"]);
  expect(runs.map(({ wish }) => wish)).toEqual([["a"]]);
  const second = flight.request(["b"]);
  const third = flight.request(["c"]);
  expect(flight.isRunning).toBeTrue();
  runs[0]?.done.resolve("first run");
  expect(await first).toBe("first run");
  expect(runs.map(({ wish }) => wish)).toEqual([["a"], ["b", "c"]]);
  const fourth = flight.request(["d"]);
  runs[1]?.done.reject(new Error("second run failed"));
  expect((await Promise.all([rejection(second), rejection(third)])).map(String)).toEqual(
    Array(2).fill("Error: second run failed"),
  );
  runs[2]?.done.resolve("third run");
  expect(await fourth).toBe("third run");
  expect(flight.isRunning).toBeFalse();
  const fifth = flight.request(["e"]);
  runs[3]?.done.resolve("fourth run");
  expect(await fifth).toBe("fourth run");
});

test("a run that throws at once does not keep the next one out", async () => {
  let calls = 0;
  const flight = new SingleFlight<null, number>(
    () => {
      calls++;
      if (calls === 1) throw new Error("at once");
      return Promise.resolve(calls);
    },
    () => null,
  );
  expect(String(await rejection(flight.request(null)))).toBe("Error: at once");
  expect(await flight.request(null)).toBe(2);
});
