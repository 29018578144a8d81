/** Remembers how streams have ended: late frames of some are ignored, and of others an error (RFC 9113 section 5.1). */

/** How many resets, and ranges of numbers that were skipped, are remembered. */
const MAX_REMEMBERED = 1000;
const MAX_RANGES = 32;

/**
 * "reset": by us; its client's frames may have been on their way. "left": by its client. "skipped": it was never open,
 * but a later one was. "ended": both sides were complete.
 */
type HowClosed = "reset" | "left" | "skipped" | "ended";

export class ClosedStreams {
  /** null: there were none. Most connections have none, and are idle. */
  #resets: Map<number, "reset" | "left"> | null = null;
  /** Numbers between those of two streams, both ends excluded. */
  #ranges: [above: number, below: number][] | null = null;

  /** We have reset a stream. */
  reset(id: number): void {
    this.#remember(id, "reset");
  }

  /** Its client has reset a stream. */
  left(id: number): void {
    this.#remember(id, "left");
  }

  /** A stream was opened. @param before  the one that was opened before it */
  skip(before: number, id: number): void {
    if (id <= before + 2) return;
    const ranges = (this.#ranges ??= []);
    if (ranges.length >= MAX_RANGES) ranges.shift();
    ranges.push([before, id]);
  }

  /** @param id  of a stream that is not open, and not above the last one */
  howClosed(id: number): HowClosed {
    const reset = this.#resets?.get(id);
    if (reset !== undefined) return reset;
    return this.#ranges?.some(([above, below]) => id > above && id < below) === true ? "skipped" : "ended";
  }

  #remember(id: number, how: "reset" | "left"): void {
    const resets = (this.#resets ??= new Map());
    if (resets.size >= MAX_REMEMBERED) resets.delete(resets.keys().next().value as number);
    resets.set(id, how);
  }
}
