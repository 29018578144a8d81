/** Judges a version during its probation. Pure: the caller passes the figures. */
import type { VersionOptions } from "../../config/options";

export interface Counts {
  readonly calls: number;
  readonly errors: number;
}

/** The figures of a version since its swap, in all processes together. */
interface ProbationFigures {
  readonly ageMs: number;
  readonly total: Counts;
  /** The figures of the last seconds: a version may begin well and then fail. */
  readonly recent: Counts;
  readonly crashes: number;
  /** The figures of the version before; no calls: not known. */
  readonly former: Counts;
}

type Judgement =
  | { readonly standing: "probation" }
  | { readonly standing: "good" }
  | { readonly standing: "rolled back" | "crashed"; /** "18 of 30 calls failed" */ readonly reason: string };

/** A version is at fault only if it fails more than this many times as often as the one before. */
const CLEARLY = 2;

/**
 * - At `maxCrashes` crashes it goes.
 * - It goes when, of at least `minCalls` calls, a share above `maxErrorShare` failed, and that is clearly more than
 *   before: twice the former version's share. A rollback cannot mend a failed service behind both versions.
 * - A version that is left after `probationMs` is good. With 0 every version is.
 */
export function judge(
  { ageMs, total, recent, crashes, former }: ProbationFigures,
  { probationMs, maxErrorShare, minCalls, maxCrashes }: Omit<VersionOptions, "keep">,
): Judgement {
  if (probationMs === 0) return { standing: "good" };
  if (crashes >= maxCrashes)
    return { standing: "crashed", reason: `it crashed ${crashes} ${crashes === 1 ? "time" : "times"}` };
  const worst = [total, recent].find((counts) => {
    return counts.calls >= minCalls && share(counts) > maxErrorShare && share(counts) >= CLEARLY * share(former);
  });
  if (worst !== undefined) return { standing: "rolled back", reason: `${worst.errors} of ${worst.calls} calls failed` };
  return { standing: ageMs >= probationMs ? "good" : "probation" };
}

/** 0 without calls. */
export function share({ calls, errors }: Counts): number {
  return calls === 0 ? 0 : errors / calls;
}
