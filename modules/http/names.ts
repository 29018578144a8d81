/**
 * Names of files as text. A name is bytes, which need not be UTF-8. In the text, a byte that is not UTF-8 becomes a
 * surrogate without its other half (U+DC80 to U+DCFF), which proper text never has. Each name has one text, and each
 * text one name.
 */

/**
 * Matches proper UTF-8 (RFC 3629 section 4) in text with one letter for each byte, and single bytes that are not UTF-8.
 */
const LETTERS =
  /[\0-\x7f]+|[\xc2-\xdf][\x80-\xbf]|(?:\xe0[\xa0-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]|\xed[\x80-\x9f])[\x80-\xbf]|(?:\xf0[\x90-\xbf]|[\xf1-\xf3][\x80-\xbf]|\xf4[\x80-\x8f])[\x80-\xbf]{2}|[\x80-\xff]/g;
/** With the u flag, the halves of a proper pair do not match. */
const LONE_BYTE = /([\udc80-\udcff])/u;
const LONE_BASE = 0xdc00;

/** The text of a name. */
export function nameOf(bytes: Uint8Array): string {
  const latin1 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).latin1Slice();
  return latin1.replace(LETTERS, (part) => {
    const code = part.charCodeAt(0);
    if (code < 0x80) return part;
    return part.length === 1 ? String.fromCharCode(LONE_BASE + code) : Buffer.from(part, "latin1").toString();
  });
}

/** The path for node:fs: the text itself if it is proper, as nearly all are; otherwise its bytes. */
export function diskPath(path: string): string | Buffer {
  return path.isWellFormed()
    ? path
    : Buffer.concat(piecesOf(path).map((piece) => loneByte(piece) ?? Buffer.from(piece)));
}

/** The name as a segment of a URL, percent-encoded byte by byte (RFC 3986 section 2.1). */
export function encodeName(name: string): string {
  if (name.isWellFormed()) return encodeURIComponent(name);
  const encoded = piecesOf(name).map((piece) => {
    const byte = loneByte(piece);
    return byte === null ? encodeURIComponent(piece) : `%${byte.toString("hex").toUpperCase()}`;
  });
  return encoded.join("");
}

/** The name for people: U+FFFD stands for each byte that is no UTF-8. */
export function shownName(name: string): string {
  return name.toWellFormed();
}

function piecesOf(text: string): string[] {
  return text.split(LONE_BYTE);
}

function loneByte(piece: string): Buffer | null {
  const code = piece.charCodeAt(0);
  return piece.length === 1 && code >= LONE_BASE + 0x80 && code <= LONE_BASE + 0xff
    ? Buffer.from([code - LONE_BASE])
    : null;
}
