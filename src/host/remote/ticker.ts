/** Looks at deadlines again and again, as long as there are any: one timer for all of them. */
import { asHost } from "../../module/graph/leave-graph";

const TICK_MS = 25;

export class Ticker {
  readonly #look: (now: number) => boolean;
  #timer: Timer | null = null;
  #tickedAt = 0;
  #isClosed = false;

  /** @param look  gets performance.now() and returns whether it is to be called again */
  constructor(look: (now: number) => boolean) {
    this.#look = look;
  }

  /** There is something to look at. Idempotent. */
  start(): void {
    if (this.#timer !== null || this.#isClosed) return;
    this.#tickedAt = performance.now();
    this.#timer = asHost(() => setInterval(this.#tick, TICK_MS));
  }

  close(): void {
    this.#isClosed = true;
    this.#stop();
  }

  readonly #tick = (): void => {
    const now = performance.now();
    const isLate = now - this.#tickedAt > 3 * TICK_MS;
    // This thread was busy itself. Answers and signs of life may lie in its own queue: they are looked at first.
    this.#tickedAt = isLate ? Infinity : now;
    if (!isLate && !this.#look(now)) this.#stop();
  };

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
