/**
 * Reads frames (RFC 9113 sections 4 and 6): bytes in, events out. Frames may be cut at any byte. It checks all that one
 * frame shows by itself: lengths, padding, streams, the order of header blocks. It knows no stream's state.
 */
import {
  ACK,
  END_HEADERS,
  END_STREAM,
  ErrorCode,
  FRAME_HEAD_BYTES,
  FrameType,
  MAX_31_BITS,
  PADDED,
  PRIORITY,
} from "./codes";

/** Gets the frames. Bytes belong to the read: copy what is kept. */
export interface FrameOwner {
  /** A DATA frame begins. @param payloadBytes  its length, with padding: what flow control counts */
  dataBegins(stream: number, payloadBytes: number): void;
  /**
   * A part of a DATA frame's content, in order; a frame without content has one empty part.
   *
   * @param paddingBytes  flow-controlled bytes that are no content; counted with the frame's last part
   * @param isLast  the frame's last part
   * @param endsStream  nothing of the stream's body follows
   */
  data(stream: number, content: Buffer, paddingBytes: number, isLast: boolean, endsStream: boolean): void;
  /**
   * A whole header block, of HEADERS and its CONTINUATIONs.
   *
   * @param isWrong  the frame is an error of its stream, but its block must be decoded: the next ones lean on it
   */
  headers(stream: number, bytes: Buffer, from: number, to: number, endsStream: boolean, isWrong: boolean): void;
  resets(stream: number, code: number): void;
  /** Settings that are no acknowledgement: pairs of 2 and 4 bytes. */
  configures(bytes: Buffer, from: number, to: number): void;
  /** @param isAck  the answer to a PING of ours */
  pings(bytes: Buffer, from: number, isAck: boolean): void;
  /** The client leaves. */
  goesAway(): void;
  /** @param bytes  may be 0, which is an error of the stream or the connection */
  windowGrows(stream: number, bytes: number): void;
  /** A frame that is ignored: PRIORITY, an acknowledgement, an unknown type. */
  ignored(): void;
  /** An error of one stream only. */
  streamFails(stream: number, code: number): void;
  /** An error of the connection. No further event follows. @param why  the end of a sentence */
  fails(code: number, why: string): void;
}

/** A header block may have this many frames: more only cost time. */
const MAX_BLOCK_FRAMES = 64;
const EMPTY = Buffer.alloc(0);

/** "head": a frame's first 9 bytes. "pad": the length of the padding. "skip": bytes that nobody needs. */
type State = "head" | "pad" | "data" | "payload" | "skip" | "broken";

export class FrameReader {
  readonly #owner: FrameOwner;
  readonly #maxFrameBytes: number;
  readonly #maxBlockBytes: number;
  #state: State = "head";
  /** A frame's first bytes, if they are cut. */
  #head: Buffer | null = null;
  /** How much of `#head` has come. */
  #headBytes = 0;
  #type = 0;
  #flags = 0;
  #stream = 0;
  /** Bytes of the payload that are still to come; of DATA, its content only. */
  #left = 0;
  /** Bytes of padding behind the content, and the byte that says so. */
  #paddingBytes = 0;
  /** A payload that is cut. */
  #held: Buffer | null = null;
  #heldBytes = 0;
  /** A block that is not complete. */
  #block: Buffer[] | null = null;
  #blockBytes = 0;
  #blockStream = 0;
  #blockEndsStream = false;
  #blockIsWrong = false;
  /** The first frame has come. */
  #hasBegun = false;

  /**
   * @param maxFrameBytes  of a payload: our SETTINGS_MAX_FRAME_SIZE
   * @param maxBlockBytes  of a header block, as it is on the wire
   */
  constructor(owner: FrameOwner, maxFrameBytes: number, maxBlockBytes: number) {
    this.#owner = owner;
    this.#maxFrameBytes = maxFrameBytes;
    this.#maxBlockBytes = maxBlockBytes;
  }

  /** A header block has begun, and its end has not come. */
  get isInsideBlock(): boolean {
    return this.#block !== null || (this.#state === "payload" && this.#type === FrameType.headers);
  }

  /** Reads no further bytes. */
  stop(): void {
    this.#state = "broken";
  }

  read(bytes: Buffer): void {
    const end = bytes.length;
    let at = 0;
    while (at < end) {
      switch (this.#state) {
        case "head":
          at = this.#readHead(bytes, at);
          break;
        case "payload":
          at = this.#readPayload(bytes, at);
          break;
        case "data":
          at = this.#readData(bytes, at);
          break;
        case "pad":
          this.#readPadLength(bytes[at++] as number);
          break;
        case "skip": {
          const count = Math.min(this.#left, end - at);
          at += count;
          this.#left -= count;
          if (this.#left === 0) this.#state = "head";
          break;
        }
        case "broken":
          return;
      }
    }
  }

  #fail(code: number, why: string): void {
    if (this.#state === "broken") return;
    this.#state = "broken";
    this.#owner.fails(code, why);
  }

  // ---- a frame's head ----

  #readHead(bytes: Buffer, at: number): number {
    if (this.#headBytes === 0 && bytes.length - at >= FRAME_HEAD_BYTES) {
      this.#begin(bytes, at);
      return at + FRAME_HEAD_BYTES;
    }
    const count = Math.min(FRAME_HEAD_BYTES - this.#headBytes, bytes.length - at);
    const head = (this.#head ??= Buffer.allocUnsafe(FRAME_HEAD_BYTES));
    bytes.copy(head, this.#headBytes, at, at + count);
    this.#headBytes += count;
    if (this.#headBytes === FRAME_HEAD_BYTES) {
      this.#headBytes = 0;
      this.#head = null;
      this.#begin(head, 0);
    }
    return at + count;
  }

  #begin(head: Buffer, at: number): void {
    const length = ((head[at] as number) << 16) | ((head[at + 1] as number) << 8) | (head[at + 2] as number);
    const type = head[at + 3] as number;
    const flags = head[at + 4] as number;
    const stream = head.readUInt32BE(at + 5) & MAX_31_BITS;
    this.#type = type;
    this.#flags = flags;
    this.#stream = stream;
    this.#left = length;
    if (!this.#hasBegun) {
      this.#hasBegun = true;
      // RFC 9113 section 3.4.
      if (type !== FrameType.settings || (flags & ACK) !== 0)
        return this.#fail(ErrorCode.protocol, "the first frame is not SETTINGS");
    }
    if (length > this.#maxFrameBytes) return this.#fail(ErrorCode.frameSize, "a frame is too large");
    // Nothing may stand between the frames of a header block (RFC 9113 section 4.3).
    if (this.#block !== null && (type !== FrameType.continuation || stream !== this.#blockStream))
      return this.#fail(ErrorCode.protocol, "a header block was interrupted");
    switch (type) {
      case FrameType.data:
        return this.#beginData(length);
      case FrameType.headers:
        if (stream === 0) return this.#fail(ErrorCode.protocol, "HEADERS of no stream");
        return this.#await(length);
      case FrameType.continuation:
        if (this.#block === null) return this.#fail(ErrorCode.protocol, "a CONTINUATION of nothing");
        return this.#await(length);
      case FrameType.priority:
        if (stream === 0) return this.#fail(ErrorCode.protocol, "a PRIORITY of no stream");
        if (length === 5) return this.#await(length);
        this.#skip();
        return this.#owner.streamFails(stream, ErrorCode.frameSize);
      case FrameType.rstStream:
        if (stream === 0) return this.#fail(ErrorCode.protocol, "a RST_STREAM of no stream");
        return this.#awaitExactly(4);
      case FrameType.windowUpdate:
        return this.#awaitExactly(4);
      case FrameType.pushPromise:
        return this.#fail(ErrorCode.protocol, "a PUSH_PROMISE of a client");
      case FrameType.settings:
      case FrameType.ping:
      case FrameType.goaway:
        if (stream !== 0) return this.#fail(ErrorCode.protocol, "a frame of the connection names a stream");
        return this.#beginOfConnection(length);
      default:
        this.#skip();
        return this.#owner.ignored();
    }
  }

  #beginOfConnection(length: number): void {
    if (this.#type === FrameType.ping) return this.#awaitExactly(8);
    if (this.#type === FrameType.goaway) {
      if (length < 8) return this.#fail(ErrorCode.frameSize, "a GOAWAY is too short");
      this.#skip();
      return this.#owner.goesAway();
    }
    const isAck = (this.#flags & ACK) !== 0;
    if (isAck ? length !== 0 : length % 6 !== 0) return this.#fail(ErrorCode.frameSize, "SETTINGS of a wrong length");
    this.#await(length);
  }

  #awaitExactly(bytes: number): void {
    if (this.#left !== bytes) return this.#fail(ErrorCode.frameSize, "a frame of a wrong length");
    this.#await(bytes);
  }

  /** The payload is needed whole. */
  #await(length: number): void {
    if (length === 0) this.#take(EMPTY, 0, 0);
    else this.#state = "payload";
  }

  #skip(): void {
    this.#state = this.#left === 0 ? "head" : "skip";
  }

  // ---- DATA, whose content is passed on as it comes ----

  #beginData(length: number): void {
    if (this.#stream === 0) return this.#fail(ErrorCode.protocol, "DATA of no stream");
    this.#owner.dataBegins(this.#stream, length);
    if ((this.#state as State) === "broken") return;
    this.#paddingBytes = 0;
    if ((this.#flags & PADDED) !== 0) {
      if (length === 0) return this.#fail(ErrorCode.frameSize, "the length of the padding is missing");
      this.#state = "pad";
    } else if (length === 0) this.#passData(EMPTY, true);
    else this.#state = "data";
  }

  #readPadLength(length: number): void {
    if (length >= this.#left) return this.#fail(ErrorCode.protocol, "more padding than payload");
    this.#left -= 1 + length;
    this.#paddingBytes = 1 + length;
    if (this.#left > 0) this.#state = "data";
    else this.#endData(EMPTY);
  }

  #readData(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    this.#left -= end - at;
    const content = bytes.subarray(at, end);
    if (this.#left > 0) this.#passData(content, false);
    else this.#endData(content);
    return end;
  }

  #endData(content: Buffer): void {
    this.#left = Math.max(0, this.#paddingBytes - 1);
    this.#skip();
    this.#passData(content, true);
  }

  #passData(content: Buffer, isLast: boolean): void {
    const padding = isLast ? this.#paddingBytes : 0;
    this.#owner.data(this.#stream, content, padding, isLast, isLast && (this.#flags & END_STREAM) !== 0);
  }

  // ---- other payloads, which are taken whole ----

  #readPayload(bytes: Buffer, at: number): number {
    const count = Math.min(this.#left, bytes.length - at);
    if (this.#held === null && count === this.#left) {
      this.#state = "head";
      this.#take(bytes, at, at + count);
      return at + count;
    }
    const held = (this.#held ??= Buffer.allocUnsafe(this.#left));
    bytes.copy(held, this.#heldBytes, at, at + count);
    this.#heldBytes += count;
    this.#left -= count;
    if (this.#left === 0) {
      this.#held = null;
      this.#heldBytes = 0;
      this.#state = "head";
      this.#take(held, 0, held.length);
    }
    return at + count;
  }

  #take(bytes: Buffer, from: number, to: number): void {
    const owner = this.#owner;
    switch (this.#type) {
      case FrameType.headers:
        return this.#takeHeaders(bytes, from, to);
      case FrameType.continuation:
        return this.#takeContinuation(bytes, from, to);
      case FrameType.priority:
        return this.#takePriority(bytes, from);
      case FrameType.rstStream:
        return owner.resets(this.#stream, bytes.readUInt32BE(from));
      case FrameType.settings:
        return (this.#flags & ACK) !== 0 ? owner.ignored() : owner.configures(bytes, from, to);
      case FrameType.ping:
        return owner.pings(bytes, from, (this.#flags & ACK) !== 0);
      default:
        return owner.windowGrows(this.#stream, bytes.readUInt32BE(from) & MAX_31_BITS);
    }
  }

  #takePriority(bytes: Buffer, from: number): void {
    if (this.#dependsOnItself(bytes, from)) this.#owner.streamFails(this.#stream, ErrorCode.protocol);
    else this.#owner.ignored();
  }

  #dependsOnItself(bytes: Buffer, from: number): boolean {
    return (bytes.readUInt32BE(from) & MAX_31_BITS) === this.#stream;
  }

  #takeHeaders(bytes: Buffer, from: number, to: number): void {
    let start = from;
    let end = to;
    if ((this.#flags & PADDED) !== 0) {
      if (start >= end) return this.#fail(ErrorCode.frameSize, "the length of the padding is missing");
      end -= bytes[start] as number;
      start++;
    }
    const hasPriority = (this.#flags & PRIORITY) !== 0;
    if (hasPriority && end - start < 5 && to - start < 5) return this.#fail(ErrorCode.frameSize, "HEADERS too short");
    const priorityAt = start;
    if (hasPriority) start += 5;
    if (start > end) return this.#fail(ErrorCode.protocol, "more padding than payload");
    const endsStream = (this.#flags & END_STREAM) !== 0;
    const isWhole = (this.#flags & END_HEADERS) !== 0;
    const isWrong = hasPriority && this.#dependsOnItself(bytes, priorityAt);
    if (isWhole) this.#owner.headers(this.#stream, bytes, start, end, endsStream, isWrong);
    else this.#beginBlock(bytes, start, end, endsStream, isWrong);
  }

  #beginBlock(bytes: Buffer, from: number, to: number, endsStream: boolean, isWrong: boolean): void {
    this.#blockIsWrong = isWrong;
    this.#block = [];
    this.#blockBytes = 0;
    this.#blockStream = this.#stream;
    this.#blockEndsStream = endsStream;
    this.#addToBlock(this.#block, bytes, from, to);
  }

  #takeContinuation(bytes: Buffer, from: number, to: number): void {
    const block = this.#block as Buffer[];
    this.#addToBlock(block, bytes, from, to);
    if ((this.#flags & END_HEADERS) === 0 || (this.#state as State) === "broken") return;
    const whole = Buffer.concat(block);
    this.#block = null;
    this.#owner.headers(this.#blockStream, whole, 0, whole.length, this.#blockEndsStream, this.#blockIsWrong);
  }

  #addToBlock(block: Buffer[], bytes: Buffer, from: number, to: number): void {
    block.push(Buffer.from(bytes.subarray(from, to)));
    this.#blockBytes += to - from;
    if (block.length > MAX_BLOCK_FRAMES) this.#fail(ErrorCode.calm, `${block.length} frames of one header block`);
    else if (this.#blockBytes > this.#maxBlockBytes)
      this.#fail(ErrorCode.calm, `a header block of ${this.#blockBytes} bytes`);
  }
}
