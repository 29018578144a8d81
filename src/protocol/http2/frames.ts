/**
 * Frame headers of HTTP/2 (RFC 9113 section 4.1), read from passing bytes. Skips payloads and allocates nothing. Frames
 * may be cut at any byte.
 */

export const FrameType = {
  data: 0,
  headers: 1,
  rstStream: 3,
  settings: 4,
  goaway: 7,
} as const;

/** RFC 9113 section 7. */
export const ErrorCode = {
  none: 0,
  internal: 2,
  calm: 11,
} as const;

const HEADER_BYTES = 9;
const PADDED = 0x8;

export abstract class FrameReader {
  private readonly header = new Uint8Array(HEADER_BYTES);
  /** How much of `header` is filled, while a header is cut. */
  private filled = 0;
  /** Bytes of the current payload that are still to come. */
  private skip: number;

  /** @param skip  bytes before the first frame */
  constructor(skip: number) {
    this.skip = skip;
  }

  /** Whether the bytes so far end with a whole frame. */
  get isBetweenFrames(): boolean {
    return this.skip === 0 && this.filled === 0;
  }

  read(bytes: Uint8Array): void {
    const end = bytes.length;
    let at = 0;
    while (at < end) {
      if (this.skip > 0) {
        const skipped = Math.min(this.skip, end - at);
        this.skip -= skipped;
        at += skipped;
      } else if (this.filled === 0 && end - at > HEADER_BYTES) {
        // One byte more than the header is there: the pad length of a padded frame.
        this.take(bytes, at, bytes[at + HEADER_BYTES] as number);
        at += HEADER_BYTES;
      } else at = this.collect(bytes, at);
    }
  }

  /**
   * A frame's header.
   *
   * @param contentBytes  the payload's length; of a padded DATA frame, without the padding
   */
  protected abstract frame(type: number, contentBytes: number, stream: number): void;

  private collect(bytes: Uint8Array, from: number): number {
    let at = from;
    while (this.filled < HEADER_BYTES && at < bytes.length) this.header[this.filled++] = bytes[at++] as number;
    if (this.filled < HEADER_BYTES) return at;
    const { header } = this;
    const hasPadLength = isPaddedData(header, 0) && lengthOf(header, 0) > 0;
    if (hasPadLength && at >= bytes.length) return at;
    this.filled = 0;
    this.take(header, 0, at < bytes.length ? (bytes[at] as number) : 0);
    return at;
  }

  private take(bytes: Uint8Array, at: number, firstByte: number): void {
    const length = lengthOf(bytes, at);
    this.skip = length;
    const content = isPaddedData(bytes, at) ? length - 1 - firstByte : length;
    const stream =
      (((bytes[at + 5] as number) & 0x7f) * 0x1000000) |
      ((bytes[at + 6] as number) << 16) |
      ((bytes[at + 7] as number) << 8);
    this.frame(bytes[at + 3] as number, content, stream | (bytes[at + 8] as number));
  }
}

function lengthOf(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
}

function isPaddedData(bytes: Uint8Array, at: number): boolean {
  return bytes[at + 3] === FrameType.data && ((bytes[at + 4] as number) & PADDED) !== 0;
}

/**
 * What the server has sent: where frames end, so that one may be put between them, and how much of it asks for answers.
 */
export class SentFrames extends FrameReader {
  hasBegun = false;
  dataFrames = 0;

  constructor() {
    super(0);
  }

  protected frame(type: number): void {
    this.hasBegun = true;
    if (type === FrameType.data) this.dataFrames++;
  }
}

/** An empty SETTINGS frame: a server's first frame must be one (RFC 9113 section 3.4). */
export const EMPTY_SETTINGS: Uint8Array = Uint8Array.of(0, 0, 0, FrameType.settings, 0, 0, 0, 0, 0);

/** A GOAWAY frame (RFC 9113 section 6.8). @param lastStream the highest stream that was or will be processed */
export function goawayFrame(lastStream: number, code: number): Uint8Array {
  const frame = Buffer.alloc(HEADER_BYTES + 8);
  frame[2] = 8;
  frame[3] = FrameType.goaway;
  frame.writeUInt32BE(lastStream, HEADER_BYTES);
  frame.writeUInt32BE(code, HEADER_BYTES + 4);
  return frame;
}
