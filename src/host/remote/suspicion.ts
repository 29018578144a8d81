/** Whether a place that may be stuck still lives: it is asked, and has until a deadline to answer. */

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

  /** Asks for a sign of life: until then the place has time to give it. The nearest deadline counts. */
  raise(until: number): void {
    if (this.#until === null) this.#ask(++this.#lastPing);
    this.#until = Math.min(this.#until ?? Infinity, until);
  }

  isOverdue(now: number): boolean {
    return this.#until !== null && now >= this.#until;
  }

  /** @returns whether this answers the last question; if so, nothing is suspected any more */
  answered(ping: number): boolean {
    if (ping !== this.#lastPing) return false;
    this.#until = null;
    return true;
  }

  /** There is another place. */
  drop(): void {
    this.#until = null;
  }
}
