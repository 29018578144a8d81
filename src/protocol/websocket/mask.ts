/** Unmasking (RFC 6455 section 5.3), in place and by 32-bit words: the only work for each byte of a client. */

/** Below this, making the view of words costs more than it saves. In bytes. */
const MIN_WORD_BYTES = 64;

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

/**
 * Unmasks `bytes` from `from` to `to`.
 *
 * @param key its lowest byte is for the byte at `from`
 * @returns bits; 0x80808080 is clear if all bytes are ASCII
 */
export function unmask(bytes: Uint8Array, from: number, to: number, key: number): number {
  if (to - from < MIN_WORD_BYTES) return unmaskBytes(bytes, from, to, key);
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
