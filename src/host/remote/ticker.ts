/** Checks deadlines repeatedly while there are any, with one timer for all. */
import { asHost } from "../../system/leave-graph";

const TICK_MS = 25;

export class Ticker {
  readonly #look: (now: number) => boolean;
  #timer: Timer | null = null;
  #tickedAt = 0;
  #isClosed = false;

  /** @param look gets performance.now() and returns whether to call it again */
  constructor(look: (now: number) => boolean) {
    this.#look = look;
  }

  /** There is a deadline to check. Idempotent. */
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
    // This thread itself was busy. Answers and signs of life may be in its queue: read them first.
    this.#tickedAt = isLate ? Infinity : now;
    if (!isLate && !this.#look(now)) this.#stop();
  };

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
