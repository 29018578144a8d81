/**
 * One verdict of many: what a reload came to in all processes of a server.
 */
import { noTimes, PHASES, type PhaseTimes } from "./phases";
import type { ModuleVerdict, Outcome, Verdict } from "./verdict";

/** The worst first: one process where a module failed makes it failed. */
const WORST_FIRST: readonly Outcome[] = ["failed", "unloaded", "swapped", "loaded", "unchanged"];

/**
 * Adds up the verdicts of one reload. Each module has its worst outcome; times are those of the slowest process;
 * connections dropped and what still drains are sums.
 *
 * @param bySlot by process number; at least one
 */
export function mergeVerdicts(bySlot: ReadonlyMap<number, Verdict>): Verdict {
  const verdicts = [...bySlot].sort(([a], [b]) => a - b).map(([, verdict]) => verdict);
  const names = new Set(verdicts.flatMap(({ modules }) => modules.map(({ name }) => name)));
  return {
    ok: verdicts.every(({ ok }) => ok),
    modules: [...names].map((name) =>
      mergeModule(verdicts.flatMap(({ modules }) => modules.filter((module) => module.name === name))),
    ),
    elapsedMs: Math.max(0, ...verdicts.map(({ elapsedMs }) => elapsedMs)),
    dropped: verdicts.reduce((sum, { dropped }) => sum + dropped, 0),
    phases: slowest(verdicts.map(({ phases }) => phases)),
    processes: verdicts.length,
  };
}

function mergeModule(modules: readonly ModuleVerdict[]): ModuleVerdict {
  const rank = ({ outcome }: ModuleVerdict): number => WORST_FIRST.indexOf(outcome);
  const worst = modules.filter((module) => rank(module) === Math.min(...modules.map(rank)));
  // What was refused here for another process's sake names that process.
  const shown = worst.find(({ code }) => code === "refused") ?? worst[0];
  if (shown === undefined) throw new Error("There is no verdict to merge.");
  return {
    ...shown,
    notes: [...new Set(modules.flatMap(({ notes }) => notes))],
    draining: sumDraining(modules),
    // It is refused only for others' sake: one of them has a reason of its own.
    code: worst.map(({ code }) => code).find((code) => code !== "refused") ?? shown.code,
  };
}

function sumDraining(modules: readonly ModuleVerdict[]): ModuleVerdict["draining"] {
  const sums = new Map<number, number>();
  for (const { version, inFlight } of modules.flatMap(({ draining }) => draining)) {
    sums.set(version, (sums.get(version) ?? 0) + inFlight);
  }
  return [...sums].sort(([a], [b]) => a - b).map(([version, inFlight]) => ({ version, inFlight }));
}

function slowest(all: readonly PhaseTimes[]): PhaseTimes {
  const times = noTimes();
  for (const phases of all) for (const phase of PHASES) times[phase] = Math.max(times[phase], phases[phase]);
  return times;
}
