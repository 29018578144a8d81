/**
 * The bytes of an unfinished message. Appending is amortised: a peer that sends a long message byte by byte must not
 * make the server copy it once a byte.
 */
export class HeldBytes {
  #buffer: Uint8Array;
  #length: number;
  /** How many of the held bytes the framing has looked at already. */
  scanned = 0;
  /** Not 0: the route was chosen by these many bytes when waiting for a longer key was over. */
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
      // Buffer, not Uint8Array: what is cut from it goes to code that reads latin1 and UTF-8 slices.
      const grown = Buffer.allocUnsafeSlow(
        Math.max(needed, Math.min(this.#buffer.length * 2, this.#buffer.length + 1_048_576), 64),
      );
      grown.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = grown;
    }
    this.#buffer.set(more, this.#length);
    this.#length = needed;
  }

  /** @returns all that is held; valid until the next append */
  view(): Uint8Array {
    return this.#length === this.#buffer.length ? this.#buffer : this.#buffer.subarray(0, this.#length);
  }
}
