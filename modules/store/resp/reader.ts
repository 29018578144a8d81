/**
 * Reads commands as Redis clients send them (https://redis.io/docs/latest/develop/reference/protocol-spec/): arrays of bulk
 * strings, and lines of words. Pure: bytes in, commands out. It keeps an unfinished command until its rest comes.
 */
import { splitLine } from "./inline";

/** The bytes are no command. The client cannot know where the next one begins, so the connection ends. */
export class ProtocolError extends Error {}

export interface ReaderLimits {
  /** Of one command, all its arguments together. */
  readonly maxCommandBytes: number;
}

const MAX_ARGUMENTS = 1_048_576;
/** A line of words, or of a length. */
const MAX_LINE_BYTES = 65_536;
/** A client that must show a token first needs no more for AUTH and HELLO. */
const MAX_STRANGER_ARGUMENTS = 10;
const MAX_STRANGER_BYTES = 16_384;

const CR = 13;
const LF = 10;
const STAR = 0x2a;
const DOLLAR = 0x24;
const MINUS = 0x2d;
const ZERO = 0x30;
const NO_NUMBER = Number.NaN;

/** One command: its name and its arguments, as places in the bytes of the client. */
export class Command {
  /** The number of arguments, the name included. */
  readonly length: number;
  readonly #buffer: Buffer;
  /** Begin and end of each argument. */
  readonly #bounds: readonly number[];

  constructor(buffer: Buffer, bounds: readonly number[]) {
    this.#buffer = buffer;
    this.#bounds = bounds;
    this.length = bounds.length / 2;
  }

  static of(parts: readonly (string | Uint8Array)[]): Command {
    const buffers = parts.map((part) => Buffer.from(part as Uint8Array));
    let at = 0;
    const bounds = buffers.flatMap(({ length }) => [at, (at += length)]);
    return new Command(Buffer.concat(buffers), bounds);
  }

  /** A view of the client's bytes. */
  bytes(index: number): Buffer {
    return this.#buffer.subarray(this.#bounds[index * 2], this.#bounds[index * 2 + 1]);
  }

  byteLength(index: number): number {
    return (this.#bounds[index * 2 + 1] as number) - (this.#bounds[index * 2] as number);
  }

  /** One character for each byte. */
  latin1(index: number): string {
    return this.#buffer.latin1Slice(this.#bounds[index * 2], this.#bounds[index * 2 + 1]);
  }

  /** Bytes that are not UTF-8 become U+FFFD. */
  utf8(index: number): string {
    return this.#buffer.utf8Slice(this.#bounds[index * 2], this.#bounds[index * 2 + 1]);
  }

  /** All bytes of its arguments. */
  get size(): number {
    return (this.#bounds.at(-1) as number) - (this.#bounds[0] as number);
  }

  /** A copy without the bytes around it. */
  kept(): Command {
    const from = this.#bounds[0] as number;
    const bytes = Buffer.from(this.#buffer.subarray(from, this.#bounds.at(-1)));
    return new Command(
      bytes,
      this.#bounds.map((at) => at - from),
    );
  }
}

export class CommandReader {
  readonly #limits: ReaderLimits;
  /** Whether the client must show a token before anything else. */
  isStranger = false;
  #buffer: Buffer = Buffer.alloc(0);
  /** Of the bytes in the buffer; there may be room behind them. */
  #length = 0;
  /** Where the next command begins. */
  #from = 0;
  /** Read so far. */
  #at = 0;
  /** Arguments that the present command still needs; -1: its count has not been read. */
  #missing = -1;
  #bounds: number[] = [];

  constructor(limits: ReaderLimits) {
    this.#limits = limits;
  }

  /** @param bytes  taken over: they must not change */
  push(bytes: Uint8Array): void {
    const left = this.#length - this.#from;
    if (left === 0) {
      this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      this.#length = bytes.length;
      this.#rebase();
      return;
    }
    const room = this.#buffer.length - this.#length;
    // Earlier commands are views of this buffer: only the bytes behind it may be written.
    if (bytes.length > room) this.#move(left, left + bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #move(left: number, needed: number): void {
    // Double, so that a long command that comes in small pieces is not copied for each of them.
    const next = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(needed * 2, needed + MAX_LINE_BYTES * 16)));
    next.set(this.#buffer.subarray(this.#from, this.#length));
    this.#buffer = next;
    this.#length = left;
    this.#rebase();
  }

  /** The unfinished command now begins at 0. */
  #rebase(): void {
    const from = this.#from;
    if (from === 0) return;
    this.#from = 0;
    this.#at -= from;
    for (let i = 0; i < this.#bounds.length; i++) this.#bounds[i] = (this.#bounds[i] as number) - from;
  }

  /** The bytes of the unfinished command. */
  rest(): Uint8Array {
    return this.#buffer.subarray(this.#from, this.#length);
  }

  /** @returns null: more bytes are needed. @throws ProtocolError */
  next(): Command | null {
    for (;;) {
      if (this.#missing === -1) {
        if (this.#from === this.#length) return null;
        if (this.#buffer[this.#from] !== STAR) {
          const command = this.#inline();
          if (command === "empty") continue;
          return command;
        }
        if (!this.#readCount()) return null;
        // "*0" and "*-1" are nothing.
        if (this.#missing <= 0) {
          this.#finish();
          continue;
        }
      }
      return this.#readArguments() ? this.#finish() : null;
    }
  }

  #finish(): Command {
    const command = new Command(this.#buffer, this.#bounds);
    this.#bounds = [];
    this.#missing = -1;
    this.#from = this.#at;
    return command;
  }

  #readCount(): boolean {
    const end = this.#lineEnd(this.#from, "too big mbulk count string");
    if (end === -1) return false;
    const count = this.#integer(this.#from + 1, end);
    if (!(count <= MAX_ARGUMENTS)) throw new ProtocolError("invalid multibulk length");
    if (this.isStranger && count > MAX_STRANGER_ARGUMENTS) throw new ProtocolError("unauthenticated multibulk length");
    this.#missing = count;
    this.#at = end + 2;
    return true;
  }

  /** @returns whether all are there */
  #readArguments(): boolean {
    while (this.#missing > 0) {
      if (this.#at >= this.#length) return false;
      const sign = this.#buffer[this.#at] as number;
      if (sign !== DOLLAR)
        throw new ProtocolError(`expected '$', got '${sign > 32 && sign < 127 ? String.fromCharCode(sign) : " "}'`);
      const end = this.#lineEnd(this.#at, "too big bulk count string");
      if (end === -1) return false;
      const length = this.#integer(this.#at + 1, end);
      const from = end + 2;
      this.#mustFit(length, from);
      if (this.#length < from + length + 2) return false;
      this.#bounds.push(from, from + length);
      this.#at = from + length + 2;
      this.#missing--;
    }
    return true;
  }

  #mustFit(length: number, from: number): void {
    const { maxCommandBytes } = this.#limits;
    if (!(length >= 0)) throw new ProtocolError("invalid bulk length");
    if (this.isStranger && length > MAX_STRANGER_BYTES) throw new ProtocolError("unauthenticated bulk length");
    if (from - this.#from + length > maxCommandBytes)
      throw new ProtocolError(`invalid bulk length: the command has more than ${maxCommandBytes} bytes`);
  }

  /** @returns the place of the CR, once the byte behind it is there; -1: it is not */
  #lineEnd(from: number, tooLong: string): number {
    const buffer = this.#buffer;
    const last = Math.min(this.#length, from + MAX_LINE_BYTES);
    for (let at = from; at < last; at++) if (buffer[at] === CR) return at + 1 < this.#length ? at : -1;
    if (last - from >= MAX_LINE_BYTES) throw new ProtocolError(tooLong);
    return -1;
  }

  /** @returns NaN: it is no integer, or beyond 2^53 */
  #integer(from: number, end: number): number {
    const isNegative = this.#buffer[from] === MINUS;
    const first = isNegative ? from + 1 : from;
    if (first === end || end - first > 15) return NO_NUMBER;
    let value = 0;
    for (let at = first; at < end; at++) {
      const digit = (this.#buffer[at] as number) - ZERO;
      if (digit < 0 || digit > 9) return NO_NUMBER;
      value = value * 10 + digit;
    }
    return isNegative ? -value : value;
  }

  #inline(): Command | "empty" | null {
    const from = this.#from;
    const end = this.#buffer.subarray(0, this.#length).indexOf(LF, Math.max(this.#at, from));
    if ((end === -1 ? this.#length : end) - from > MAX_LINE_BYTES) throw new ProtocolError("too big inline request");
    if (end === -1) {
      this.#at = this.#length;
      return null;
    }
    this.#from = this.#at = end + 1;
    const line = this.#buffer.latin1Slice(from, end > from && this.#buffer[end - 1] === CR ? end - 1 : end);
    const words = splitLine(line);
    if (words === null) throw new ProtocolError("unbalanced quotes in request");
    return words.length === 0 ? "empty" : Command.of(words.map((word) => Buffer.from(word, "latin1")));
  }
}
