/**
 * Which of many equal failures are told: a broken handler under load must neither fill the disk nor hide what else happens. Pure: the
 * time is handed in.
 */

/** What makes failures equal. */
export interface ThrottledFailure {
  readonly module: string;
  readonly generation: number;
  /** Only its first line counts. */
  readonly text: string;
}

/** Failures that were not told. */
export interface SuppressedFailures {
  readonly count: number;
  /** The time in which they came: a second or a little more. In milliseconds. */
  readonly overMs: number;
  /** null: of too many kinds to tell apart. */
  readonly failure: ThrottledFailure | null;
}

export interface LogThrottleLimits {
  /** Equal failures within a second that are told. Default 10. */
  readonly perSecond?: number;
  /** Kinds that are told apart; a peer can make many, if its bytes are in the message. Default 100. */
  readonly maxKinds?: number;
}

const WINDOW_MS = 1000;

interface Kind {
  readonly failure: ThrottledFailure;
  readonly startedAtMs: number;
  count: number;
}

export class LogThrottle {
  readonly #perSecond: number;
  readonly #maxKinds: number;
  /** In the order in which their seconds began. */
  readonly #kinds = new Map<string, Kind>();
  #others = 0;
  #othersSinceMs = 0;

  constructor({ perSecond = 10, maxKinds = 100 }: LogThrottleLimits = {}) {
    this.#perSecond = perSecond;
    this.#maxKinds = maxKinds;
  }

  /** @returns whether to tell it. Call `flush` each second, for what is not. */
  admit(failure: ThrottledFailure, nowMs: number): boolean {
    const text = firstLine(failure.text);
    const key = `${failure.module} v${failure.generation} ${text}`;
    const kind = this.#kinds.get(key);
    if (kind !== undefined) return ++kind.count <= this.#perSecond;
    if (this.#kinds.size >= this.#maxKinds) {
      if (this.#others++ === 0) this.#othersSinceMs = nowMs;
      return false;
    }
    this.#kinds.set(key, { failure: { ...failure, text }, startedAtMs: nowMs, count: 1 });
    return true;
  }

  /**
   * @param isEnd there is no next second: those that are not over count too
   * @returns what was left out of the seconds that are over; each is returned once, and then told anew
   */
  flush(nowMs: number, isEnd = false): SuppressedFailures[] {
    const suppressed: SuppressedFailures[] = [];
    for (const [key, { failure, startedAtMs, count }] of this.#kinds) {
      if (!isEnd && nowMs - startedAtMs < WINDOW_MS) break;
      this.#kinds.delete(key);
      if (count > this.#perSecond) suppressed.push({ count: count - this.#perSecond, overMs: nowMs - startedAtMs, failure });
    }
    if (this.#others > 0) suppressed.push({ count: this.#others, overMs: nowMs - this.#othersSinceMs, failure: null });
    this.#others = 0;
    return suppressed;
  }
}

/** `… 4,812 more like it in the last second: TypeError: x is not a function` */
export function suppressedText({ count, overMs, failure }: SuppressedFailures): string {
  const seconds = Math.round(overMs / 1000);
  const during = `in the last ${seconds > 1 ? `${seconds} seconds` : "second"}`;
  const number = count.toLocaleString("en-US");
  return failure === null
    ? `… ${number} more failure${count === 1 ? "" : "s"}, of many kinds, ${during}`
    : `… ${number} more like it ${during}: ${failure.text}`;
}

function firstLine(text: string): string {
  const end = text.indexOf("\n");
  return end < 0 ? text : text.slice(0, end);
}
