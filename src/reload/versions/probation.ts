/**
 * Whether a version that has just come to serve does so well enough. Pure: the figures are handed in.
 */
import type { VersionOptions } from "../../config/options";

export interface Counts {
  readonly calls: number;
  readonly errors: number;
}

/** What a version has done since its swap, in all processes together. */
interface TrialFigures {
  readonly ageMs: number;
  readonly total: Counts;
  /** Of the last seconds: a version may go bad after it has begun well. */
  readonly recent: Counts;
  readonly crashes: number;
  /** Of the version before; no calls: nothing is known of how it did. */
  readonly former: Counts;
}

type Judgement =
  | { readonly verdict: "wait" }
  | { readonly verdict: "good" }
  | { readonly verdict: "rolled back" | "crashed"; /** "18 of 30 calls failed" */ readonly reason: string };

/** A version that fails no more than this much as often as the one before is not what is wrong. */
const CLEARLY = 2;

/**
 * - At `maxCrashes` crashes it goes.
 * - It goes when, of at least `minCalls` calls, a share above `maxErrorShare` failed, and that is clearly more than
 *   before: twice the former version's share. A service behind both that is down is not mended by a rollback.
 * - What is left after `probationMs` is good. With 0 everything is.
 */
export function judge(
  { ageMs, total, recent, crashes, former }: TrialFigures,
  { probationMs, maxErrorShare, minCalls, maxCrashes }: Omit<VersionOptions, "keep">,
): Judgement {
  if (probationMs === 0) return { verdict: "good" };
  if (crashes >= maxCrashes)
    return { verdict: "crashed", reason: `it crashed ${crashes} ${crashes === 1 ? "time" : "times"}` };
  const worst = [total, recent].find((counts) => {
    return counts.calls >= minCalls && share(counts) > maxErrorShare && share(counts) >= CLEARLY * share(former);
  });
  if (worst !== undefined) return { verdict: "rolled back", reason: `${worst.errors} of ${worst.calls} calls failed` };
  return { verdict: ageMs >= probationMs ? "good" : "wait" };
}

/** 0 without calls. */
export function share({ calls, errors }: Counts): number {
  return calls === 0 ? 0 : errors / calls;
}
