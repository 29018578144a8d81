/**
 * One segment of a path (RFC 3986 section 3.3) in its canonical spelling: unreserved characters are not escaped, and
 * other escapes stay, with their digits in upper case.
 */

const PERCENT = 0x25;
const BACKSLASH = 0x5c;

const UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
const IS_UNRESERVED = tableOf(UNRESERVED);

/**
 * 1 for each byte that a segment may hold unescaped (RFC 3986, `pchar`). Sub-delimiters are not the same as their
 * escapes.
 */
export const IS_PLAIN: Uint8Array = tableOf(`${UNRESERVED}!$&'()*+,;=:@`);

/** Each byte's escape. */
const ESCAPES = Array.from({ length: 256 }, (_, byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`);

/** "." or ".." as the whole segment, or between encoded slashes. */
const DOT_SEGMENT = /(?:^|%2F)\.\.?(?:$|%2F)/;

/** A character in more bytes than it needs (RFC 3629 section 3): a careless decoder reads a dot or a slash. */
const OVERLONG = /%C[01]%[89AB]|%E0%[89]|%F0%8/;

function tableOf(chars: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const char of chars) table[char.charCodeAt(0)] = 1;
  return table;
}

/** A segment after reading. */
interface Segment {
  /** Its canonical spelling. ASCII. */
  readonly text: string;
  /** It holds a backslash; or, once its "%2F" are decoded, "." or "..". */
  readonly isUnsafe: boolean;
  /** It had an escape for an unreserved character. */
  readonly hadNeedlessEscape: boolean;
}

/**
 * @param written  each character one byte as in the request line; no slash
 * @returns null for an invalid escape, a NUL, overlong UTF-8, and bytes that must be escaped: spaces, control
 *   characters, and all above 0x7E. Escapes need not be UTF-8 (RFC 3986 section 2.5): a file's name may be any bytes.
 *   Never throws.
 */
export function readSegment(written: string): Segment | null {
  let text = "";
  let hasBackslash = false;
  let hadNeedlessEscape = false;
  for (let at = 0; at < written.length; at++) {
    let byte = written.charCodeAt(at);
    const isEscape = byte === PERCENT;
    if (isEscape) {
      const high = hexDigit(written.charCodeAt(at + 1));
      const low = hexDigit(written.charCodeAt(at + 2));
      if (high < 0 || low < 0) return null;
      byte = high * 16 + low;
      at += 2;
      if (byte === 0) return null;
      if (IS_UNRESERVED[byte] === 1) hadNeedlessEscape = true;
    } else if (byte <= 0x20 || byte > 0x7e) return null;
    if (byte === BACKSLASH) hasBackslash = true;
    text += (isEscape ? IS_UNRESERVED : IS_PLAIN)[byte] === 1 ? String.fromCharCode(byte) : ESCAPES[byte];
  }
  if (OVERLONG.test(text)) return null;
  return { text, isUnsafe: hasBackslash || DOT_SEGMENT.test(text), hadNeedlessEscape };
}

/** @returns -1 for anything but a hexadecimal digit, NaN included */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}

/** @returns the text that a segment stands for, with U+FFFD for bytes that are no UTF-8; null for an invalid escape */
export function decodeSegment(segment: string): string | null {
  if (!segment.includes("%")) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    return /%(?![\da-f]{2})/i.test(segment) ? null : decodeBytes(segment);
  }
}

function decodeBytes(segment: string): string {
  const pieces = segment.split(/((?:%[\da-f]{2})+)/i);
  return Buffer.concat(
    pieces.map((piece) => (piece.startsWith("%") ? Buffer.from(piece.replaceAll("%", ""), "hex") : Buffer.from(piece))),
  ).toString();
}

/** @returns the canonical spelling of a segment that stands for `text`: "a b" is "a%20b" */
export function encodeSegment(text: string): string {
  let encoded = "";
  for (const byte of new TextEncoder().encode(text))
    encoded += IS_PLAIN[byte] === 1 ? String.fromCharCode(byte) : ESCAPES[byte];
  return encoded;
}
