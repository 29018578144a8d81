/**
 * permessage-deflate (RFC 7692) without context takeover: each message stands alone, so an idle socket holds no window.
 */

/** The parameters that both sides agreed on. */
export interface Deflate {
  /** The window for our messages: 9 to 15; 0: zlib cannot make it, so they go out uncompressed. */
  readonly windowBits: number;
  /** The value of the reply's Sec-WebSocket-Extensions. */
  readonly header: string;
}

interface Offer {
  readonly name: string;
  readonly parameters: Map<string, string | null>;
}

/** Loaded with the first compressed message: few servers have any, and each start would wait for it. */
const zlib = (): typeof import("node:zlib") => process.getBuiltinModule("node:zlib");
/** The end of each compressed message, which is not sent (section 7.2.1). */
const TAIL = Buffer.from([0x00, 0x00, 0xff, 0xff]);
const EMPTY = Buffer.alloc(0);
/** Shorter texts are not worth the time. */
const MIN_TEXT_BYTES = 1024;
/** Shorter messages do not become smaller. */
const MIN_WANTED_BYTES = 64;
/** Compression blocks the event loop: this level takes half the time of zlib's default for a tenth more bytes. */
const LEVEL = 1;
const ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const WINDOW = /^(?:[89]|1[0-5])$/;
const OFFER_PART =
  /[ \t]*([!#$%&'*+.^_`|~\w-]+)(?:[ \t]*=[ \t]*(?:([!#$%&'*+.^_`|~\w-]+)|"((?:[^"\\]|\\.)*)"))?[ \t]*([,;]|$)/y;

/**
 * Chooses the first offer that can be accepted (section 5.1).
 *
 * @param header  the value of Sec-WebSocket-Extensions, several joined by commas
 * @returns null if there is none; "malformed" if the field breaks its grammar (RFC 6455 section 9.1)
 */
export function negotiate(header: string): Deflate | null | "malformed" {
  const offers = parseOffers(header);
  if (offers === null) return "malformed";
  for (const { name, parameters } of offers) {
    const deflate = name === "permessage-deflate" ? accept(parameters) : null;
    if (deflate !== null) return deflate;
  }
  return null;
}

/** @returns null for unknown or repeated parameters, and values out of their range */
function accept(parameters: Offer["parameters"]): Deflate | null {
  let windowBits = 15;
  let header = ANSWER;
  for (const [name, value] of parameters) {
    if (name === "server_no_context_takeover" || name === "client_no_context_takeover") {
      if (value !== null) return null;
    } else if (name === "client_max_window_bits") {
      // Without a value it only says that the client would follow our limit. We can read any window.
      if (value !== null && !WINDOW.test(value)) return null;
    } else if (name === "server_max_window_bits") {
      if (value === null || !WINDOW.test(value)) return null;
      windowBits = Number(value);
      header = `${ANSWER}; server_max_window_bits=${value}`;
    } else return null;
  }
  // zlib turns 8 into 9, which the client could not read.
  return { windowBits: windowBits === 8 ? 0 : windowBits, header };
}

function parseOffers(header: string): Offer[] | null {
  const offers: Offer[] = [];
  let offer: Offer | null = null;
  OFFER_PART.lastIndex = 0;
  while (OFFER_PART.lastIndex < header.length) {
    // Empty elements of a list are ignored (RFC 9110 section 5.6.1).
    if (offer === null && /^[ \t]*(?:,|$)/.test(header.slice(OFFER_PART.lastIndex))) {
      const comma = header.indexOf(",", OFFER_PART.lastIndex);
      if (comma < 0) break;
      OFFER_PART.lastIndex = comma + 1;
      continue;
    }
    const match = OFFER_PART.exec(header);
    if (match === null) return null;
    const [, name = "", token, quoted, end] = match;
    const value = token ?? quoted?.replace(/\\(.)/g, "$1") ?? null;
    if (offer === null) {
      if (value !== null) return null;
      offer = { name: name.toLowerCase(), parameters: new Map() };
      offers.push(offer);
    } else if (offer.parameters.has(name)) offer.parameters.set(TWICE, null);
    else offer.parameters.set(name, value);
    if (end === ",") offer = null;
    else if (end === ";" && OFFER_PART.lastIndex >= header.length) return null;
  }
  return offers;
}

// This is no parameter's name, so the offer is declined and the next one is read.
const TWICE = "=";

/**
 * @param payload  a message's, without the tail
 * @returns the message; "invalid" if it is no DEFLATE; "too big" above `maxBytes`, where inflating stops
 */
export function inflate(payload: Uint8Array, maxBytes: number): Buffer | "invalid" | "too big" {
  if (payload.length === 0) return EMPTY;
  try {
    const whole = Buffer.concat([payload, TAIL]);
    const { constants, inflateRawSync } = zlib();
    return inflateRawSync(whole, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: Math.max(1, maxBytes) });
  } catch (error) {
    return (error as { code?: string }).code === "ERR_BUFFER_TOO_LARGE" ? "too big" : "invalid";
  }
}

/** Whether to compress a message. @param wanted the author's choice; undefined: text from 1 KB on */
export function isWorthIt(isText: boolean, bytes: number, wanted: boolean | undefined): boolean {
  if (wanted === undefined) return isText && bytes >= MIN_TEXT_BYTES;
  return wanted && bytes >= MIN_WANTED_BYTES;
}

/** @returns the payload of a compressed message; null if it would not be smaller */
export function deflate(payload: Uint8Array, windowBits: number): Buffer | null {
  const { constants, deflateRawSync } = zlib();
  const packed = deflateRawSync(payload, { finishFlush: constants.Z_SYNC_FLUSH, level: LEVEL, windowBits });
  const bytes = packed.length - TAIL.length;
  return bytes < payload.length ? packed.subarray(0, bytes) : null;
}
