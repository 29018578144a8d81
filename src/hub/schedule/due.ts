/** When a task is due: decisions of the clock's time alone. Pure. */
import type { When } from "../../module/shape/when";

/**
 * A run that was due so shortly ago is not lost, whatever `catchUp` says: one process of the server takes over from
 * another, the server restarts, or an exclusive reload is under way.
 */
const GRACE_MS = 10_000;
/** A clock that is set back by less is waited for: it repeats no run. One that is set back further counts anew. */
const BACK_MS = 60_000;

/** What is known about a task from before. Times in milliseconds since 1970. */
interface Past {
  /** Due times up to this one are done with. */
  readonly mark: number;
  /** The `when` and time zone that it is about. */
  readonly when: string;
}

/**
 * @param past null: the task is new
 * @param when the task's `when` and time zone now
 * @returns the time behind which the task is due again
 */
export function resumedMark(past: Past | null, when: string, catchUp: boolean, nowMs: number): number {
  if (past === null || past.when !== when || past.mark > nowMs + BACK_MS) return nowMs;
  return catchUp ? past.mark : Math.max(past.mark, nowMs - GRACE_MS);
}

/** The due times of one task. However many have passed, they are one run. */
export class DueTimes {
  readonly #when: When;
  #mark: number;
  #nextAt: number | null;

  /** @param mark by `resumedMark` */
  constructor(when: When, mark: number) {
    this.#when = when;
    this.#mark = mark;
    this.#nextAt = when.next(mark);
  }

  /** Due times up to this one are done with. */
  get mark(): number {
    return this.#mark;
  }

  /** null: none is to come. */
  get nextAt(): number | null {
    return this.#nextAt;
  }

  /** @returns the first due time that has passed since the last look; null: none has. It is done with then */
  take(nowMs: number): number | null {
    if (this.#mark > nowMs + BACK_MS) this.#moveTo(nowMs);
    const dueAt = this.#nextAt;
    if (dueAt === null || dueAt > nowMs) return null;
    this.#moveTo(nowMs);
    return dueAt;
  }

  #moveTo(mark: number): void {
    this.#mark = mark;
    this.#nextAt = this.#when.next(mark);
  }
}
