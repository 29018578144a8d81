/**
 * Which of many events are told: what a peer can cause must neither fill the disk, nor hide what else happens, nor push older lines out of
 * the files that are kept. Pure: the time is handed in.
 *
 * The first events of a kind are told. A kind of which more came is one number a second from then on, until a second has passed without
 * it. All kinds of a module together have a burst, which comes back slowly: whoever makes ever new kinds, at whatever pace, has no more.
 */
import type { LogLevel } from "../config/options";

/** What makes events equal. */
export interface ThrottledEvent {
  readonly level: LogLevel;
  /** undefined: it is about none. */
  readonly module?: string | undefined;
  readonly generation?: number | undefined;
  /** Only its first line counts. */
  readonly text: string;
}

/** Events that were not told. */
export interface SuppressedEvents {
  readonly count: number;
  /** The time in which they came: a second or a little more. In milliseconds. */
  readonly overMs: number;
  /** `text` "": they are of too many kinds to tell apart, of which `level` is the gravest. */
  readonly event: ThrottledEvent;
}

export interface LogThrottleLimits {
  /** Equal events that are told before they are counted. Default 10. */
  readonly perKind?: number;
  /** Of one module: events that may be told at once, and kinds that are told apart. A peer can make many if its bytes are in the text. Default 100. */
  readonly burst?: number;
  /** How many of the burst come back each second. Default 5. */
  readonly perSecond?: number;
}

const WINDOW_MS = 1000;
/** Kinds of a module that are summed up one by one at the end of a second. */
const MAX_SUMS = 10;

const GRAVITY: Record<LogLevel, number> = { trace: -1, debug: 0, info: 1, warn: 2, error: 3, critical: 4 };

interface Kind {
  readonly event: ThrottledEvent;
  told: number;
  untold: number;
}

export class LogThrottle {
  readonly #limits: Required<LogThrottleLimits>;
  /** By module. Their number is not for a peer to choose. */
  readonly #sources = new Map<string | undefined, Source>();
  /** null: nothing has come since all was told. */
  #startedAtMs: number | null = null;

  constructor({ perKind = 10, burst = 100, perSecond = 5 }: LogThrottleLimits = {}) {
    this.#limits = { perKind, burst, perSecond };
  }

  /** @returns whether to tell it. Call `flush` each second while `isIdle` is false, for what is not. */
  admit(event: ThrottledEvent, nowMs: number): boolean {
    this.#startedAtMs ??= nowMs;
    let source = this.#sources.get(event.module);
    if (source === undefined) this.#sources.set(event.module, (source = new Source(this.#limits)));
    return source.admit(event);
  }

  /** Whether there is nothing that `flush` would have to look at. */
  get isIdle(): boolean {
    return this.#startedAtMs === null;
  }

  /**
   * @param isEnd there is no next second: one that is not over counts too
   * @returns what was left out of the second that is over, each once; nothing while it is not over
   */
  flush(nowMs: number, isEnd = false): SuppressedEvents[] {
    if (this.#startedAtMs === null) return [];
    const overMs = nowMs - this.#startedAtMs;
    if (overMs < WINDOW_MS && !isEnd) return [];
    const suppressed = [...this.#sources.values()].flatMap((source) => source.takeUntold(overMs));
    for (const [module, source] of this.#sources) if (source.isQuiet) this.#sources.delete(module);
    // What was flooded is watched until its burst is whole again.
    this.#startedAtMs = this.#sources.size === 0 ? null : nowMs;
    return suppressed;
  }
}

/** The events of one module. */
class Source {
  readonly #limits: Required<LogThrottleLimits>;
  readonly #kinds = new Map<string, Kind>();
  /** How many may be told. */
  #room: number;
  /** Not told, and of no kind that is kept apart. */
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

  /** Whether nothing of the last second has to be remembered. */
  get isQuiet(): boolean {
    return this.#kinds.size === 0 && this.#room === this.#limits.burst;
  }

  /** The second is over. */
  takeUntold(overMs: number): SuppressedEvents[] {
    const sums: SuppressedEvents[] = [];
    for (const [key, kind] of this.#kinds) {
      if (kind.untold === 0) {
        this.#kinds.delete(key);
        continue;
      }
      sums.push({ count: kind.untold, overMs, event: kind.event });
      // Its flood may go on: nothing of it is told alone until a second has passed without any.
      kind.told = this.#limits.perKind;
      kind.untold = 0;
    }
    sums.sort((one, other) => other.count - one.count);
    for (const { count, event } of sums.splice(MAX_SUMS)) this.#countOther(event, count);
    if (this.#gravest !== null) sums.push({ count: this.#others, overMs, event: { ...this.#gravest, generation: undefined, text: "" } });
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
