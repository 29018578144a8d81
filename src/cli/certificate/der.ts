/**
 * The part of DER (ITU-T X.690) that certificates need. Every function returns one complete encoding: tag, length and
 * content.
 */

const TAGS = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  time: 0x18,
} as const;
const SEQUENCE = 0x30;
const SET = 0x31;
const CONTEXT = 0x80;
const CONSTRUCTED = 0x20;
/** The first year that UTCTime cannot express (RFC 5280 section 4.1.2.5). */
const FIRST_LONG_YEAR = 2050;

/** Tag, length in the fewest bytes (X.690 section 10.1), content. */
function encode(tag: number, ...content: Uint8Array[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag, ...lengthBytes(body.length)]), body]);
}

function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest >>>= 8) bytes.unshift(rest & 0xff);
  return [0x80 | bytes.length, ...bytes];
}

export const sequence = (...items: Uint8Array[]): Buffer => encode(SEQUENCE, ...items);

/** A SET OF: one item needs no sorting. */
export const setOf = (item: Uint8Array): Buffer => encode(SET, item);

/** Only true is needed: DER leaves out defaults, and in certificates the default is always false. */
export const booleanTrue = (): Buffer => encode(TAGS.boolean, Buffer.from([0xff]));

/** @param magnitude big-endian and not negative; leading zeros are removed, and one is added if the sign needs it */
export function integer(magnitude: Uint8Array): Buffer {
  let from = 0;
  while (from < magnitude.length - 1 && magnitude[from] === 0) from++;
  const bytes = magnitude.subarray(from);
  return encode(
    TAGS.integer,
    (bytes[0] ?? 0) >= 0x80 || bytes.length === 0 ? Buffer.from([0]) : Buffer.alloc(0),
    bytes,
  );
}

/** @param dotted "2.5.29.17": at least two numbers, each below 2^31 */
export function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  return encode(TAGS.oid, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

function base128(value: number): number[] {
  const bytes = [value & 0x7f];
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) bytes.unshift(0x80 | (rest & 0x7f));
  return bytes;
}

export const octetString = (...content: Uint8Array[]): Buffer => encode(TAGS.octetString, ...content);

/** @param unusedBits the number of unused bits in the last byte, 0 to 7; they are 0 */
export const bitString = (content: Uint8Array, unusedBits = 0): Buffer =>
  encode(TAGS.bitString, Buffer.from([unusedBits]), content);

export const utf8String = (text: string): Buffer => encode(TAGS.utf8, Buffer.from(text));

/** UTCTime up to 2049, GeneralizedTime from then on, as RFC 5280 section 4.1.2.5 requires; whole seconds. */
export function time(date: Date): Buffer {
  const digits = `${date.toISOString().slice(0, 19).replace(/\D/g, "")}Z`;
  return date.getUTCFullYear() < FIRST_LONG_YEAR
    ? encode(TAGS.utcTime, Buffer.from(digits.slice(2)))
    : encode(TAGS.time, Buffer.from(digits));
}

/** `[number] EXPLICIT`: a complete encoding inside another tag. */
export const explicit = (number: number, item: Uint8Array): Buffer => encode(CONTEXT | CONSTRUCTED | number, item);

/** `[number] IMPLICIT` of a primitive type: its content under another tag. */
export const implicit = (number: number, content: Uint8Array): Buffer => encode(CONTEXT | number, content);
