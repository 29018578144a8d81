/**
 * Reads the server name out of a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), before the TLS engine
 * sees it: it chooses the certificate. Pure. Strict: any other bytes are MALFORMED.
 */
import { NEED_MORE } from "../../router/match";

/** The bytes are not the beginning of a ClientHello, and no later byte can change that. */
export const MALFORMED: unique symbol = Symbol("MALFORMED");

/** A ClientHello with its record headers may be this long. In bytes; real ones have 200 to 2000. */
const MAX_HELLO_BYTES = 16_384;

/** The most records of one ClientHello. Clients that split it to pass a middlebox make a few. */
const MAX_RECORDS = 16;

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
 * Reads a ClientHello that comes in pieces. Each record is read once, when it is complete, so a client that sends byte
 * by byte costs little.
 */
export class HelloReader {
  /** Offset of the next record. */
  #at = 0;
  /**
   * The parts of the handshake message in complete records (RFC 8446 section 5.1: several records may hold one
   * message).
   */
  readonly #fragments: Uint8Array[] = [];
  #messageBytes = 0;

  /**
   * @param bytes  all bytes of the connection, from its first: earlier bytes must not change between calls. Bytes
   *   behind the ClientHello are ignored
   * @returns the name in lower case, without a dot at its end, "" if the client sent none; NEED_MORE until the
   *   ClientHello is whole; MALFORMED
   */
  read(bytes: Uint8Array): string | typeof NEED_MORE | typeof MALFORMED {
    for (;;) {
      const at = this.#at;
      if (isWrongStart(bytes, at)) return MALFORMED;
      if (at + RECORD_HEADER_BYTES > bytes.length) return atMost(bytes);
      const length = uint16(bytes, at + 3);
      if (length === 0 || length > MAX_FRAGMENT_BYTES) return MALFORMED;
      const end = at + RECORD_HEADER_BYTES + length;
      if (end > bytes.length) return this.#isRefusable(bytes, at) ? MALFORMED : atMost(bytes);
      this.#at = end;
      // A copy: the buffer behind `bytes` may be another one at the next call.
      this.#fragments.push(bytes.slice(at + RECORD_HEADER_BYTES, end));
      this.#messageBytes += length;
      const state = this.#messageState();
      if (state === MALFORMED) return MALFORMED;
      if (state === "whole") return parseClientHello(Buffer.concat(this.#fragments).subarray(HANDSHAKE_HEADER_BYTES));
      if (this.#fragments.length >= MAX_RECORDS) return MALFORMED;
    }
  }

  /** The message begins with its type and length, so a wrong one is refused before the first record is complete. */
  #isRefusable(bytes: Uint8Array, at: number): boolean {
    if (this.#messageBytes > 0) return false;
    const first = at + RECORD_HEADER_BYTES;
    if (bytes.length > first && bytes[first] !== CLIENT_HELLO) return true;
    return bytes.length >= first + HANDSHAKE_HEADER_BYTES && endOf(bytes, first) > MAX_HELLO_BYTES;
  }

  #messageState(): "whole" | typeof NEED_MORE | typeof MALFORMED {
    if ((this.#fragments[0] as Uint8Array)[0] !== CLIENT_HELLO) return MALFORMED;
    if (this.#messageBytes < HANDSHAKE_HEADER_BYTES) return NEED_MORE;
    const end = endOf(this.#header(), 0);
    // Nothing may follow the ClientHello in its record: it is the server's turn.
    if (end > MAX_HELLO_BYTES || this.#messageBytes > end) return MALFORMED;
    return this.#messageBytes === end ? "whole" : NEED_MORE;
  }

  #header(): Uint8Array {
    const [first] = this.#fragments as [Uint8Array];
    return first.length >= HANDSHAKE_HEADER_BYTES
      ? first
      : Buffer.concat(this.#fragments.slice(0, HANDSHAKE_HEADER_BYTES));
  }
}

/** @param at where the handshake message begins, whose header is there. @returns its length, with the header */
function endOf(bytes: Uint8Array, at: number): number {
  return HANDSHAKE_HEADER_BYTES + ((bytes[at + 1] as number) << 16) + uint16(bytes, at + 2);
}

/** Judges a record's first two bytes as soon as they are there. */
function isWrongStart(bytes: Uint8Array, at: number): boolean {
  return (
    (bytes.length > at && bytes[at] !== HANDSHAKE_RECORD) || (bytes.length > at + 1 && bytes[at + 1] !== MAJOR_VERSION)
  );
}

/** Limits the bytes that are held: a record's length does not. */
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
    // RFC 8446 section 4.2: no two of one type. Taking the first where the engine takes the last would pick another
    // certificate.
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
  // RFC 6066 section 3: without the dot that ends an absolute name. Some clients send what their user typed.
  return PRINTABLE.test(text) ? text.toLowerCase().replace(/\.$/, "") : null;
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
