/**
 * Unmasking (RFC 6455 section 5.3), the only work for each byte of a client: by WebAssembly (mask-simd.ts), or where
 * there is none, and for short payloads, in place by 32-bit words.
 */
import { makeSimd, type Simd, SIMD_BYTES } from "./mask-simd";

/** Of the bits of `unmask`: clear if all bytes are ASCII. */
export const HIGH_BITS = 0x80808080;

/** The masking key as one number, its first byte in the lowest bits. */
export function readKey(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] as number) |
    ((bytes[at + 1] as number) << 8) |
    ((bytes[at + 2] as number) << 16) |
    ((bytes[at + 3] as number) << 24)
  );
}

/** The key behind `count` bytes of a frame. */
export function rotateKey(key: number, count: number): number {
  const bits = (count & 3) * 8;
  return bits === 0 ? key : (key >>> bits) | (key << (32 - bits));
}

/** Below this, the call costs more than it saves. In bytes. */
const MIN_SIMD_BYTES = 64;
/** undefined: not made yet. A server without WebSockets needs none. */
let simd: Simd | null | undefined;

/**
 * Unmasks `bytes` from `from` to `to`, in place.
 *
 * @param key its lowest byte is for the byte at `from`
 * @returns bits; 0x80808080 is clear if all bytes are ASCII
 */
export function unmask(bytes: Buffer, from: number, to: number, key: number): number {
  if (to - from < MIN_SIMD_BYTES) return unmaskBytes(bytes, from, to, key);
  if (simd === undefined) simd = makeSimd();
  return simd === null ? unmaskByWords(bytes, from, to, key) : unmaskBySimd(simd, bytes, from, to, key);
}

/** The content of a text message: in `bytes`, from 0 to before its length. */
interface Unmasked {
  bytes: Buffer;
  isAscii: boolean;
}

const unmasked: Unmasked = { bytes: Buffer.alloc(0), isAscii: true };

/**
 * The same for a payload that is only read and not kept: spares the way back from WebAssembly.
 *
 * @returns null: use `unmask`. The result is good until the next call
 */
export function unmaskApart(bytes: Buffer, from: number, to: number, key: number): Unmasked | null {
  const length = to - from;
  if (length < MIN_SIMD_BYTES || length > SIMD_BYTES) return null;
  if (simd === undefined) simd = makeSimd();
  if (simd === null) return null;
  unmasked.bytes = simd.memory;
  unmasked.isAscii = (unmaskInside(simd, bytes, from, to, key) & HIGH_BITS) === 0;
  return unmasked;
}

/** As `unmask`, by SIMD. For payloads of any length. */
export function unmaskBySimd(by: Simd, bytes: Buffer, from: number, to: number, key: number): number {
  let seen = 0;
  for (let at = from; at < to; at += SIMD_BYTES) {
    const end = Math.min(to, at + SIMD_BYTES);
    // A piece is a multiple of 4 bytes, so that the key needs no rotation.
    seen |= unmaskInside(by, bytes, at, end, key);
    by.memory.copy(bytes, at, 0, end - at);
  }
  return seen;
}

/** Copies at most SIMD_BYTES into its memory, and unmasks them there. */
function unmaskInside({ memory, unmask: run }: Simd, bytes: Buffer, from: number, to: number, key: number): number {
  const length = to - from;
  // Not by `set`, which would need a view of a part.
  bytes.copy(memory, 0, from, to);
  const whole = length & ~15;
  const isAscii = whole === 0 || run(0, whole, key) === 0;
  return unmaskBytes(memory, whole, length, key) | (isAscii ? 0 : HIGH_BITS);
}

/** As `unmask`, in JavaScript alone. For payloads of 3 bytes or more. */
export function unmaskByWords(bytes: Uint8Array, from: number, to: number, key: number): number {
  const lead = -(bytes.byteOffset + from) & 3;
  let seen = unmaskBytes(bytes, from, from + lead, key);
  const begin = from + lead;
  const rotated = rotateKey(key, lead);
  // Little-endian, like all platforms of Bun.
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + begin, (to - begin) >>> 2);
  seen |= unmaskWords(words, rotated);
  return seen | unmaskBytes(bytes, begin + words.length * 4, to, rotated);
}

// Four words at a time take two thirds of the time.
function unmaskWords(words: Int32Array, key: number): number {
  const { length } = words;
  let seen = 0;
  let i = 0;
  for (; i + 3 < length; i += 4) {
    const a = (words[i] as number) ^ key;
    const b = (words[i + 1] as number) ^ key;
    const c = (words[i + 2] as number) ^ key;
    const d = (words[i + 3] as number) ^ key;
    words[i] = a;
    words[i + 1] = b;
    words[i + 2] = c;
    words[i + 3] = d;
    seen |= a | b | c | d;
  }
  for (; i < length; i++) {
    const word = (words[i] as number) ^ key;
    words[i] = word;
    seen |= word;
  }
  return seen;
}

function unmaskBytes(bytes: Uint8Array, from: number, to: number, key: number): number {
  let seen = 0;
  let rest = key;
  for (let i = from; i < to; i++) {
    const byte = (bytes[i] as number) ^ (rest & 0xff);
    bytes[i] = byte;
    seen |= byte;
    rest = (rest >>> 8) | (rest << 24);
  }
  return seen;
}
