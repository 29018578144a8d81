/**
 * How long to wait before a process that ended is started again.
 */

const FIRST_MS = 100;
const LONGEST_MS = 30_000;
/** A process that served this long was started well: its end, a `kill -9` say, is no failed start. */
const SERVED_MS = 1000;

/** At once for a process that has served; else later each time, so that one that cannot live never costs a core. */
export class Backoff {
  #failures = 0;

  /** @returns the wait before the next start, in milliseconds. @param servedMs how long the last one served. 0: it never did */
  next(servedMs: number): number {
    if (servedMs >= SERVED_MS) this.#failures = 0;
    // The first one is forgiven: a child that was killed by hand soon after the start is back at once.
    const delayMs = this.#failures === 0 ? 0 : Math.min(LONGEST_MS, FIRST_MS * 2 ** (this.#failures - 1));
    this.#failures++;
    return delayMs;
  }
}
