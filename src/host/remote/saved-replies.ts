/**
 * Finished replies that a place has not sent yet, in memory that the server shares. If the next handler of the batch
 * never ends and the place is killed, the earlier answers are not lost.
 */
import { labelOf, REPLY_HEADER, type ReplyBatch, SAVED, SHARED_WORDS, type SharedMemory } from "./messages";

const SAVED_BYTES = 65_536;
const START = SHARED_WORDS * 4;
/** call number, kind, length in characters (-1: null). */
const HEADER_BYTES = 12;
/** In the length: the text is a FailureData as JSON. */
const JSON_MARK = 1 << 30;

/** Of a place's shared memory. */
export const SHARED_BYTES = START + SAVED_BYTES;

export function createShared(): SharedMemory {
  return new Int32Array(new SharedArrayBuffer(SHARED_BYTES));
}

/** The place's side. */
export class SavedReplies {
  readonly #shared: SharedMemory;
  readonly #text: Buffer<ArrayBufferLike>;
  #at = START;

  constructor(shared: SharedMemory) {
    this.#shared = shared;
    this.#text = textOf(shared);
  }

  /** @returns false if there is no room: the caller then sends its replies at once */
  add(seq: number, kind: number, value: ReplyBatch[number]): boolean {
    const text = typeof value === "string" ? value : value === null ? "" : JSON.stringify(value);
    const end = this.#at + HEADER_BYTES + ((text.length * 2 + 3) & ~3);
    if (end > this.#text.length) return false;
    const word = this.#at >> 2;
    this.#shared[word] = seq;
    this.#shared[word + 1] = kind;
    this.#shared[word + 2] = value === null ? -1 : typeof value === "string" ? text.length : text.length | JSON_MARK;
    this.#text.ucs2Write(text, this.#at + HEADER_BYTES);
    this.#at = end;
    Atomics.store(this.#shared, SAVED, end - START);
    return true;
  }

  /** They are sent. */
  clear(): void {
    this.#at = START;
    Atomics.store(this.#shared, SAVED, 0);
  }
}

function textOf({ buffer, byteOffset, byteLength }: SharedMemory): Buffer<ArrayBufferLike> {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/**
 * The server's side, once the place is lost.
 *
 * @returns the unsent replies
 * @throws Error if a broken process has written something else there
 */
export function readSaved(shared: SharedMemory): ReplyBatch {
  const text = textOf(shared);
  const end = Math.min(START + Atomics.load(shared, SAVED), text.length);
  const batch: ReplyBatch = Array.from({ length: REPLY_HEADER }, () => 0);
  for (let at = START; at < end;) {
    const word = at >> 2;
    const length = shared[word + 2] ?? -1;
    const chars = length < 0 ? 0 : length & ~JSON_MARK;
    const said = text.ucs2Slice(at + HEADER_BYTES, at + HEADER_BYTES + chars * 2);
    batch.push(
      labelOf(shared[word] ?? 0, shared[word + 1] ?? 0),
      length < 0 ? null : (length & JSON_MARK) === 0 ? said : JSON.parse(said),
    );
    at += HEADER_BYTES + ((chars * 2 + 3) & ~3);
  }
  return batch;
}
