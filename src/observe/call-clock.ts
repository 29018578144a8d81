/**
 * The clock that calls are timed by. A reading costs as much as a hundredth of a cheap call, so the messages that one read of a
 * socket brought share readings: where one call ends, the next begins.
 */

let isShared = false;
/** The last reading, as long as it is the next call's beginning. 0: there is none. */
let sharedAt = 0;

/** From here to `unshareClock` nothing is waited for. */
export function shareClock(): void {
  isShared = true;
  sharedAt = 0;
}

export function unshareClock(): void {
  isShared = false;
  sharedAt = 0;
}

/** A message is about to be handled. @returns milliseconds, by performance.now(); never 0 */
export function callBegins(): number {
  return sharedAt === 0 ? performance.now() : sharedAt;
}

/** Its reply was handed over. @returns milliseconds, by performance.now() */
export function callEnds(): number {
  const now = performance.now();
  if (isShared) sharedAt = now;
  return now;
}
