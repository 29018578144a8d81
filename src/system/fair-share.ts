/**
 * Several processes accept on one descriptor. The first to wake takes all waiting clients, so one process alone would
 * serve a burst of long connections.
 */
import { openLibc } from "./libc";

/** About 70 us with the kernel's share: long enough for the others to take theirs. */
const YIELD_MICROSECONDS = 20;

/**
 * Lets the other processes accept too. Pauses only while the number of connections grows beyond its recent level: short
 * connections spread by themselves, and each pause costs time.
 */
export class FairShare {
  readonly #libc = openLibc({ usleep: { args: ["u32"], returns: "i32" } });
  #highest = 0;
  #highestBefore = 0;

  /** A connection was accepted. @param open the number of this process's connections, this one included */
  grew(open: number): void {
    if (open <= this.#highest || open <= this.#highestBefore) return;
    this.#highest = open;
    // Blocks on purpose: a timer would let this process accept the next one first.
    this.#libc?.usleep(YIELD_MICROSECONDS);
  }

  /** Call it about once a second. */
  forget(open: number): void {
    this.#highestBefore = this.#highest;
    this.#highest = open;
  }
}
