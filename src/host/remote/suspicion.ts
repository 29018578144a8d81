/** Finds out whether a place that may be stuck is alive: asks it, and waits for the answer until a deadline. */

export class Suspicion {
  readonly #ask: (ping: number) => void;
  #lastPing = 0;
  /** By performance.now(). null: it is not suspected. */
  #until: number | null = null;

  /** @param ask sends the question with its number */
  constructor(ask: (ping: number) => void) {
    this.#ask = ask;
  }

  get isOpen(): boolean {
    return this.#until !== null;
  }

  /** Asks for a sign of life, with a deadline. The nearest deadline counts. */
  raise(until: number): void {
    if (this.#until === null) this.#ask(++this.#lastPing);
    this.#until = Math.min(this.#until ?? Infinity, until);
  }

  postpone(until: number): void {
    this.#until = until;
  }

  isOverdue(now: number): boolean {
    return this.#until !== null && now >= this.#until;
  }

  /** @returns whether this answers the last question, which ends the suspicion */
  answered(ping: number): boolean {
    if (ping !== this.#lastPing) return false;
    this.#until = null;
    return true;
  }

  /** The place was replaced. */
  drop(): void {
    this.#until = null;
  }
}
