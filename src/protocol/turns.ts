/**
 * Spreads work that comes in crowds over turns of the event loop: 19,000 clients that leave at once must not keep the others waiting
 * until the last of them is dealt with.
 */

/** Work that may wait for a turn of its own. */
export interface TurnTaker {
  /** Called once for each time it was handed to `takeInTurn`. */
  takeTurn(): void;
}

/** As many are served within one turn of the loop. Each takes some 30 us, most of it in the kernel. */
const PER_TURN = 64;
/** Without a queue, as many are served at once within so many milliseconds: who is no crowd waits for nobody. */
const WINDOW_MS = 5;

/** First come, first served. */
export class Turns {
  #queue: TurnTaker[] = [];
  /** Where the queue goes on. */
  #next = 0;
  #served = 0;
  #windowStart = 0;
  readonly #now: () => number;

  /** @param now  in milliseconds */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Serves it now, or in one of the next turns where many come. */
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
    // Before the work: what throws must not stop those behind it.
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
