/**
 * Whether a page is read in this thread or in another one. Here it costs a third as much, as long as the database is in
 * memory. When the disk is slow, all clients would wait for it. Pure.
 */

/** A page that took so long here sends the next ones to a thread. In milliseconds. */
const SLOW_MS = 10;
/** For so long; then the next page is tried here again. In milliseconds. */
const APART_MS = 1000;

export class PagePlace {
  #apartUntil = 0;

  /** @param now by `performance.now()` */
  isApart(now: number): boolean {
    return now < this.#apartUntil;
  }

  /** A page was read here. @param began  and `now` by `performance.now()` */
  wasHere(began: number, now: number): void {
    if (now - began >= SLOW_MS) this.#apartUntil = now + APART_MS;
  }
}
