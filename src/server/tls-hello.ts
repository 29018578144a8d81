/**
 * Reads the server name out of a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), before the TLS engine sees it: the
 * certificate is chosen by it. A pure function over bytes. Strict: what is not exactly a ClientHello is MALFORMED.
 */
import { NEED_MORE } from "../router/match";

/** The bytes are not the beginning of a ClientHello, and no later byte can change that. */
export const MALFORMED: unique symbol = Symbol("MALFORMED");

/** A ClientHello with its record headers may be this long. In bytes; real ones have 200 to 2000. */
export const MAX_HELLO_BYTES = 16_384;

const HANDSHAKE_RECORD = 22;
const MAJOR_VERSION = 3;
const RECORD_HEADER_BYTES = 5;
/** RFC 8446 section 5.1. */
const MAX_FRAGMENT_BYTES = 16_384;
const CLIENT_HELLO = 1;
const HANDSHAKE_HEADER_BYTES = 4;
const VERSION_AND_RANDOM_BYTES = 34;
const MAX_SESSION_ID_BYTES = 32;
const SERVER_NAME = 0;
const HOST_NAME = 0;
/** ASCII without controls and spaces: the name goes into logs and to module authors. */
const PRINTABLE = /^[\x21-\x7e]{1,255}$/;

/**
 * @param bytes  from the first byte of the connection; what follows the ClientHello is not looked at
 * @returns the name in lower case, "" if the client sent none; NEED_MORE until the ClientHello is whole; MALFORMED
 */
export function readServerName(bytes: Uint8Array): string | typeof NEED_MORE | typeof MALFORMED {
  const message = joinFragments(bytes);
  return message instanceof Uint8Array ? parseClientHello(message) : message;
}

/** A handshake message may be cut into any number of records. @returns the ClientHello without its header */
function joinFragments(bytes: Uint8Array): Uint8Array | typeof NEED_MORE | typeof MALFORMED {
  let message: Uint8Array = new Uint8Array(0);
  for (let at = 0; ;) {
    if (isWrongStart(bytes, at)) return MALFORMED;
    if (at + RECORD_HEADER_BYTES > bytes.length) return atMost(bytes);
    const length = uint16(bytes, at + 3);
    if (length === 0 || length > MAX_FRAGMENT_BYTES) return MALFORMED;
    const fragment = bytes.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + length);
    // The common one is a single record: nothing is copied.
    message = message.length === 0 ? fragment : Buffer.concat([message, fragment]);
    if (message.length > 0 && message[0] !== CLIENT_HELLO) return MALFORMED;
    if (message.length >= HANDSHAKE_HEADER_BYTES) {
      const end = HANDSHAKE_HEADER_BYTES + ((message[1] as number) << 16) + uint16(message, 2);
      if (end > MAX_HELLO_BYTES) return MALFORMED;
      // A client says nothing behind its ClientHello in the same record: the server's turn is next.
      if (message.length > end) return MALFORMED;
      if (message.length === end) return message.subarray(HANDSHAKE_HEADER_BYTES);
    }
    if (fragment.length < length) return atMost(bytes);
    at += RECORD_HEADER_BYTES + length;
  }
}

/** Judges a record's first two bytes as soon as they are there. */
function isWrongStart(bytes: Uint8Array, at: number): boolean {
  return (bytes.length > at && bytes[at] !== HANDSHAKE_RECORD) || (bytes.length > at + 1 && bytes[at + 1] !== MAJOR_VERSION);
}

/** Records of one byte each are legal, so that the message alone would not bound what is held. */
function atMost(bytes: Uint8Array): typeof NEED_MORE | typeof MALFORMED {
  return bytes.length >= MAX_HELLO_BYTES ? MALFORMED : NEED_MORE;
}

/** The vectors of the message, one behind the other, must fill it exactly. */
function parseClientHello(message: Uint8Array): string | typeof MALFORMED {
  const sessionId = vector8(message, VERSION_AND_RANDOM_BYTES);
  if (sessionId === null || sessionId.bytes.length > MAX_SESSION_ID_BYTES) return MALFORMED;
  const cipherSuites = vector16(message, sessionId.end);
  if (cipherSuites === null || cipherSuites.bytes.length < 2 || cipherSuites.bytes.length % 2 !== 0) return MALFORMED;
  const compression = vector8(message, cipherSuites.end);
  if (compression === null || compression.bytes.length === 0) return MALFORMED;
  // TLS 1.2 clients may leave the extensions out (RFC 5246 section 7.4.1.2).
  if (compression.end === message.length) return "";
  const extensions = vector16(message, compression.end);
  return extensions === null || extensions.end !== message.length ? MALFORMED : findServerName(extensions.bytes);
}

function findServerName(extensions: Uint8Array): string | typeof MALFORMED {
  const seen = new Set<number>();
  let name = "";
  for (let at = 0; at < extensions.length;) {
    const content = vector16(extensions, at + 2);
    if (content === null) return MALFORMED;
    const type = uint16(extensions, at);
    // RFC 8446 section 4.2: no two of one type. Taking the first where the engine takes the last would pick another certificate.
    if (seen.has(type)) return MALFORMED;
    seen.add(type);
    if (type === SERVER_NAME) {
      const found = readNameList(content.bytes);
      if (found === null) return MALFORMED;
      name = found;
    }
    at = content.end;
  }
  return name;
}

/** Exactly one name of the only type there is. @returns null if it is anything else */
function readNameList(bytes: Uint8Array): string | null {
  const list = vector16(bytes, 0);
  if (list === null || list.end !== bytes.length || list.bytes[0] !== HOST_NAME) return null;
  const name = vector16(list.bytes, 1);
  if (name === null || name.end !== list.bytes.length) return null;
  const text = Buffer.from(name.bytes).latin1Slice();
  return PRINTABLE.test(text) ? text.toLowerCase() : null;
}

interface Vector {
  readonly bytes: Uint8Array;
  readonly end: number;
}

/** @returns null if it does not fit into `bytes` */
function vector8(bytes: Uint8Array, at: number): Vector | null {
  return at + 1 > bytes.length ? null : cut(bytes, at + 1, bytes[at] as number);
}

function vector16(bytes: Uint8Array, at: number): Vector | null {
  return at + 2 > bytes.length ? null : cut(bytes, at + 2, uint16(bytes, at));
}

function cut(bytes: Uint8Array, from: number, length: number): Vector | null {
  return from + length > bytes.length ? null : { bytes: bytes.subarray(from, from + length), end: from + length };
}

/** Big-endian. Both bytes are there. */
function uint16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}
