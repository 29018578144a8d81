/** Which process of a server is its background process. Pure. */

/** A living process. */
interface Electable {
  readonly slot: number;
  /** It serves. */
  readonly isReady: boolean;
  /** It was told to end. */
  readonly isLeaving: boolean;
  /** It ends, and has given the role up. */
  readonly hasReleased: boolean;
}

/**
 * Chooses a new background process, once the one before is gone or has given the role up. A living one keeps it: each
 * move costs the modules a stop and a start.
 *
 * @param holder the process that has the role; null: none
 * @returns the process that has it from now on: the ready one with the lowest slot. null: there is none
 */
export function electBackground<T extends Electable>(holder: T | null, living: Iterable<T>): T | null {
  if (holder !== null) return holder;
  const able = [...living].filter(({ isReady, isLeaving, hasReleased }) => isReady && !isLeaving && !hasReleased);
  return able.reduce<T | null>((lowest, each) => (lowest === null || each.slot < lowest.slot ? each : lowest), null);
}
