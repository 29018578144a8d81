/**
 * How long to wait before a process or a thread that ended is started again, or a failed start is tried again.
 */

const FIRST_MS = 100;
const LONGEST_MS = 30_000;
/**
 * The start of a process that served this long was good: a later end, such as by `kill -9`, is no failed start. In
 * milliseconds.
 */
const SERVED_MS = 1000;

/** The waits between tries of something that fails by itself: 1, 2, 5, 10 and 30 s, then every 30 s. */
export const RETRY_DELAYS_MS = [1000, 2000, 5000, 10_000, 30_000] as const;

/** @param failures how many tries have failed before the one that has just failed @returns the wait in milliseconds */
export function retryDelayMs(failures: number): number {
  return RETRY_DELAYS_MS[Math.min(failures, RETRY_DELAYS_MS.length - 1)] ?? 0;
}

/**
 * No wait after a process that has served. Otherwise each wait is longer than the last, so that failing starts do not
 * take a core.
 */
export class Backoff {
  readonly #longestMs: number;
  readonly #servedMs: number;
  #failures = 0;

  /** @param servedMs see SERVED_MS. Both in milliseconds */
  constructor(longestMs = LONGEST_MS, servedMs = SERVED_MS) {
    this.#longestMs = longestMs;
    this.#servedMs = servedMs;
  }

  /**
   * @returns the wait before the next start, in milliseconds. @param servedMs how long the last one served. 0: it never
   * did
   */
  next(servedMs: number): number {
    if (servedMs >= this.#servedMs) this.#failures = 0;
    // The first failure costs no wait: a process that was killed by hand soon after its start is back at once.
    const delayMs = this.#failures === 0 ? 0 : Math.min(this.#longestMs, FIRST_MS * 2 ** (this.#failures - 1));
    this.#failures++;
    return delayMs;
  }
}
