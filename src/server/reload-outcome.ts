/**
 * What a reload of one server process, or of all of them, came to, and how it is told.
 */
import type { ReloadReport } from "../control/operations";
import { type Verdict, verdictText } from "../module/verdict";

/** Plain data: it crosses processes. */
export interface ReloadOutcome {
  readonly verdict: Verdict;
  /** null: none are in use, or they were not looked at. */
  readonly certificates: CertificateOutcome | null;
}

export type CertificateOutcome = "unchanged" | "reloaded" | { readonly error: string; readonly hint: string };

/** @returns the report; the first word of its text is OK or ERR */
export function reportOf({ verdict, certificates }: ReloadOutcome): ReloadReport {
  const modules = verdictText(verdict);
  const report = {
    ok: verdict.ok,
    text: modules,
    modules: verdict.modules
      .filter(({ outcome }) => outcome !== "unchanged")
      .map(({ name, outcome, version, previous, notes, error }) => ({ name, outcome, version, previous, notes, error })),
    elapsedMs: Math.round(verdict.elapsedMs * 10) / 10,
    dropped: verdict.dropped,
  };
  if (certificates === null || certificates === "unchanged") return report;
  if (certificates === "reloaded") return { ...report, text: `${modules}  certificates reloaded\n` };
  const lines = [
    `ERR certificates were not reloaded: ${certificates.error}`,
    `    The old ones stay in use. ${certificates.hint}`.trimEnd(),
  ];
  return { ...report, ok: false, text: `${lines.join("\n")}\n${modules.replace(/^(?=.)/gm, "  ")}` };
}

/** @returns the report of a reload that was refused before anything was touched */
export function refusedReport(message: string, hint: string): ReloadReport {
  return { ok: false, text: `ERR ${message}\n  ${hint}\n`, modules: [], elapsedMs: 0, dropped: 0 };
}
