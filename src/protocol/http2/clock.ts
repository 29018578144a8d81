/** What an HTTP/2 connection waits for: a request, the rest of a header block, the end of a shutdown. */
import type { Wire } from "../wire";

export class ConnectionClock {
  readonly #wire: Wire;
  #lastActiveAt: number = performance.now();
  /** By performance.now(). 0: no header block is cut. */
  #blockSince = 0;
  /** When the wire's deadline is armed for, by performance.now(). 0: it is not. */
  #armedFor = 0;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** A request, a part of its body, or its end: only these are activity. @param now  by performance.now() */
  active(now: number): void {
    this.#lastActiveAt = now;
  }

  /** After each read. @param isInsideBlock  a header block has begun, and its end has not come */
  noteBlock(isInsideBlock: boolean, now: number): void {
    if (!isInsideBlock) this.#blockSince = 0;
    else if (this.#blockSince === 0) {
      this.#blockSince = now;
      const { headMs } = this.#wire.dispatch.timeouts;
      if (headMs > 0) this.#arm(now + headMs);
    }
  }

  /** Waits for the next request. */
  awaitRequest(): void {
    this.#arm(this.#idleAt());
  }

  /** Waits for the answer to a PING. */
  awaitAnswer(ms: number): void {
    this.#armedFor = 0;
    this.#arm(performance.now() + ms);
  }

  /**
   * The wire's deadline has passed.
   *
   * @param isBusy  there are open streams
   * @returns what is late; null: nothing is, and the next deadline is armed
   */
  expired(isBusy: boolean): "block" | "idle" | null {
    this.#armedFor = 0;
    // The wheel fires on whole milliseconds.
    const now = performance.now() + 1;
    const { headMs, idleMs } = this.#wire.dispatch.timeouts;
    if (this.#blockSince !== 0 && headMs > 0) {
      if (this.#blockSince + headMs <= now) return "block";
      this.#arm(this.#blockSince + headMs);
    }
    const idleAt = this.#idleAt();
    if (idleAt === 0) return null;
    if (!isBusy && idleAt <= now) return "idle";
    this.#arm(isBusy ? now + idleMs : idleAt);
    return null;
  }

  #idleAt(): number {
    const { idleMs } = this.#wire.dispatch.timeouts;
    return idleMs === 0 ? 0 : this.#lastActiveAt + idleMs;
  }

  /** Makes sure that `expired` is called at `at` at the latest. For most requests it is not called. */
  #arm(at: number): void {
    if (at === 0 || (this.#armedFor !== 0 && this.#armedFor <= at)) return;
    this.#armedFor = at;
    this.#wire.armDeadline(Math.max(1, Math.ceil(at - performance.now())));
  }
}
