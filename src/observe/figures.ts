/**
 * Figures of calls: how many, how they ended, how long they took. Every message passes here: counting allocates
 * nothing, and under load most calls do not read the clock.
 */
import type { CallSnapshot, GenerationSnapshot, ModuleSnapshot } from "./snapshot";
import { sumOf } from "./sums";

/** Upper bounds of the latency buckets, each inclusive. In seconds. Slower calls have a bucket of their own. */
export const LATENCY_BOUNDS: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];

const BOUNDS_MS = LATENCY_BOUNDS.map((seconds) => Math.round(seconds * 1e6) / 1000);
const FIRST_MS = BOUNDS_MS[0] as number;

/** The first calls of a generation in each second are all timed, up to this number. */
const TIMED_A_SECOND = 100;
/**
 * Above it one of this many is timed, and its time counts for the others: reading the clock costs a thirtieth of a
 * cheap call.
 */
const SAMPLE = 8;

/** The current second, for all figures of this thread. */
let second = 0;

/** Call it each second. */
export function nextSecond(): void {
  second++;
}

/** Counts calls of one generation. */
export class CallFigures {
  private errors = 0;
  private totalMs = 0;
  /** Calls up to the first bound: nearly all. */
  private fast = 0;
  /** Slower calls, by bucket; [0] stays 0. Doubles are large enough for years of counting. */
  private readonly slow = new Float64Array(LATENCY_BOUNDS.length + 1);
  /** Calls that the next timed call also counts for. */
  private untimed = 0;
  private leftToTime = TIMED_A_SECOND;
  private seenSecond = second;

  /**
   * A call begins. Comes before `ended` or `record`.
   *
   * @param isWanted somebody needs the time, whatever it costs
   * @returns the time by performance.now(); 0: many calls come, and this one is counted but not timed, unless it has to
   *   wait
   */
  begins(isWanted: boolean): number {
    if (this.seenSecond !== second) {
      this.seenSecond = second;
      this.leftToTime = TIMED_A_SECOND;
    }
    if (this.leftToTime > 0) this.leftToTime--;
    else if (this.untimed < SAMPLE - 1 && !isWanted) return 0;
    return performance.now();
  }

  /** A call ended at once, with or without an error. @param startedAt the result of `begins` */
  ended(startedAt: number): void {
    if (startedAt === 0) {
      this.untimed++;
      return;
    }
    const count = this.untimed + 1;
    this.untimed = 0;
    this.recordMany(performance.now() - startedAt, count);
  }

  /** A call ended that had to wait. @param elapsedMs from the message to its reply */
  record(elapsedMs: number): void {
    this.recordMany(elapsedMs, 1);
  }

  /**
   * A call failed: the handler threw, was too late or cut, or the reply is a 5xx. Call it besides `ended` or `record`.
   */
  fail(): void {
    this.errors++;
  }

  /** Adds the counts of another. */
  add(other: CallFigures): void {
    this.errors += other.errors;
    this.totalMs += other.totalMs;
    this.fast += other.fast + other.untimed;
    for (let index = 0; index < this.slow.length; index++)
      this.slow[index] = (this.slow[index] ?? 0) + (other.slow[index] ?? 0);
  }

  snapshot(): CallSnapshot {
    // No timed call has followed these yet. Nearly all calls are in the first bucket, so count them there.
    this.fast += this.untimed;
    this.untimed = 0;
    const buckets = [this.fast, ...this.slow.subarray(1)];
    const calls = buckets.reduce((sum, count) => sum + count, 0);
    return { calls, errors: this.errors, totalSeconds: this.totalMs / 1000, buckets };
  }

  private recordMany(elapsedMs: number, count: number): void {
    this.totalMs += elapsedMs * count;
    if (elapsedMs <= FIRST_MS) {
      this.fast += count;
      return;
    }
    let index = 1;
    while (index < BOUNDS_MS.length && elapsedMs > (BOUNDS_MS[index] as number)) index++;
    this.slow[index] = (this.slow[index] as number) + count;
    // After a slow call more will follow, and few enough come to time each.
    this.leftToTime = TIMED_A_SECOND;
  }
}

/** @returns the sum of all */
export function addCalls(all: readonly CallSnapshot[]): CallSnapshot {
  if (all.length === 1) return all[0] as CallSnapshot;
  return {
    calls: sumOf(all, ({ calls }) => calls),
    errors: sumOf(all, ({ errors }) => errors),
    totalSeconds: sumOf(all, ({ totalSeconds }) => totalSeconds),
    buckets: [...BOUNDS_MS, Infinity].map((_, index) => sumOf(all, ({ buckets }) => buckets[index] ?? 0)),
  };
}

/** A module's versions in memory, the one that serves last. */
export function generationsOf({ live, old }: Pick<ModuleSnapshot, "live" | "old">): readonly GenerationSnapshot[] {
  return live === null ? old : [...old, live];
}

/** The figures of all versions of a module together. */
export function callsOf(module: Pick<ModuleSnapshot, "live" | "old" | "gone">): CallSnapshot {
  return addCalls([module.gone, ...generationsOf(module).map(({ figures }) => figures)]);
}

/**
 * Estimates the time that a share of the calls stayed below, as if the calls of a bucket were spread evenly.
 *
 * @param share 0.5 for the median, 0.99 for all but the slowest hundredth
 * @returns in milliseconds; null without calls; at most the last bound
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
