/**
 * Writes replies, in RESP2 or RESP3. They are collected as one text with a character for each byte: a pipelined batch
 * leaves in one write, and a reply that turns out to be an error is cut off again. Pure.
 */

/** A place in the replies, to go back to. */
export type Mark = string;

export class Writer {
  /** RESP3 has types that RESP2 shows as others. */
  version: 2 | 3 = 2;
  #text = "";

  /** In bytes. */
  get length(): number {
    return this.#text.length;
  }

  mark(): Mark {
    return this.#text;
  }

  reset(mark: Mark): void {
    this.#text = mark;
  }

  /** All replies so far. It is empty then. */
  take(): Buffer {
    const bytes = Buffer.from(this.#text, "latin1");
    this.#text = "";
    return bytes;
  }

  ok(): void {
    this.#text += "+OK\r\n";
  }

  /** @param text ASCII without line ends */
  simple(text: string): void {
    this.#text += `+${text}\r\n`;
  }

  /** @param text begins with a code: "ERR syntax error". Line ends become spaces */
  error(text: string): void {
    const line = text.replaceAll(/[\r\n]+/g, " ");
    this.#text += `-${isAscii(line) ? line : Buffer.from(line).latin1Slice()}\r\n`;
  }

  integer(value: number | bigint): void {
    this.#text += `:${value}\r\n`;
  }

  bulk(value: string | Uint8Array): void {
    if (typeof value !== "string") {
      this.#text += `$${value.length}\r\n${Buffer.from(value.buffer, value.byteOffset, value.length).latin1Slice()}\r\n`;
      return;
    }
    const bytes = Buffer.byteLength(value);
    // As many bytes as letters: it is ASCII.
    this.#text += `$${bytes}\r\n${bytes === value.length ? value : Buffer.from(value).latin1Slice()}\r\n`;
  }

  /** `null`: there is nothing. */
  bulkOrNull(value: string | Uint8Array | null): void {
    if (value === null) this.null();
    else this.bulk(value);
  }

  null(): void {
    this.#text += this.version === 3 ? "_\r\n" : "$-1\r\n";
  }

  nullArray(): void {
    this.#text += this.version === 3 ? "_\r\n" : "*-1\r\n";
  }

  /** The items follow. */
  array(items: number): void {
    this.#text += `*${items}\r\n`;
  }

  /** Keys and values follow, in turn. */
  map(pairs: number): void {
    this.#text += this.version === 3 ? `%${pairs}\r\n` : `*${pairs * 2}\r\n`;
  }

  set(items: number): void {
    this.#text += this.version === 3 ? `~${items}\r\n` : `*${items}\r\n`;
  }

  /** A message that is no reply. */
  push(items: number): void {
    this.#text += this.version === 3 ? `>${items}\r\n` : `*${items}\r\n`;
  }

  double(value: number): void {
    const text = doubleText(value);
    if (this.version === 3) this.#text += `,${text}\r\n`;
    else this.bulk(text);
  }

  /** Text for people. */
  verbatim(text: string): void {
    if (this.version === 2) return this.bulk(text);
    const bytes = Buffer.from(text);
    this.#text += `=${bytes.length + 4}\r\ntxt:${bytes.latin1Slice()}\r\n`;
  }
}

/** A score, in its shortest form that reads back as the same number. */
export function doubleText(value: number): string {
  if (value === Infinity) return "inf";
  if (value === -Infinity) return "-inf";
  return Object.is(value, -0) ? "-0" : String(value);
}

function isAscii(text: string): boolean {
  return Buffer.byteLength(text) === text.length;
}
