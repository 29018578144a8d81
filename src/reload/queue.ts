/**
 * One after another: what loads modules, changes their files or the processes that serve them, and what reads all that.
 * None of it may see half of what another one does.
 */
import type { ReloadReport } from "./operations";
import { join, type ReloadOrder } from "./order";

/** A reload whose turn has not come. */
interface Waiting {
  order: ReloadOrder;
  readonly report: Promise<ReloadReport>;
}

export class ReloadQueue {
  readonly #reload: (order: ReloadOrder) => Promise<ReloadReport>;
  #last: Promise<unknown> = Promise.resolve();
  #length = 0;
  #next: Waiting | null = null;

  /** @param reload called in its turn, for orders that were given to `reload` */
  constructor(reload: (order: ReloadOrder) => Promise<ReloadReport>) {
    this.#reload = reload;
  }

  /** How many are under way or wait. */
  get length(): number {
    return this.#length;
  }

  /**
   * @returns what `action` gives; it begins when all before it have ended, well or not. It must not wait for another
   * one's turn.
   */
  run<T>(action: () => Promise<T>): Promise<T> {
    this.#length++;
    const done = this.#last.then(action).finally(() => this.#length--);
    this.#last = done.catch(() => {});
    return done;
  }

  /** @returns the report of a reload that began after this call; orders that wait become one, which covers them all */
  reload(order: ReloadOrder): Promise<ReloadReport> {
    if (this.#next === null) this.#next = { order, report: this.run(() => this.#begin()) };
    else this.#next.order = join(this.#next.order, order);
    return this.#next.report;
  }

  #begin(): Promise<ReloadReport> {
    const { order } = this.#next as Waiting;
    this.#next = null;
    return this.#reload(order);
  }
}
