/**
 * A module's own setTimeout and setInterval. They are the standard ones; besides, what their callbacks do is known to
 * be the module's, and what it leaves running can be counted.
 */
import { type Mark, TIMER } from "./running";

type TimerFunction = typeof setTimeout | typeof setInterval;
type Callback = (...args: unknown[]) => unknown;

/** Of so many timers on, those that are over are forgotten before one more is kept. */
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
      // What is no function is for the original to refuse.
      const timer =
        typeof callback === "function" ? make(this.#marked(callback as Callback), ...rest) : make(callback, ...rest);
      // One that is made in the host's context, for `context.shared`, does not go with the version.
      if (Bun.ModuleGraph.current !== undefined) this.#keep(timer);
      return timer;
    };
    // Its name, and what util.promisify makes of it.
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

/** As Node has it: fired for the last time, or cleared, by whatever way. */
function isOver(timer: NodeJS.Timeout): boolean {
  return (timer as NodeJS.Timeout & { readonly _destroyed?: boolean })._destroyed === true;
}
