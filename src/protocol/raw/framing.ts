/** Finds the end of a raw message (docs/modules.md). Pure: bytes in, an offset out. */
import type { Framing, LengthPrefix } from "../../module/contract";
import { NEED_MORE } from "../../router/match";

/** The author's framing function answers this while later bytes could still change it (contract.d.ts). */
const AUTHOR_NEED_MORE = -1;
const LF = 10;
const CR = 13;

/** A message without a usable length: the start of the next one is not known, so the connection ends. */
export class FramingError extends Error {}

/**
 * @param framing  the route's framing
 * @param keyBytes length of the route's key in bytes: the default offset of a length prefix
 * @param bytes    what has arrived
 * @param from     where the message begins
 * @param scanned how many bytes from `from` on an earlier call has seen; the search for a line end begins behind them
 * @returns the message's length in bytes, which may be more than has arrived; NEED_MORE if it is not known yet
 * @throws FramingError if the author's function or the length prefix gives no usable number
 */
export function messageLength(
  framing: Framing,
  keyBytes: number,
  bytes: Uint8Array,
  from: number,
  scanned = 0,
): number | typeof NEED_MORE {
  if (framing === "chunk") return bytes.length - from;
  if (framing === "line") {
    const lineEnd = bytes.indexOf(LF, from + scanned);
    return lineEnd === -1 ? NEED_MORE : lineEnd + 1 - from;
  }
  const length =
    typeof framing === "function"
      ? callFraming(framing, bytes, from)
      : readLength(framing.length, keyBytes, bytes, from);
  return length === AUTHOR_NEED_MORE ? NEED_MORE : length;
}

/** @returns the end of the handler's part: a line loses its LF and the CR before it */
export function contentEnd(framing: Framing, bytes: Uint8Array, from: number, end: number): number {
  if (framing !== "line" || end === from || bytes[end - 1] !== LF) return end;
  return end - 1 > from && bytes[end - 2] === CR ? end - 2 : end - 1;
}

function callFraming(framing: (bytes: Uint8Array) => number, bytes: Uint8Array, from: number): number {
  const length = framing(from === 0 ? bytes : bytes.subarray(from));
  // 0 would consume nothing: the same message would be found for ever.
  if (!Number.isInteger(length) || length < AUTHOR_NEED_MORE || length === 0) {
    throw new FramingError(
      `The framing function answered ${String(length)}; it must answer a length of at least 1, or NEED_MORE.`,
    );
  }
  return length;
}

function readLength(prefix: LengthPrefix, keyBytes: number, bytes: Uint8Array, from: number): number {
  const offset = prefix.offset ?? keyBytes;
  const behind = offset + prefix.prefixBytes;
  if (bytes.length - from < behind) return AUTHOR_NEED_MORE;
  const counted = readUnsigned(bytes, from + offset, prefix);
  const length = prefix.includesPrefix ? counted : behind + counted;
  if (length < behind || !Number.isSafeInteger(length)) {
    throw new FramingError(`The length prefix says ${counted} bytes, which is not a length that a message can have.`);
  }
  return length;
}

function readUnsigned(bytes: Uint8Array, at: number, { prefixBytes, endian }: LengthPrefix): number {
  let value = 0;
  for (let i = 0; i < prefixBytes; i++) {
    const next = bytes[endian === "little" ? at + prefixBytes - 1 - i : at + i] ?? 0;
    value = value * 256 + next;
  }
  return value;
}
