/** The outcome of a reload in one server process, or in all of them, and the report about it. */
import { UserError } from "../../config/user-error";
import type { ReloadReport } from "../operations";
import type { ReloadOrder, Source } from "../order";
import {
  isTold,
  type ModuleVerdict,
  noTimes,
  notesOf,
  type Outcome,
  PHASES,
  type PhaseTimes,
  type Verdict,
  verdictText,
} from "./verdict";

/** Plain data: it crosses processes. */
export interface ReloadOutcome {
  readonly verdict: Verdict;
  /** null: none are in use, or they were not checked. */
  readonly certificates: PartOutcome | null;
  /** The result for the policy "token"; null: it was not checked. */
  readonly token: PartOutcome | null;
}

/** The outcome of a part that a full reload reads again besides the modules. */
export type PartOutcome = "unchanged" | "reloaded" | { readonly error: string; readonly hint: string };

/** Advice about a failed module, if the user cannot mend the file here. */
const ADVICE: Partial<Record<Source, string>> = { push: "Mend it and push it again.", remove: "" };

/** @returns the report; the first word of its text is OK or ERR */
export function reportOf({ verdict, certificates, token }: ReloadOutcome, { source }: ReloadOrder): ReloadReport {
  const modules = verdictText(verdict, ADVICE[source]);
  const report: ReloadReport = {
    ok: verdict.ok,
    text: modules,
    modules: verdict.modules.filter(isTold).map((module) => {
      const { name, outcome, version, previous, error } = module;
      return { name, outcome, version, previous, notes: notesOf(module), error };
    }),
    elapsedMs: Math.round(verdict.elapsedMs * 10) / 10,
    dropped: verdict.dropped,
  };
  const withCertificates = told(report, certificates, "certificates", "were not reloaded", "The old ones stay in use.");
  return told(withCertificates, token, "the token of the commands", "was not reloaded", "The old one stays in use.");
}

/** The report, extended by one part. */
function told(
  report: ReloadReport,
  outcome: PartOutcome | null,
  what: string,
  wasNot: string,
  stays: string,
): ReloadReport {
  if (outcome === null || outcome === "unchanged") return report;
  if (outcome === "reloaded") return { ...report, text: `${report.text}  ${what} reloaded\n`, hasChanged: true };
  const lines = [`ERR ${what} ${wasNot}: ${outcome.error}`, `    ${stays} ${outcome.hint}`.trimEnd()];
  return { ...report, ok: false, text: `${lines.join("\n")}\n${report.text.replace(/^(?=.)/gm, "  ")}` };
}

/**
 * Reads a part again. Never rejects: if the new one is bad, the old one stays in use.
 *
 * @param read returns whether it has changed. A file that is being replaced can have any content for a moment, so every
 *   error is reported like the user's
 */
export async function partOutcome(read: () => boolean | Promise<boolean>): Promise<PartOutcome> {
  try {
    return (await read()) ? "reloaded" : "unchanged";
  } catch (error) {
    return error instanceof UserError
      ? { error: error.message, hint: error.hint ?? "" }
      : { error: String(error), hint: "" };
  }
}

/** @returns the report of a reload that was refused before any change */
export function refusedReport(message: string, hint: string): ReloadReport {
  return {
    ok: false,
    text: `ERR ${message}\n${hint === "" ? "" : `  ${hint}\n`}`,
    modules: [],
    elapsedMs: 0,
    dropped: 0,
  };
}

/** @returns the result of `reload`, or a report of its UserError: nothing was changed then */
export async function orRefused(reload: () => Promise<ReloadReport>): Promise<ReloadReport> {
  try {
    return await reload();
  } catch (error) {
    if (error instanceof UserError) return refusedReport(error.message, error.hint ?? "");
    throw error;
  }
}

/** @returns the combined outcome of several processes, by number. At least one. */
export function mergeOutcomes(bySlot: ReadonlyMap<number, ReloadOutcome>): ReloadOutcome {
  const outcomes = [...bySlot.values()];
  const worst = <T>(values: readonly T[]): T =>
    (values.find((value) => typeof value === "object" && value !== null) ?? values[0]) as T;
  return {
    verdict: mergeVerdicts(new Map([...bySlot].map(([slot, { verdict }]) => [slot, verdict]))),
    certificates: worst(outcomes.map(({ certificates }) => certificates)),
    token: worst(outcomes.map(({ token }) => token)),
  };
}

// ---- one verdict of many ----

/** The worst first: one process where a module failed makes it failed. */
const WORST_FIRST: readonly Outcome[] = ["failed", "unloaded", "swapped", "loaded", "unchanged"];

/**
 * Adds up the verdicts of one reload. Each module has its worst outcome; times are the slowest process's; dropped
 * connections and draining work are sums.
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
  // A module refused because of another process names that process.
  const shown = worst.find(({ code }) => code === "refused") ?? worst[0];
  if (shown === undefined) throw new Error("There is no verdict to merge.");
  return {
    ...shown,
    notes: [...new Set(modules.flatMap(({ notes }) => notes))],
    draining: sumDraining(modules),
    // "refused" is about others: a process with its own reason counts.
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
