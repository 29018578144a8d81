/** Decodes header blocks (RFC 7541). One decoder for each direction of a connection: blocks change its dynamic table. */
import { decodeHuffman } from "./huffman";
import { STATIC_ENTRIES, STATIC_NAMES, STATIC_VALUES } from "./static-table";

/** The size of our dynamic table: the default of SETTINGS_HEADER_TABLE_SIZE, which we do not change. In bytes. */
export const TABLE_BYTES = 4096;
/** What each entry counts beside its name and its value (RFC 7541 section 4.1). In bytes. */
const ENTRY_BYTES = 32;
/** Longer numbers than 28 bits are an error: no index and no length comes near. */
const MAX_SHIFT = 21;
/** The names and values that are kept of a list that is too large: a request's method is one of them. */
const MAX_FIRST = 8;
/** Evicted entries are removed from the arrays in batches. */
const MAX_EVICTED = 128;

/** A block that cannot be decoded: COMPRESSION_ERROR. The table is no longer known, so the connection ends. */
export class HpackError extends Error {}

/** A decoded block. */
interface FieldList {
  /** Names and values in turn, a character a byte. Of a list that is too large, the first four. */
  readonly fields: readonly string[];
  /** The sum of RFC 9113 section 6.5.2 (SETTINGS_MAX_HEADER_LIST_SIZE). In bytes. */
  readonly bytes: number;
}

export class HpackDecoder {
  /** Counts the changes of the table. Without one, the same block means the same fields. */
  changes = 0;
  /** Oldest first. Those before `#first` are evicted. */
  #names: string[] = [];
  #values: string[] = [];
  #first = 0;
  /** As RFC 7541 section 4.1 counts. In bytes. */
  #size = 0;
  #maxSize = TABLE_BYTES;
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;

  /**
   * Decodes one whole block.
   *
   * @param maxBytes  a list above it is decoded for the table's sake, and not kept
   * @param stopBytes  at a list above it decoding stops
   * @throws HpackError
   */
  decode(bytes: Buffer, from: number, to: number, maxBytes: number, stopBytes: number): FieldList {
    this.#bytes = bytes;
    this.#at = from;
    this.#end = to;
    this.#readSizeUpdates();
    const fields: string[] = [];
    let size = 0;
    while (this.#at < to && size <= stopBytes) {
      const first = bytes[this.#at] as number;
      let name: string;
      let value: string;
      if (first >= 0x80) {
        const index = this.#readNumber(7);
        name = this.#nameAt(index);
        value = this.#valueAt(index);
      } else {
        // A size update stands only at the beginning of a block (RFC 7541 section 4.2).
        if ((first & 0xe0) === 0x20) throw new HpackError("a size update stands behind a field");
        const isAdded = first >= 0x40;
        const index = this.#readNumber(isAdded ? 6 : 4);
        name = index === 0 ? this.#readString() : this.#nameAt(index);
        value = this.#readString();
        if (isAdded) this.#add(name, value);
      }
      size += name.length + value.length + ENTRY_BYTES;
      if (size <= maxBytes) fields.push(name, value);
    }
    if (size > maxBytes && fields.length > MAX_FIRST) fields.length = MAX_FIRST;
    return { fields, bytes: size };
  }

  #readSizeUpdates(): void {
    while (this.#at < this.#end && ((this.#bytes[this.#at] as number) & 0xe0) === 0x20) {
      const size = this.#readNumber(5);
      if (size > TABLE_BYTES) throw new HpackError("a size update is larger than the setting");
      this.#maxSize = size;
      this.#evictFor(0);
      this.changes++;
    }
  }

  /** A number whose first byte has `bits` of it (RFC 7541 section 5.1). */
  #readNumber(bits: number): number {
    const most = (1 << bits) - 1;
    let value = (this.#bytes[this.#at++] as number) & most;
    if (value < most) return value;
    for (let shift = 0; ; shift += 7) {
      if (this.#at >= this.#end || shift > MAX_SHIFT) throw new HpackError("a number does not end");
      const byte = this.#bytes[this.#at++] as number;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  /** RFC 7541 section 5.2. */
  #readString(): string {
    if (this.#at >= this.#end) throw new HpackError("a string is missing");
    const isHuffman = (this.#bytes[this.#at] as number) >= 0x80;
    const length = this.#readNumber(7);
    const from = this.#at;
    this.#at += length;
    if (this.#at > this.#end) throw new HpackError("a string is longer than its block");
    if (!isHuffman) return this.#bytes.latin1Slice(from, this.#at);
    const text = decodeHuffman(this.#bytes, from, this.#at);
    if (text === null) throw new HpackError("a string is no Huffman code");
    return text;
  }

  #nameAt(index: number): string {
    return index > 0 && index <= STATIC_ENTRIES
      ? (STATIC_NAMES[index] as string)
      : (this.#names[this.#dynamicAt(index)] as string);
  }

  #valueAt(index: number): string {
    return index > 0 && index <= STATIC_ENTRIES
      ? (STATIC_VALUES[index] as string)
      : (this.#values[this.#dynamicAt(index)] as string);
  }

  /** The newest entry has the lowest index (RFC 7541 section 2.3.3). */
  #dynamicAt(index: number): number {
    const at = this.#names.length - (index - STATIC_ENTRIES);
    if (index === 0 || at < this.#first) throw new HpackError("an index has no entry");
    return at;
  }

  #add(name: string, value: string): void {
    this.changes++;
    const size = name.length + value.length + ENTRY_BYTES;
    this.#evictFor(size);
    // An entry larger than the table empties it, and is no error (RFC 7541 section 4.4).
    if (size > this.#maxSize) return;
    this.#names.push(name);
    this.#values.push(value);
    this.#size += size;
  }

  #evictFor(size: number): void {
    while (this.#first < this.#names.length && this.#size + size > this.#maxSize) {
      const at = this.#first++;
      this.#size -= (this.#names[at] as string).length + (this.#values[at] as string).length + ENTRY_BYTES;
      this.#names[at] = "";
      this.#values[at] = "";
    }
    if (this.#first < MAX_EVICTED) return;
    this.#names.splice(0, this.#first);
    this.#values.splice(0, this.#first);
    this.#first = 0;
  }
}
