/** Decides when a task is due, from clock times only. Pure. */
import type { When } from "../../module/shape/when";

/**
 * A run that was due at most this long ago is made up, also without `catchUp`: it was missed while another process took
 * over, the server restarted, or an exclusive reload was under way.
 */
const GRACE_MS = 10_000;
/** If the clock is set back by less, tasks wait for it, and no run is repeated. If further, due times count anew. */
const BACK_MS = 60_000;

/** The recorded state of a task. Times in milliseconds since 1970. */
interface Past {
  /** All due times up to this one are handled. */
  readonly mark: number;
  /** The `when` and time zone that it belongs to. */
  readonly when: string;
}

/**
 * @param past null: the task is new
 * @param when the task's `when` and time zone now
 * @returns the time after which the task is due again
 */
export function resumedMark(past: Past | null, when: string, catchUp: boolean, nowMs: number): number {
  if (past === null || past.when !== when || past.mark > nowMs + BACK_MS) return nowMs;
  return catchUp ? past.mark : Math.max(past.mark, nowMs - GRACE_MS);
}

/** The due times of one task. Several due times that have passed make one run. */
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

  /** All due times up to this one are handled. */
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
