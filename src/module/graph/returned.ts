/**
 * What module code hands back, looked at in the same way wherever it runs: in this thread, on the pool, over any
 * version of HTTP.
 */

/**
 * Whether it has to be waited for. What throws when it is looked at counts: waiting for it rejects with that. Never
 * throws.
 */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  try {
    return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
  } catch {
    return true;
  }
}

/** @returns a part of a Response's body stream as bytes. Throws a TypeError for what is neither bytes nor text. */
export function toBytes(part: unknown): Uint8Array {
  if (part instanceof Uint8Array) return part;
  if (typeof part === "string") return Buffer.from(part);
  if (ArrayBuffer.isView(part)) return new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
  if (part instanceof ArrayBuffer) return new Uint8Array(part);
  throw new TypeError(
    `A Response's stream gave ${part === null ? "null" : typeof part}. Its parts must be bytes or strings.`,
  );
}

/** A reply that nobody waits for any more: its source is told. */
export function discard(value: unknown): void {
  if (value instanceof Response && value.body !== null && !value.body.locked)
    value.body.cancel().catch(() => undefined);
}
