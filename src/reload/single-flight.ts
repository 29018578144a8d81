/**
 * One at a time, and one more: what is asked for while a run is under way is joined into one run after it, and
 * everybody gets the result of the run that covered their wish.
 */

interface Waiting<W, R> {
  wish: W;
  readonly done: PromiseWithResolvers<R>;
}

export class SingleFlight<W, R> {
  readonly #run: (wish: W) => Promise<R>;
  readonly #join: (earlier: W, later: W) => W;
  #isRunning = false;
  #next: Waiting<W, R> | null = null;

  /**
   * @param run   never called while one of its promises is pending
   * @param join  @returns the wish that covers both
   */
  constructor(run: (wish: W) => Promise<R>, join: (earlier: W, later: W) => W) {
    this.#run = run;
    this.#join = join;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /**
   * @returns what the run came to that began after this call; rejects as it does. Begins at once, within this call, if
   * none is under way.
   */
  request(wish: W): Promise<R> {
    if (!this.#isRunning) return this.#start(wish);
    if (this.#next === null) this.#next = { wish, done: Promise.withResolvers() };
    else this.#next.wish = this.#join(this.#next.wish, wish);
    return this.#next.done.promise;
  }

  async #start(wish: W): Promise<R> {
    this.#isRunning = true;
    try {
      return await this.#run(wish);
    } finally {
      this.#isRunning = false;
      const next = this.#next;
      this.#next = null;
      if (next !== null) this.#start(next.wish).then(next.done.resolve, next.done.reject);
    }
  }
}
