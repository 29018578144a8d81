/**
 * Decides which of many events are logged. A client must not be able to fill the disk, hide other events, or push older
 * lines out of the log files. Pure: the caller passes the time.
 *
 * The first events of a kind are logged. Further ones are counted, with one line a second, until a second passes
 * without any. All kinds of a module share one burst, which refills slowly, so that a client cannot get more lines by
 * causing new kinds.
 */
import type { LogLevel } from "../../config/options";

/** Events with the same fields are of one kind. */
interface ThrottledEvent {
  readonly level: LogLevel;
  /** undefined: the event is about no module. */
  readonly module?: string | undefined;
  readonly generation?: number | undefined;
  /** Only its first line counts. */
  readonly text: string;
}

/** Events that were counted instead of logged. */
interface SuppressedEvents {
  readonly count: number;
  /** The time in which they came: about a second. In milliseconds. */
  readonly overMs: number;
  /** `text` "": too many kinds to list; `level` is the gravest of them. */
  readonly event: ThrottledEvent;
}

interface LogThrottleLimits {
  /** Events of a kind that are logged before counting begins. Default 10. */
  readonly perKind?: number;
  /** Per module: events that may be logged at once, and kinds that are kept apart. Default 100. */
  readonly burst?: number;
  /** How many events the burst regains each second. Default 5. */
  readonly perSecond?: number;
}

const WINDOW_MS = 1000;
/** Kinds of a module that get a line of their own at the end of a second. */
const MAX_SUMS = 10;

const GRAVITY: Record<LogLevel, number> = { trace: -1, debug: 0, info: 1, warn: 2, error: 3, critical: 4 };

interface Kind {
  readonly event: ThrottledEvent;
  told: number;
  untold: number;
}

export class LogThrottle {
  readonly #limits: Required<LogThrottleLimits>;
  /** By module: clients cannot choose their number. */
  readonly #sources = new Map<string | undefined, Source>();
  /** null: no events since the last line. */
  #startedAtMs: number | null = null;

  constructor({ perKind = 10, burst = 100, perSecond = 5 }: LogThrottleLimits = {}) {
    this.#limits = { perKind, burst, perSecond };
  }

  /**
   * @returns true: log the event. false: it was counted. While `isIdle` is false, call `flush` each second for the
   * counts.
   */
  admit(event: ThrottledEvent, nowMs: number): boolean {
    this.#startedAtMs ??= nowMs;
    let source = this.#sources.get(event.module);
    if (source === undefined) this.#sources.set(event.module, (source = new Source(this.#limits)));
    return source.admit(event);
  }

  /** Whether `flush` has nothing to do. */
  get isIdle(): boolean {
    return this.#startedAtMs === null;
  }

  /**
   * @param isEnd true: the log ends, so the second counts as over
   * @returns the counted events of the past second; empty while the second is not over
   */
  flush(nowMs: number, isEnd = false): SuppressedEvents[] {
    if (this.#startedAtMs === null) return [];
    const overMs = nowMs - this.#startedAtMs;
    if (overMs < WINDOW_MS && !isEnd) return [];
    const suppressed = [...this.#sources.values()].flatMap((source) => source.takeUntold(overMs));
    for (const [module, source] of this.#sources) if (source.isQuiet) this.#sources.delete(module);
    // Keep a flooded module until its burst is whole again.
    this.#startedAtMs = this.#sources.size === 0 ? null : nowMs;
    return suppressed;
  }
}

/** The events of one module. */
class Source {
  readonly #limits: Required<LogThrottleLimits>;
  readonly #kinds = new Map<string, Kind>();
  /** How many events may be logged now. */
  #room: number;
  /** Counted events of kinds that are not kept apart. */
  #others = 0;
  #gravest: ThrottledEvent | null = null;

  constructor(limits: Required<LogThrottleLimits>) {
    this.#limits = limits;
    this.#room = limits.burst;
  }

  admit(event: ThrottledEvent): boolean {
    const { perKind, burst } = this.#limits;
    const isRoom = this.#room >= 1;
    const text = firstLine(event.text);
    const key = `${event.level} v${event.generation} ${text}`;
    let kind = this.#kinds.get(key);
    if (kind === undefined) {
      if (!isRoom || this.#kinds.size >= burst) return this.#countOther(event);
      this.#kinds.set(key, (kind = { event: { ...event, text }, told: 0, untold: 0 }));
    }
    if (!isRoom || kind.told >= perKind) {
      kind.untold++;
      return false;
    }
    kind.told++;
    this.#room--;
    return true;
  }

  /** Whether the last second left nothing to remember. */
  get isQuiet(): boolean {
    return this.#kinds.size === 0 && this.#room === this.#limits.burst;
  }

  /** Ends the second. @returns its counted events */
  takeUntold(overMs: number): SuppressedEvents[] {
    const sums: SuppressedEvents[] = [];
    for (const [key, kind] of this.#kinds) {
      if (kind.untold === 0) {
        this.#kinds.delete(key);
        continue;
      }
      sums.push({ count: kind.untold, overMs, event: kind.event });
      // The flood may go on: log no single event of this kind until a second passes without any.
      kind.told = this.#limits.perKind;
      kind.untold = 0;
    }
    sums.sort((one, other) => other.count - one.count);
    for (const { count, event } of sums.splice(MAX_SUMS)) this.#countOther(event, count);
    if (this.#gravest !== null)
      sums.push({ count: this.#others, overMs, event: { ...this.#gravest, generation: undefined, text: "" } });
    const { burst, perSecond } = this.#limits;
    this.#room = Math.min(burst, this.#room + (perSecond * overMs) / 1000);
    this.#others = 0;
    this.#gravest = null;
    return sums;
  }

  #countOther(event: ThrottledEvent, count = 1): false {
    this.#others += count;
    if (this.#gravest === null || GRAVITY[event.level] > GRAVITY[this.#gravest.level]) this.#gravest = event;
    return false;
  }
}

/** `… 4,812 more like it in the last second: TypeError: x is not a function` */
export function suppressedText({ count, overMs, event: { text } }: SuppressedEvents): string {
  const seconds = Math.round(overMs / 1000);
  const during = `in the last ${seconds > 1 ? `${seconds} seconds` : "second"}`;
  const number = count.toLocaleString("en-US");
  return text === ""
    ? `… ${number} more event${count === 1 ? "" : "s"}, of many kinds, ${during}`
    : `… ${number} more like it ${during}: ${text}`;
}

function firstLine(text: string): string {
  const end = text.indexOf("\n");
  return end < 0 ? text : text.slice(0, end);
}
