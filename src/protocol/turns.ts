/**
 * Spreads a burst of work over turns of the event loop. Thousands of clients may leave at once, and others must not
 * wait for all of them.
 */

import { asHost } from "../system/leave-graph";

/** Work that may wait for a turn of its own. */
export interface TurnTaker {
  /** Called once for each call of `takeInTurn`. */
  takeTurn(): void;
}

/** At most this many are served in one turn of the loop. Each takes about 30 us, most of it in the kernel. */
const PER_TURN = 64;
/** While there is no queue, PER_TURN are served at once in this time: a few alone need not wait. In milliseconds. */
const WINDOW_MS = 5;

/** First come, first served. */
export class Turns {
  #queue: TurnTaker[] = [];
  /** Index of the next in the queue. */
  #next = 0;
  #served = 0;
  #windowStart = 0;
  readonly #now: () => number;

  /** @param now  the time. In milliseconds */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Serves it now, or in a later turn if many come. */
  take(taker: TurnTaker): void {
    if (this.#queue.length > 0) return void this.#queue.push(taker);
    const now = this.#now();
    if (now - this.#windowStart >= WINDOW_MS) {
      this.#windowStart = now;
      this.#served = 0;
    }
    if (++this.#served <= PER_TURN) return taker.takeTurn();
    this.#queue.push(taker);
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    const end = Math.min(this.#queue.length, this.#next + PER_TURN);
    const isLast = end === this.#queue.length;
    // Update the queue before the work: an error must not stop the rest.
    const takers = this.#queue.slice(this.#next, end);
    this.#next = isLast ? 0 : end;
    if (isLast) this.#queue = [];
    else setImmediate(() => this.#turn());
    for (const taker of takers) taker.takeTurn();
  }
}

const turns = new Turns(() => performance.now());

/** All connections of this thread take their turns from one queue. */
export function takeInTurn(taker: TurnTaker): void {
  turns.take(taker);
}

/** The most pieces, or bytes, of a reply written within one turn of the loop. */
const PIECES_PER_TURN = 256;
const BYTES_PER_TURN = 1_048_576;

/**
 * Makes a writer of many pieces return to the event loop from time to time. Otherwise a source that always has the next
 * piece, with a client that takes each at once, would block all others for ever.
 */
export class WriteTurns {
  #pieces = 0;
  #bytes = 0;

  /** Call it for each piece. @returns whether it is time for `nextTurn` */
  count(bytes: number): boolean {
    this.#bytes += bytes;
    if (++this.#pieces < PIECES_PER_TURN && this.#bytes < BYTES_PER_TURN) return false;
    this.#pieces = 0;
    this.#bytes = 0;
    return true;
  }
}

/**
 * Calls `fn` when no more microtasks wait, still before the next event of the loop: what all that has settled meanwhile
 * has to say can then be said at once.
 */
export function afterMicrotasks(fn: () => void): void {
  // A tick that is asked for within a microtask comes behind all of them; any other comes before them.
  asHost(() => queueMicrotask(() => process.nextTick(fn)));
}

/** Resolves in the next turn of the event loop. */
export function nextTurn(): Promise<void> {
  return asHost(() => new Promise((resolve) => setImmediate(resolve)));
}
