/**
 * How long to wait before a process that ended is started again.
 */

const FIRST_MS = 100;
const LONGEST_MS = 30_000;
/** Who lived this long had a life of its own: its end is no failed start. */
const LONG_LIFE_MS = 10_000;

/** At once after a long life; after a short one later each time, so that a process that cannot live never costs a core. */
export class Backoff {
  #failures = 0;

  /** @returns the wait before the next start, in milliseconds. @param livedMs how long the last one lived */
  next(livedMs: number): number {
    if (livedMs >= LONG_LIFE_MS) this.#failures = 0;
    // The first one is forgiven: a child that was killed by hand soon after the start is back at once.
    const delayMs = this.#failures === 0 ? 0 : Math.min(LONGEST_MS, FIRST_MS * 2 ** (this.#failures - 1));
    this.#failures++;
    return delayMs;
  }
}
