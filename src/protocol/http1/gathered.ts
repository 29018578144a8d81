/**
 * Gathers bytes that come in parts of any size, in little more memory than the bytes need. A typed array costs some
 * hundred bytes besides its content, and a view keeps the whole read in memory. A client chooses both sizes.
 */

/** A part of this size is kept without a copy, if it is most of its buffer. In bytes. */
const MIN_KEPT_BYTES = 4096;
const FIRST_TAIL_BYTES = 256;
const MAX_TAIL_BYTES = 65_536;

const EMPTY = new Uint8Array(0);

/** Joins arrays into a new one. */
function joinBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

export class GatheredBytes {
  /** The length of all parts together. In bytes. */
  length = 0;
  #parts: Uint8Array[] = [];
  /** Small parts, one behind the other, behind all of `#parts`. */
  #tail = EMPTY;
  #tailBytes = 0;

  /** @param part is kept or copied: do not change it */
  add(part: Uint8Array): void {
    if (part.length >= MIN_KEPT_BYTES && part.length * 2 >= part.buffer.byteLength) return this.keep(part);
    this.length += part.length;
    this.#copy(part);
  }

  /** Adds a part without a copy, whatever its size. */
  keep(part: Uint8Array): void {
    this.length += part.length;
    this.#sealTail();
    this.#parts.push(part);
  }

  /**
   * Takes all bytes so far, in order.
   *
   * @returns the added part itself if there was only one: copy it before code that may change it gets it
   */
  take(): Uint8Array {
    this.#sealTail();
    const parts = this.#parts;
    this.#parts = [];
    this.length = 0;
    return parts.length === 1 ? (parts[0] as Uint8Array) : joinBytes(parts);
  }

  clear(): void {
    this.#parts = [];
    this.#tail = EMPTY;
    this.#tailBytes = this.length = 0;
  }

  #copy(part: Uint8Array): void {
    let at = 0;
    while (at < part.length) {
      if (this.#tailBytes === this.#tail.length) this.#makeRoom();
      const end = Math.min(part.length, at + this.#tail.length - this.#tailBytes);
      this.#tail.set(at === 0 && end === part.length ? part : part.subarray(at, end), this.#tailBytes);
      this.#tailBytes += end - at;
      at = end;
    }
  }

  #makeRoom(): void {
    if (this.#tail.length === MAX_TAIL_BYTES) this.#sealTail();
    const grown = new Uint8Array(this.#tail.length === 0 ? FIRST_TAIL_BYTES : this.#tail.length * 2);
    grown.set(this.#tail);
    this.#tail = grown;
  }

  #sealTail(): void {
    if (this.#tailBytes === 0) return;
    // Copy a tail that is less than half full, to free its buffer.
    const isFull = this.#tailBytes * 2 >= this.#tail.length;
    this.#parts.push(isFull ? this.#tail.subarray(0, this.#tailBytes) : this.#tail.slice(0, this.#tailBytes));
    this.#tail = EMPTY;
    this.#tailBytes = 0;
  }
}
