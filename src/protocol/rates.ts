/**
 * How fast is too fast: counts within a second, decided on a clock that is passed in. Nothing here reads a clock or
 * arms a timer.
 */

/** In milliseconds. */
const SECOND_MS = 1000;

/** Addresses that are remembered within one second. Each of them is a client that has just connected. */
const MAX_ADDRESSES = 10_000;

/** Counts what one peer does. A second begins with the first thing that is done after the last one was over. */
export class SecondWindow {
  #startedMs = -SECOND_MS;
  #count = 0;

  /**
   * Asks for one more, and counts it if it may be.
   *
   * @param limit  at least 1
   * @param nowMs  never less than on an earlier call
   * @returns 0: it may be; else the milliseconds until it may be asked for again, at most 1000
   */
  take(limit: number, nowMs: number): number {
    const waitMs = this.waitMs(limit, nowMs);
    if (waitMs > 0) return waitMs;
    if (nowMs - this.#startedMs >= SECOND_MS) {
      this.#startedMs = nowMs;
      this.#count = 0;
    }
    this.#count++;
    return 0;
  }

  /** As `take`, and counts nothing. */
  waitMs(limit: number, nowMs: number): number {
    const elapsedMs = nowMs - this.#startedMs;
    return elapsedMs >= SECOND_MS || this.#count < limit ? 0 : Math.max(1, Math.ceil(SECOND_MS - elapsedMs));
  }
}

/** Counts what comes from each address. Remembers at most 10000 addresses, and those no longer than a second. */
export class AddressRates {
  readonly #maxAddresses: number;
  readonly #counts = new Map<string, number>();
  #startedMs = -SECOND_MS;

  /** @param maxAddresses  beyond it the one that was seen first is forgotten. Default 10000. */
  constructor(maxAddresses = MAX_ADDRESSES) {
    this.#maxAddresses = maxAddresses;
  }

  /** Addresses that are remembered. */
  get size(): number {
    return this.#counts.size;
  }

  /**
   * Asks for one more of `address`, and counts it if it may be.
   *
   * @param limit  of one address within a second; at least 1
   * @param nowMs  never less than on an earlier call
   */
  take(address: string, limit: number, nowMs: number): boolean {
    if (nowMs - this.#startedMs >= SECOND_MS) {
      this.#counts.clear();
      this.#startedMs = nowMs;
    }
    const count = this.#counts.get(address) ?? 0;
    if (count >= limit) return false;
    if (count === 0 && this.#counts.size >= this.#maxAddresses) this.#forgetFirst();
    this.#counts.set(address, count + 1);
    return true;
  }

  #forgetFirst(): void {
    for (const address of this.#counts.keys()) {
      this.#counts.delete(address);
      return;
    }
  }
}
