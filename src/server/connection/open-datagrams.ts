/** The datagrams whose replies are still owed, for a drain that waits for them. */

export class OpenDatagrams {
  /** How many. */
  count = 0;
  #onAnswered: (() => void)[] = [];
  #endDrain: (() => void) | null = null;

  begin(): void {
    this.count++;
  }

  /** One has its reply, or gets none. */
  end(): void {
    if (--this.count > 0) return;
    const waiters = this.#onAnswered;
    this.#onAnswered = [];
    for (const wake of waiters) wake();
  }

  /** Calls `fn` when none is open: now, or behind the last reply. */
  whenAnswered(fn: () => void): void {
    if (this.count === 0) fn();
    else this.#onAnswered.push(fn);
  }

  /** Waits for the last reply, or for `cut`. @param ms 0: no limit */
  async drain(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#endDrain = resolve;
    this.whenAnswered(resolve);
    const timer = ms === 0 ? undefined : setTimeout(resolve, ms);
    await promise;
    clearTimeout(timer);
  }

  /** Nobody waits any longer. */
  cut(): void {
    this.#endDrain?.();
  }
}
