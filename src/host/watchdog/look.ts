/** Decides whether the event loop is blocked, and by whom. Pure, except for the memory that it reads. */
import { escapeText } from "../../observe/log/format";
import type { LogFields } from "../../observe/log/fields";
import { type MarkedModule, MODULE, NO_ROUTE, ROUTE, TIMER, underWay, WORK } from "../../module/graph/marks";
import type { Culprit, Unblocked } from "./messages";

/** The most characters of a route's key in a message. */
const MAX_KEY = 40;

/** Adds up how long the main thread has not beaten. */
export class StallClock {
  #lastBeat: number | null = null;
  #stalledMs = 0;

  /**
   * Looks at the beat.
   *
   * @param elapsedMs since the look before
   * @param stepMs the intended time between looks. After a much longer time the watchdog stood still too: the machine
   *   was suspended or is too busy, and no module is to blame.
   * @param waitedMs how long in that time the main thread was ready but got no processor: the machine is to blame, and
   *   not a module
   * @returns the least time without a beat; 0: there may have been one
   */
  look(beat: number, elapsedMs: number, stepMs: number, waitedMs: number): number {
    if (beat === this.#lastBeat) this.#stalledMs += Math.max(0, Math.min(elapsedMs, 2 * stepMs) - waitedMs);
    else this.#stalledMs = 0;
    this.#lastBeat = beat;
    // The next beat was not due before a step had passed.
    return Math.max(0, this.#stalledMs - stepMs);
  }
}

/** The modules seen on the stack while the event loop stood still. */
export class Suspects {
  readonly #seen = new Map<string, { readonly number: number; readonly route: number; count: number }>();

  note(marks: Int32Array): void {
    const number = Atomics.load(marks, MODULE);
    const route = Atomics.load(marks, ROUTE);
    const key = `${number} ${route}`;
    const known = this.#seen.get(key);
    if (known === undefined) this.#seen.set(key, { number, route, count: 1 });
    else known.count++;
  }

  forget(): void {
    this.#seen.clear();
  }

  /** @param modules by number */
  culprit(marks: Int32Array, modules: ReadonlyMap<number, MarkedModule>): Culprit {
    const [top] = [...this.#seen.values()].sort((a, b) => b.count - a.count);
    const known = modules.get(top?.number ?? 0);
    if (known !== undefined) return named(known, whatOf(known, top?.route ?? NO_ROUTE));
    const worked = modules.get(Atomics.load(marks, WORK));
    if (worked !== undefined) return named(worked, "its top level, setup, check, handoff or dispose");
    const candidates = underWay(marks).flatMap((number) => modules.get(number) ?? []);
    const [only] = candidates;
    if (only !== undefined && candidates.length === 1)
      return named(only, "a handler that went on after an await, it seems,");
    const names = candidates.map(({ module, generation }) => `${module} v${generation}`);
    return { module: null, generation: 0, what: "", candidates: names };
  }
}

/**
 * One block of the event loop, from the first line about it. Its culprit may change while it lasts: the server itself has
 * blocked the loop, and a handler goes on with it before the next beat.
 */
export class Block {
  readonly #told = new Set<string>();
  #culprit: Culprit;
  /** The stall when the culprit began, and when it was last seen. In milliseconds. */
  #fromMs = 0;
  #seenMs: number;

  /** @param stalledMs how long the event loop has stood still; so for the methods, too */
  constructor(culprit: Culprit, stalledMs: number) {
    this.#culprit = culprit;
    this.#seenMs = stalledMs;
    this.#told.add(nameOf(culprit));
  }

  /** @returns whether others have had the time to block the loop since the culprit was last seen */
  isDue(stalledMs: number, blockedMs: number): boolean {
    return isLong(stalledMs - this.#seenMs, blockedMs);
  }

  /**
   * Notes the code that was on the stack most since the last time.
   *
   * @returns `ended`: the culprit before it, if it is another one; `isNew`: the block has not told of it yet
   */
  next(culprit: Culprit, stalledMs: number): { readonly ended: Unblocked | null; readonly isNew: boolean } {
    const name = nameOf(culprit);
    const ended = name === nameOf(this.#culprit) ? null : this.end(this.#seenMs);
    if (ended !== null) this.#fromMs = this.#seenMs;
    this.#culprit = culprit;
    this.#seenMs = stalledMs;
    const isNew = !this.#told.has(name);
    this.#told.add(name);
    return { ended, isNew };
  }

  /** @returns the present culprit, and its time until the stall was `stalledMs` */
  end(stalledMs: number): Unblocked {
    return { culprit: this.#culprit, ms: stalledMs - this.#fromMs };
  }
}

function nameOf({ module, generation, what }: Culprit): string {
  return module === null ? "" : `${module} ${generation} ${what}`;
}

/** @returns whether code that blocked for so long is told. Timers may fire some milliseconds early or late */
export function isLong(ms: number, blockedMs: number): boolean {
  return ms >= blockedMs * 0.98;
}

function whatOf({ routes }: MarkedModule, route: number): string {
  if (route === TIMER) return "a timer";
  const key = routes[route];
  return key === undefined ? "its code" : `"${escapeText(key, false).slice(0, MAX_KEY)}"`;
}

function named({ module, generation }: MarkedModule, what: string): Culprit {
  return { module, generation, what, candidates: [] };
}

/** @returns the fields of the log's events about it */
export function fieldsOf({ module, generation }: Culprit): LogFields {
  return module === null ? {} : { module, generation };
}

/** @returns the event during a block */
export function blockedText(culprit: Culprit, ms: number): string {
  const { module } = culprit;
  const what = whatBlocks(culprit);
  const remedy =
    module === null
      ? ""
      : '. It cannot be stopped here: give slow routes run: "pool" or run: "process", where their deadline ends them';
  return `${what} has been blocking the event loop for ${seconds(ms)} s, and nobody is answered meanwhile${remedy}`;
}

/** @returns the culprit's name: `"SLOW "`, a timer, or a guess */
export function whatBlocks(culprit: Culprit): string {
  return culprit.module === null ? unknownText(culprit) : culprit.what;
}

/** @returns the event after a block */
export function unblockedText(culprit: Culprit, ms: number): string {
  return `${whatBlocks(culprit)} blocked the event loop for ${seconds(ms)} s`;
}

function unknownText({ candidates }: Culprit): string {
  if (candidates.length === 0)
    return "something that is no handler (a framing function or a listener of a module, or the server itself)";
  return `a handler that went on after an await, of ${candidates.join(" or ")}, it seems,`;
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}
