/**
 * A module's own setTimeout and setInterval. They are the standard ones, with two additions: the watchdog knows whose
 * callback runs, and running timers can be counted.
 */
import { type Mark, TIMER } from "./marks";

type TimerFunction = typeof setTimeout | typeof setInterval;
type Callback = (...args: unknown[]) => unknown;

/** From this number of timers on, ended ones are dropped before another is added. */
const FIRST_SWEEP = 256;

export class GraphTimers {
  /** For the graph's globals. */
  readonly globals: { readonly setTimeout: unknown; readonly setInterval: unknown };
  readonly #mark: Mark;
  readonly #timers = new Set<NodeJS.Timeout>();
  #sweepAt = FIRST_SWEEP;

  constructor(mark: Mark) {
    this.#mark = mark;
    this.globals = { setTimeout: this.#wrap(setTimeout), setInterval: this.#wrap(setInterval) };
  }

  /** Timers that are armed now. */
  get armed(): number {
    this.#sweep();
    return this.#timers.size;
  }

  forget(): void {
    this.#timers.clear();
  }

  #wrap(original: TimerFunction): TimerFunction {
    const make = original as (...args: unknown[]) => NodeJS.Timeout;
    const wrapped = (callback: unknown, ...rest: unknown[]): NodeJS.Timeout => {
      // The original refuses a value that is no function.
      const timer =
        typeof callback === "function" ? make(this.#marked(callback as Callback), ...rest) : make(callback, ...rest);
      // A timer made in the host's context, for `context.shared`, does not end with the version.
      if (Bun.ModuleGraph.current !== undefined) this.#keep(timer);
      return timer;
    };
    // Copies its name and its util.promisify form.
    return Object.defineProperties(wrapped, Object.getOwnPropertyDescriptors(original)) as unknown as TimerFunction;
  }

  #marked(callback: Callback): Callback {
    const mark = this.#mark;
    return function (this: unknown, ...args: unknown[]) {
      return mark.run(TIMER, callback.bind(this), args);
    };
  }

  #keep(timer: NodeJS.Timeout): void {
    if (this.#timers.size >= this.#sweepAt) {
      this.#sweep();
      this.#sweepAt = Math.max(FIRST_SWEEP, this.#timers.size * 2);
    }
    this.#timers.add(timer);
  }

  #sweep(): void {
    for (const timer of this.#timers) if (isOver(timer)) this.#timers.delete(timer);
  }
}

/** Whether it has fired for the last time, or was cleared. */
function isOver(timer: NodeJS.Timeout): boolean {
  return (timer as NodeJS.Timeout & { readonly _destroyed?: boolean })._destroyed === true;
}
