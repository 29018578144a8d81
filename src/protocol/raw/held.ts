/**
 * The bytes of an unfinished message. Appending is amortised: a peer that sends a long message byte by byte must not
 * make the server copy it for each byte.
 */
export class HeldBytes {
  #buffer: Uint8Array;
  #length: number;
  /** How many of the held bytes the framing has seen. */
  scanned = 0;
  /** Not 0: after the wait for a longer key, these bytes have chosen the route. */
  settledBytes = 0;
  /** The first line was judged: the message is not HTTP, whatever follows. */
  isNotHttp = false;

  /** @param bytes not copied until more arrives */
  constructor(bytes: Uint8Array) {
    this.#buffer = bytes;
    this.#length = bytes.length;
  }

  get length(): number {
    return this.#length;
  }

  append(more: Uint8Array): void {
    const needed = this.#length + more.length;
    if (needed > this.#buffer.length) {
      // Buffer, not Uint8Array: its parts go to code that reads latin1 and UTF-8 slices.
      const grown = Buffer.allocUnsafeSlow(
        Math.max(needed, Math.min(this.#buffer.length * 2, this.#buffer.length + 1_048_576), 64),
      );
      grown.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = grown;
    }
    this.#buffer.set(more, this.#length);
    this.#length = needed;
  }

  /** @returns all held bytes; valid until the next append */
  view(): Uint8Array {
    return this.#length === this.#buffer.length ? this.#buffer : this.#buffer.subarray(0, this.#length);
  }
}
