/**
 * Runs one after another all work that loads modules, changes their files or processes, or reads their state. No work
 * may see half of another's changes.
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

  /** @param reload called in turn, for the orders given to `reload` */
  constructor(reload: (order: ReloadOrder) => Promise<ReloadReport>) {
    this.#reload = reload;
  }

  /** How many are under way or wait. */
  get length(): number {
    return this.#length;
  }

  /**
   * @returns the result of `action`, which begins when all earlier ones have ended. It must not wait for another turn.
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
