/**
 * One after another: what changes files and what reads them must not meet.
 */
export class Turn {
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /** How many are under way or wait. */
  get length(): number {
    return this.#waiting;
  }

  /**
   * @returns what `action` gives; it begins when all before it have ended, well or not. It must not wait for another
   * one's turn.
   */
  run<T>(action: () => Promise<T>): Promise<T> {
    this.#waiting++;
    const done = this.#last.then(action).finally(() => this.#waiting--);
    this.#last = done.catch(() => {});
    return done;
  }
}
