/**
 * The chunked transfer coding (RFC 9112 section 7.1), strictly: no bare LF, no white space around a size.
 *
 * llhttp decodes it too, but cannot stop behind the message: it reads into the next request, and if an upgrade makes it
 * stop, it misses some errors.
 */

const CR = 13;
const LF = 10;
const SEMICOLON = 0x3b;
const COLON = 0x3a;

// The part that comes next.
const SIZE_START = 0;
const SIZE = 1;
const EXTENSION = 2;
const SIZE_LF = 3;
const DATA = 4;
const DATA_CR = 5;
const DATA_LF = 6;
const TRAILER_START = 7;
const TRAILER_NAME = 8;
const TRAILER_VALUE = 9;
const TRAILER_LF = 10;
const LAST_LF = 11;
const DONE = 12;

/** A size of more digits than this would lose precision; the body limit is far below. */
const MAX_SIZE = 0xff_ffff_ffff;
/** Limits the zeros in front of a size. */
const MAX_SIZE_DIGITS = 16;

/** 1 for the characters of a field's name (RFC 9110 section 5.6.2). */
const IS_TOKEN = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
  IS_TOKEN[char.charCodeAt(0)] = 1;

/** Fields that frame a message mean nothing behind it, and are a sign of smuggling. */
const FRAMING_TRAILER = /^(?:content-length|transfer-encoding|host)$/i;

/** Decodes one body, in as many pieces as it comes. */
export class ChunkedDecoder {
  private state = SIZE_START;
  /** The current chunk: first its size so far, then the number of missing bytes. */
  private remaining = 0;
  private sizeDigits = 0;
  private overheadBytes = 0;
  private trailerName = "";
  private trailerValue = "";
  /** Names and values in turn, a character a byte. */
  readonly trailers: string[] = [];

  /** @param maxOverheadBytes  extensions and trailers of the whole body together */
  constructor(private readonly maxOverheadBytes: number) {}

  /** The end of the body was read. */
  get isComplete(): boolean {
    return this.state === DONE;
  }

  /**
   * Reads from `from` on, to the end of the body or of the bytes.
   *
   * @param push  gets the body's bytes in `bytes` as one part; a view of `bytes` if they are of one chunk. Not called
   *   for an empty part
   * @returns the offset behind the bytes of the body; -1 if it is malformed, or its extensions and trailers are too
   *   large
   */
  decode(bytes: Uint8Array, from: number, push: (part: Uint8Array) => void): number {
    const pieces = new Pieces(bytes);
    let at = from;
    while (at < bytes.length && this.state !== DONE) {
      if (this.state === DATA) {
        const end = Math.min(bytes.length, at + this.remaining);
        pieces.add(at, end);
        this.remaining -= end - at;
        at = end;
        if (this.remaining === 0) this.state = DATA_CR;
      } else if (!this.step(bytes[at++] as number)) return -1;
    }
    const part = pieces.joined();
    if (part.length > 0) push(part);
    return at;
  }

  /** Takes one byte outside a chunk's data. @returns false if it is not allowed there */
  private step(byte: number): boolean {
    switch (this.state) {
      case SIZE_START:
        this.remaining = this.sizeDigits = 0;
        this.state = SIZE;
        return this.addDigit(byte);
      case SIZE:
        if (byte === CR) return this.go(SIZE_LF);
        return byte === SEMICOLON ? this.go(EXTENSION) : this.addDigit(byte);
      case EXTENSION:
        return byte === CR ? this.go(SIZE_LF) : isText(byte) && this.addOverhead();
      case SIZE_LF:
        return byte === LF && this.go(this.remaining === 0 ? TRAILER_START : DATA);
      case DATA_CR:
        return byte === CR && this.go(DATA_LF);
      case DATA_LF:
        return byte === LF && this.go(SIZE_START);
      case TRAILER_START:
        if (byte === CR) return this.go(LAST_LF);
        this.trailerName = "";
        this.trailerValue = "";
        this.state = TRAILER_NAME;
        return this.addToName(byte);
      case TRAILER_NAME:
        return byte === COLON
          ? !FRAMING_TRAILER.test(this.trailerName) && this.go(TRAILER_VALUE)
          : this.addToName(byte);
      case TRAILER_VALUE:
        if (byte === CR) return this.go(TRAILER_LF);
        this.trailerValue += String.fromCharCode(byte);
        return isText(byte) && this.addOverhead();
      case TRAILER_LF:
        this.trailers.push(this.trailerName, this.trailerValue.trim());
        return byte === LF && this.go(TRAILER_START);
      default:
        return byte === LF && this.go(DONE);
    }
  }

  private go(state: number): true {
    this.state = state;
    return true;
  }

  private addDigit(byte: number): boolean {
    const digit = hexValue(byte);
    this.remaining = this.remaining * 16 + digit;
    return digit >= 0 && this.remaining <= MAX_SIZE && ++this.sizeDigits <= MAX_SIZE_DIGITS;
  }

  private addToName(byte: number): boolean {
    this.trailerName += String.fromCharCode(byte);
    return IS_TOKEN[byte] === 1 && this.addOverhead();
  }

  private addOverhead(): boolean {
    return ++this.overheadBytes <= this.maxOverheadBytes;
  }
}

/**
 * The body's bytes in one read. A client may send chunks of one byte: an object for each would take a hundred times the
 * memory.
 */
class Pieces {
  private start = 0;
  private end = 0;
  private joint: Uint8Array | null = null;
  private jointBytes = 0;

  constructor(private readonly bytes: Uint8Array) {}

  add(from: number, to: number): void {
    if (this.joint !== null) this.append(this.joint, from, to);
    else if (this.end === 0) [this.start, this.end] = [from, to];
    else {
      this.joint = new Uint8Array(this.end - this.start + this.bytes.length - from);
      this.append(this.joint, this.start, this.end);
      this.append(this.joint, from, to);
    }
  }

  joined(): Uint8Array {
    return this.joint === null ? this.bytes.subarray(this.start, this.end) : this.joint.subarray(0, this.jointBytes);
  }

  private append(joint: Uint8Array, from: number, to: number): void {
    if (to - from === 1) joint[this.jointBytes] = this.bytes[from] as number;
    else joint.set(this.bytes.subarray(from, to), this.jointBytes);
    this.jointBytes += to - from;
  }
}

function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** The characters of a field's value and a chunk's extension: visible characters, space, tab, and high bytes. */
function isText(byte: number): boolean {
  return (byte >= 0x20 && byte !== 0x7f) || byte === 9;
}
