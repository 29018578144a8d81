/**
 * What a reload of one server process, or of all of them, came to, and how it is told.
 */
import { UserError } from "../../config/user-error";
import type { ReloadReport } from "../operations";
import type { ReloadOrder, Source } from "../order";
import { mergeVerdicts } from "./merge";
import { isTold, notesOf, type Verdict, verdictText } from "./verdict";

/** Plain data: it crosses processes. */
export interface ReloadOutcome {
  readonly verdict: Verdict;
  /** null: none are in use, or they were not looked at. */
  readonly certificates: CertificateOutcome | null;
  /** The result for the policy "token"; null: it was not checked. */
  readonly token: CertificateOutcome | null;
}

export type CertificateOutcome = "unchanged" | "reloaded" | { readonly error: string; readonly hint: string };

/** What to do about a module that fails, where that is not to mend the file here. */
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

/** The report, with what there is to tell about one thing more. */
function told(
  report: ReloadReport,
  outcome: CertificateOutcome | null,
  what: string,
  wasNot: string,
  stays: string,
): ReloadReport {
  if (outcome === null || outcome === "unchanged") return report;
  if (outcome === "reloaded") return { ...report, text: `${report.text}  ${what} reloaded\n`, hasChanged: true };
  const lines = [`ERR ${what} ${wasNot}: ${outcome.error}`, `    ${stays} ${outcome.hint}`.trimEnd()];
  return { ...report, ok: false, text: `${lines.join("\n")}\n${report.text.replace(/^(?=.)/gm, "  ")}` };
}

/** @returns the report of a reload that was refused before anything was touched */
export function refusedReport(message: string, hint: string): ReloadReport {
  return {
    ok: false,
    text: `ERR ${message}\n${hint === "" ? "" : `  ${hint}\n`}`,
    modules: [],
    elapsedMs: 0,
    dropped: 0,
  };
}

/** @returns what `reload` gives; a report of its UserError: nothing was changed then */
export async function orRefused(reload: () => Promise<ReloadReport>): Promise<ReloadReport> {
  try {
    return await reload();
  } catch (error) {
    if (error instanceof UserError) return refusedReport(error.message, error.hint ?? "");
    throw error;
  }
}

/** @returns what the outcomes of several processes, by number, come to together. At least one. */
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
