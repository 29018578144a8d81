/** Limits of rates: counts within a second. Pure: the caller passes the time. */

/** In milliseconds. */
const SECOND_MS = 1000;

/** The most addresses remembered within one second. Each belongs to a client that has just connected. */
const MAX_ADDRESSES = 10_000;

/** Counts one peer's events. A second begins with the first event after the last second. */
export class SecondWindow {
  #startedMs = -SECOND_MS;
  #count = 0;

  /**
   * Asks for one more event, and counts it if allowed.
   *
   * @param limit  at least 1
   * @param nowMs  never less than on an earlier call
   * @returns 0: allowed; otherwise the milliseconds until the next attempt, at most 1000
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

  /** Like `take`, without counting. */
  waitMs(limit: number, nowMs: number): number {
    const elapsedMs = nowMs - this.#startedMs;
    return elapsedMs >= SECOND_MS || this.#count < limit ? 0 : Math.max(1, Math.ceil(SECOND_MS - elapsedMs));
  }
}

/** Counts events of each address. Remembers at most 10000 addresses, for a second at most. */
export class AddressRates {
  readonly #maxAddresses: number;
  readonly #counts = new Map<string, number>();
  #startedMs = -SECOND_MS;

  /** @param maxAddresses above it the oldest is forgotten. Default 10000. */
  constructor(maxAddresses = MAX_ADDRESSES) {
    this.#maxAddresses = maxAddresses;
  }

  /** Addresses that are remembered. */
  get size(): number {
    return this.#counts.size;
  }

  /**
   * Asks for one more event of `address`, and counts it if allowed.
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
