/**
 * Figures of calls: how many, how they ended, how long they took. Counting is on the way of every message: no allocation, and
 * most calls cost one addition and one comparison.
 */
import type { CallSnapshot } from "./snapshot";

/** Upper bounds of the latency buckets, each inclusive. In seconds. What takes longer than the last has a bucket of its own. */
export const LATENCY_BOUNDS: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];

const BOUNDS_MS = LATENCY_BOUNDS.map((seconds) => Math.round(seconds * 1e6) / 1000);
const FIRST_MS = BOUNDS_MS[0] as number;

/** Of calls that have not been. */
export const NO_CALLS: CallSnapshot = Object.freeze({
  calls: 0,
  errors: 0,
  totalSeconds: 0,
  buckets: Object.freeze(Array.from({ length: LATENCY_BOUNDS.length + 1 }, () => 0)),
});

/** Counts calls of one generation. */
export class CallFigures {
  private errors = 0;
  private totalMs = 0;
  /** Those up to the first bound: nearly all. */
  private fast = 0;
  /** Those above it; [0] stays 0. Doubles, which hold more than a busy month brings. */
  private readonly slow = new Float64Array(LATENCY_BOUNDS.length + 1);

  /** A call is over, however it ended. @param elapsedMs from the message to its reply */
  record(elapsedMs: number): void {
    this.totalMs += elapsedMs;
    if (elapsedMs <= FIRST_MS) this.fast++;
    else this.recordSlow(elapsedMs);
  }

  /** It ended badly: the handler threw, was too late or cut, or the reply is a 5xx. Comes besides `record`. */
  fail(): void {
    this.errors++;
  }

  /** Takes over what another has counted. */
  add(other: CallFigures): void {
    this.errors += other.errors;
    this.totalMs += other.totalMs;
    this.fast += other.fast;
    for (let index = 0; index < this.slow.length; index++) this.slow[index] = (this.slow[index] ?? 0) + (other.slow[index] ?? 0);
  }

  snapshot(): CallSnapshot {
    const buckets = [this.fast, ...this.slow.subarray(1)];
    const calls = buckets.reduce((sum, count) => sum + count, 0);
    return { calls, errors: this.errors, totalSeconds: this.totalMs / 1000, buckets };
  }

  private recordSlow(elapsedMs: number): void {
    let index = 1;
    while (index < BOUNDS_MS.length && elapsedMs > (BOUNDS_MS[index] as number)) index++;
    this.slow[index] = (this.slow[index] as number) + 1;
  }
}

/** @returns the figures of all together */
export function addCalls(all: readonly CallSnapshot[]): CallSnapshot {
  if (all.length === 1) return all[0] as CallSnapshot;
  return {
    calls: all.reduce((sum, { calls }) => sum + calls, 0),
    errors: all.reduce((sum, { errors }) => sum + errors, 0),
    totalSeconds: all.reduce((sum, { totalSeconds }) => sum + totalSeconds, 0),
    buckets: NO_CALLS.buckets.map((_, index) => all.reduce((sum, { buckets }) => sum + (buckets[index] ?? 0), 0)),
  };
}

/**
 * What a share of the calls stayed below, estimated: within its bucket the calls are taken to be spread evenly.
 *
 * @param share 0.5 for the median, 0.99 for all but the slowest hundredth
 * @returns in milliseconds; null without calls; the last bound for what took longer than it
 */
export function percentileMs({ calls, buckets }: CallSnapshot, share: number): number | null {
  if (calls === 0) return null;
  const wanted = share * calls;
  let before = 0;
  for (const [index, count] of buckets.entries()) {
    if (count > 0 && before + count >= wanted) {
      const from = BOUNDS_MS[index - 1] ?? 0;
      const to = BOUNDS_MS[index] ?? from;
      return from + ((to - from) * Math.max(0, wanted - before)) / count;
    }
    before += count;
  }
  return BOUNDS_MS.at(-1) ?? null;
}
