/**
 * Several processes that accept on one descriptor: whichever wakes first takes all that wait, and a burst of
 * connections that then stay would be served by one of them alone.
 */
import { openLibc } from "./libc";

/** With what the kernel adds, about 70 us: long enough for the others to take theirs. */
const YIELD_MICROSECONDS = 20;

/**
 * Lets the other processes accept too. Only while there are more connections than there lately were: where clients come
 * and go as fast as they can, there is nothing to be shared out, and each pause would cost.
 */
export class FairShare {
  readonly #libc = openLibc({ usleep: { args: ["u32"], returns: "i32" } });
  #highest = 0;
  #highestBefore = 0;

  /** A connection was accepted. @param open those of this process, with it */
  grew(open: number): void {
    if (open <= this.#highest || open <= this.#highestBefore) return;
    this.#highest = open;
    // Blocks on purpose: a timer would let this process accept the next one first.
    this.#libc?.usleep(YIELD_MICROSECONDS);
  }

  /** To be called each second or so. */
  forget(open: number): void {
    this.#highestBefore = this.#highest;
    this.#highest = open;
  }
}
