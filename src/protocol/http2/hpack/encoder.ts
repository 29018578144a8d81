/**
 * Encodes the header blocks of replies (RFC 7541). It uses the static table and literals without indexing, so that a
 * block does not depend on the blocks before it, and the block of the same lines can be kept.
 */
import { STATIC_INDEX } from "./static-table";

/** Blocks that are kept, of lines up to this length. */
const MAX_BLOCKS = 256;
const MAX_LINES_LENGTH = 1024;
/** A number that fills the bits of its first byte goes on in the next (RFC 7541 section 5.1). */
const MAX_LENGTH_IN_BYTE = 126;
const MAX_INDEX_IN_BYTE = 14;

const blocks = new Map<string, Buffer>();
let lastLines = "";
let lastBlock: Buffer = Buffer.alloc(0);

/**
 * The block of header lines of HTTP/1.1, each with its CR LF. Names become lower case.
 *
 * @returns a kept buffer: do not change it
 */
export function encodeLines(lines: string): Buffer {
  if (lines === lastLines) return lastBlock;
  if (lines.length > MAX_LINES_LENGTH) return makeBlock(lines);
  let block = blocks.get(lines);
  if (block === undefined) {
    if (blocks.size >= MAX_BLOCKS) blocks.clear();
    block = makeBlock(lines);
    blocks.set(lines, block);
  }
  lastLines = lines;
  lastBlock = block;
  return block;
}

function makeBlock(lines: string): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < lines.length;) {
    const colon = lines.indexOf(":", at);
    const end = lines.indexOf("\r\n", colon);
    parts.push(encodeField(lines.slice(at, colon).toLowerCase(), lines.slice(colon + 1, end).trim()));
    at = end + 2;
  }
  return Buffer.concat(parts);
}

/** One field as a literal without indexing (RFC 7541 section 6.2.2). @param name  in lower case */
export function encodeField(name: string, value: string): Buffer {
  const index = STATIC_INDEX.get(name);
  const start = index === undefined ? [0, ...lengthOf(name.length)] : indexOf(index);
  const length = lengthOf(value.length);
  const nameBytes = index === undefined ? name.length : 0;
  const field = Buffer.allocUnsafe(start.length + nameBytes + length.length + value.length);
  field.set(start, 0);
  if (nameBytes > 0) field.latin1Write(name, start.length);
  field.set(length, start.length + nameBytes);
  field.latin1Write(value, start.length + nameBytes + length.length);
  return field;
}

/** The field `:status` (RFC 9113 section 8.3.2). */
export function encodeStatus(status: number): Buffer {
  const index = INDEXED_STATUS[status];
  return index === undefined ? encodeField(":status", String(status)) : Buffer.from([0x80 | index]);
}

/** Statuses that the static table has whole. */
const INDEXED_STATUS: Readonly<Record<number, number>> = {
  200: 8,
  204: 9,
  206: 10,
  304: 11,
  400: 12,
  404: 13,
  500: 14,
};

function lengthOf(length: number): number[] {
  return length <= MAX_LENGTH_IN_BYTE
    ? [length]
    : [MAX_LENGTH_IN_BYTE + 1, ...continued(length - MAX_LENGTH_IN_BYTE - 1)];
}

function indexOf(index: number): number[] {
  return index <= MAX_INDEX_IN_BYTE ? [index] : [MAX_INDEX_IN_BYTE + 1, ...continued(index - MAX_INDEX_IN_BYTE - 1)];
}

function continued(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return [...bytes, rest];
}

/** Says that our encoder uses no dynamic table (RFC 7541 section 6.3). It stands first in a block. */
export const EMPTY_TABLE: Buffer = Buffer.from([0x20]);
