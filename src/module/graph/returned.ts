/** Checks of the values that module code returns: the same in every host, and for every version of HTTP. */

/**
 * Whether the value is a promise. A value that throws when it is checked counts as one: awaiting it rejects with that
 * error. Never throws.
 */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  try {
    return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
  } catch {
    return true;
  }
}

/** @returns a part of a Response's body stream as bytes. Throws a TypeError if it is neither bytes nor text. */
export function toBytes(part: unknown): Uint8Array {
  if (part instanceof Uint8Array) return part;
  if (typeof part === "string") return Buffer.from(part);
  if (ArrayBuffer.isView(part)) return new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
  if (part instanceof ArrayBuffer) return new Uint8Array(part);
  throw new TypeError(
    `A Response's stream gave ${part === null ? "null" : typeof part}. Its parts must be bytes or strings.`,
  );
}

/** Drops a reply that nobody waits for any more, and cancels its source. */
export function discard(value: unknown): void {
  if (value instanceof Response && value.body !== null && !value.body.locked)
    value.body.cancel().catch(() => undefined);
}

/** A reply in parts. */
export type StreamReply = AsyncIterable<string | Uint8Array> | ReadableStream<string | Uint8Array>;

export function isStream(value: unknown): value is StreamReply {
  return (
    typeof value === "object" && value !== null && (Symbol.asyncIterator in value || value instanceof ReadableStream)
  );
}
