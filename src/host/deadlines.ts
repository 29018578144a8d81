/**
 * One clock for all deadlines of a server: idle, prefix, message, write and handler. Arming costs one Set insertion and
 * no timer; far deadlines are looked at once a second, near ones every 20 ms and only while there are any.
 */

import { asHost } from "../system/leave-graph";

/** An object that can be late. The wheel owns `deadlineAt`. */
export interface Deadline {
  /** On the wheel's clock, in milliseconds; 0: not armed. */
  deadlineAt: number;
  /** The deadline has passed; it is no longer armed. Must not throw. */
  expired(): void;
}

const NEAR_TICK_MS = 20;
const FAR_TICK_MS = 1000;

export class DeadlineWheel {
  /** Milliseconds since the wheel was made, as of the last tick: at most a second old. */
  now = 1;
  readonly #startedAt = performance.now();
  readonly #near = new Set<Deadline>();
  readonly #far = new Set<Deadline>();
  readonly #farTimer: ReturnType<typeof setInterval>;
  #nearTimer: ReturnType<typeof setInterval> | null = null;
  readonly #onSecond: () => void;

  /** @param onSecond called at each far tick, for other work of each second */
  constructor(onSecond: () => void = () => {}) {
    this.#onSecond = onSecond;
    this.#farTimer = setInterval(() => this.#tickFar(), FAR_TICK_MS);
  }

  /**
   * Arms or re-arms. `ms` of 0 disarms. Fires at the earliest after `ms`, at the latest 20 ms later on an idle loop.
   */
  arm(deadline: Deadline, ms: number): void {
    if (ms <= 0) return this.disarm(deadline);
    this.#readClock();
    deadline.deadlineAt = this.now + Math.ceil(ms);
    if (ms > FAR_TICK_MS) {
      this.#near.delete(deadline);
      this.#far.add(deadline);
    } else this.#addNear(deadline);
  }

  disarm(deadline: Deadline): void {
    if (deadline.deadlineAt === 0) return;
    deadline.deadlineAt = 0;
    this.#near.delete(deadline);
    this.#far.delete(deadline);
  }

  close(): void {
    clearInterval(this.#farTimer);
    if (this.#nearTimer !== null) clearInterval(this.#nearTimer);
    this.#near.clear();
    this.#far.clear();
  }

  #readClock(): void {
    // Whole milliseconds, so that the fields that hold them stay small integers. 0 means "not armed".
    this.now = Math.max(1, Math.round(performance.now() - this.#startedAt));
  }

  #addNear(deadline: Deadline): void {
    this.#far.delete(deadline);
    this.#near.add(deadline);
    // A handler that writes may be on the stack: the timer must not be its module's.
    this.#nearTimer ??= asHost(() => setInterval(() => this.#tickNear(), NEAR_TICK_MS));
  }

  #tickFar(): void {
    this.#readClock();
    this.#onSecond();
    const horizon = this.now + FAR_TICK_MS;
    for (const deadline of this.#far) if (deadline.deadlineAt <= horizon) this.#addNear(deadline);
  }

  #tickNear(): void {
    this.#readClock();
    for (const deadline of this.#near) {
      if (deadline.deadlineAt > this.now) continue;
      this.#near.delete(deadline);
      deadline.deadlineAt = 0;
      deadline.expired();
    }
    if (this.#near.size === 0 && this.#nearTimer !== null) {
      clearInterval(this.#nearTimer);
      this.#nearTimer = null;
    }
  }
}
