/**
 * Turns a client's bytes into messages (RFC 6455 sections 5 and 6.2): finds the frames, unmasks them in place, joins
 * fragments, and checks for every violation. A message that comes in one read is not copied.
 */
import { isAscii, isUtf8 } from "node:buffer";
import { inflate } from "./deflate";
import {
  BINARY,
  CLOSE,
  CONTINUATION,
  FIN,
  INVALID_DATA,
  isValidFromClient,
  MAX_CONTROL_BYTES,
  NO_STATUS,
  PING,
  PONG,
  PROTOCOL_ERROR,
  RSV1,
  TEXT,
  TOO_BIG,
} from "./frames";
import { HIGH_BITS, readKey, rotateKey, unmask, unmaskApart } from "./mask";

/** The receiver of messages. Each call may end the socket: `isReading` says whether to continue. */
export interface FrameReaderOwner {
  /** False: stop behind this frame, and keep the rest for `resume`. */
  readonly isReading: boolean;
  /** The peer may compress. */
  readonly isDeflating: boolean;
  /** The limit of one message, even after inflating. */
  readonly maxMessageBytes: number;
  text(text: string): void;
  binary(bytes: Buffer): void;
  ping(payload: Buffer): void;
  pong(payload: Buffer): void;
  /** @param code NO_STATUS if the frame had none */
  close(code: number, reason: string): void;
  /** The peer broke the protocol: fail the connection with this close code. */
  violation(code: number, reason: string): void;
}

const OPCODE = 0x0f;
const RESERVED = 0x70;
const MASKED = 0x80;
const MAX_HEADER_BYTES = 14;
/** Room made at once for an announced frame; above it, room grows with the received bytes. In bytes. */
const MAX_TRUSTED_BYTES = 65_536;
const EMPTY = Buffer.alloc(0);

export class FrameReader {
  readonly #owner: FrameReaderOwner;
  #isDiscarding = false;
  /** Bytes that came while the owner was not reading. */
  #unread: Buffer[] | null = null;
  #isKept = false;

  // A header that is cut in two.
  #header: Buffer | null = null;
  #headerBytes = 0;

  // The frame whose payload is arriving.
  #flags = 0;
  #key = 0;
  /** The missing part of its payload. In bytes. */
  #left = 0;
  #control: Buffer | null = null;

  // The incomplete message. 0: none.
  #opcode = CONTINUATION;
  #isCompressed = false;
  #message = EMPTY;
  #messageBytes = 0;
  #seenBits = 0;

  constructor(owner: FrameReaderOwner) {
    this.#owner = owner;
  }

  /**
   * @param bytes changed in place, and kept by the receiver of the message
   * @returns whether the bytes were kept
   */
  read(bytes: Buffer): boolean {
    if (this.#unread !== null) {
      this.#unread.push(bytes);
      return true;
    }
    if (this.#readSmallText(bytes)) return false;
    this.#isKept = false;
    this.#readFrom(bytes, 0);
    return this.#isKept;
  }

  /** A read that is one short, whole, plain text: nearly all reads. @returns false if it is anything else */
  #readSmallText(bytes: Buffer): boolean {
    const length = (bytes[1] as number) - MASKED;
    if (bytes[0] !== (FIN | TEXT) || bytes.length !== length + 6 || length > 125 || length < 0) return false;
    if (this.isInside || this.#isDiscarding || !this.#owner.isReading || length > this.#owner.maxMessageBytes)
      return false;
    const seenBits = unmask(bytes, 6, bytes.length, readKey(bytes, 2));
    this.#takeText(bytes, 6, bytes.length, (seenBits & HIGH_BITS) === 0);
    return true;
  }

  /** How much content of the current message has come. In bytes. */
  get messageBytes(): number {
    return this.#messageBytes;
  }

  /** Whether a frame, or a message in fragments, has begun but not ended. */
  get isInside(): boolean {
    return this.#opcode !== CONTINUATION || this.#left > 0 || this.#header !== null;
  }

  /** Continues with the bytes left when the owner stopped reading. */
  resume(): void {
    while (this.#unread !== null && this.#owner.isReading) {
      const unread = this.#unread;
      this.#unread = null;
      this.#readFrom(unread.length === 1 ? (unread[0] as Buffer) : Buffer.concat(unread), 0);
    }
  }

  /** From here on data frames are skipped unread: only the peer's close frame still counts. */
  discardMessages(): void {
    this.#isDiscarding = true;
    this.#message = EMPTY;
    this.#messageBytes = 0;
  }

  /** Drops everything: the socket is over. */
  drop(): void {
    this.#unread = null;
    this.#forgetMessage();
  }

  #readFrom(bytes: Buffer, from: number): void {
    let at = from;
    while (at < bytes.length) {
      if (!this.#owner.isReading) {
        this.#unread = [at === 0 ? bytes : bytes.subarray(at)];
        this.#isKept = true;
        return;
      }
      if (this.#left > 0) at = this.#readPayload(bytes, at);
      else if (this.#header !== null) at = this.#readHeldHeader(this.#header, bytes, at);
      else at = this.#readFrame(bytes, at);
      if (at < 0) return;
    }
  }

  /** @returns the offset behind the taken bytes; -1 after a violation */
  #readFrame(bytes: Buffer, at: number): number {
    const headerBytes = this.#parseHeader(bytes, at, bytes.length - at);
    if (headerBytes < 0) return -1;
    if (headerBytes === 0) return this.#holdHeader(bytes, at);
    return this.#beginPayload(bytes, at + headerBytes);
  }

  #holdHeader(bytes: Buffer, at: number): number {
    this.#header = Buffer.allocUnsafe(MAX_HEADER_BYTES);
    this.#header.set(bytes.subarray(at));
    this.#headerBytes = bytes.length - at;
    return bytes.length;
  }

  #readHeldHeader(header: Buffer, bytes: Buffer, from: number): number {
    let at = from;
    while (at < bytes.length) {
      header[this.#headerBytes++] = bytes[at++] as number;
      const headerBytes = this.#parseHeader(header, 0, this.#headerBytes);
      if (headerBytes < 0) return -1;
      if (headerBytes === 0) continue;
      this.#header = null;
      return this.#beginPayload(bytes, at);
    }
    return at;
  }

  /**
   * Checks each byte as soon as it comes. @returns the header's length; 0 if more bytes are needed; -1 after a
   * violation
   */
  #parseHeader(bytes: Buffer, at: number, available: number): number {
    if (available < 2) return 0;
    const flags = bytes[at] as number;
    const second = bytes[at + 1] as number;
    const problem = this.#findProblem(flags, second);
    if (problem !== null) return this.#violate(PROTOCOL_ERROR, problem);
    let length = second & 0x7f;
    let keyAt = at + 2;
    if (length === 126) {
      if (available < 4) return 0;
      length = ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
      keyAt = at + 4;
    } else if (length === 127) {
      if (available < 10) return 0;
      if ((bytes[at + 2] as number) >= 0x80) return this.#violate(PROTOCOL_ERROR, "a length's highest bit is set");
      length = bytes.readUInt32BE(at + 2) * 0x1_0000_0000 + bytes.readUInt32BE(at + 6);
      keyAt = at + 10;
    }
    if ((flags & 8) === 0 && !this.#isDiscarding && this.#messageBytes + length > this.#owner.maxMessageBytes) {
      return this.#violate(TOO_BIG, `a message is over ${this.#owner.maxMessageBytes} bytes`);
    }
    const headerBytes = keyAt + 4 - at;
    if (available < headerBytes) return 0;
    this.#flags = flags;
    this.#left = length;
    this.#key = readKey(bytes, keyAt);
    return headerBytes;
  }

  /** Section 5.2, and RFC 7692 section 6 for RSV1. */
  #findProblem(flags: number, second: number): string | null {
    const opcode = flags & OPCODE;
    const reserved = flags & RESERVED;
    if ((opcode > BINARY && opcode < CLOSE) || opcode > PONG) return `opcode ${opcode} is reserved`;
    if (reserved !== 0 && !(reserved === RSV1 && this.#owner.isDeflating && (opcode === TEXT || opcode === BINARY)))
      return "a reserved bit is set";
    if (second < MASKED) return "a frame is not masked";
    if (opcode >= CLOSE) {
      if ((flags & FIN) === 0) return "a control frame is fragmented";
      return (second & 0x7f) > MAX_CONTROL_BYTES ? `a control frame is over ${MAX_CONTROL_BYTES} bytes` : null;
    }
    if (opcode === CONTINUATION) return this.#opcode === CONTINUATION ? "nothing is there to be continued" : null;
    return this.#opcode === CONTINUATION ? null : "a message begins inside another";
  }

  /** The header is read; the payload begins at `at`. */
  #beginPayload(bytes: Buffer, at: number): number {
    const flags = this.#flags;
    const opcode = flags & OPCODE;
    const length = this.#left;
    const end = at + length;
    const isWhole = end <= bytes.length;
    if (opcode >= CLOSE) {
      if (isWhole) {
        unmask(bytes, at, end, this.#key);
        this.#left = 0;
        return this.#takeControl(opcode, bytes.subarray(at, end)) ? end : -1;
      }
      this.#control = Buffer.allocUnsafe(length);
    } else {
      if (isWhole && opcode !== CONTINUATION && (flags & FIN) !== 0 && !this.#isDiscarding) {
        if (opcode === TEXT && (flags & RSV1) === 0) {
          const text = unmaskApart(bytes, at, end, this.#key);
          this.#left = 0;
          if (text !== null) return this.#takeText(text.bytes, 0, length, text.isAscii) ? end : -1;
        }
        const seenBits = unmask(bytes, at, end, this.#key);
        this.#left = 0;
        return this.#takeMessage(opcode, (flags & RSV1) !== 0, bytes, at, end, seenBits) ? end : -1;
      }
      if (opcode !== CONTINUATION) {
        this.#opcode = opcode;
        this.#isCompressed = (flags & RSV1) !== 0;
      }
      // An announced length reserves only a first piece of memory.
      if (!this.#isDiscarding) this.#makeRoom(Math.min(length, MAX_TRUSTED_BYTES));
    }
    // Also for an empty frame, which needs no more bytes.
    return this.#readPayload(bytes, at);
  }

  #readPayload(bytes: Buffer, at: number): number {
    const count = Math.min(this.#left, bytes.length - at);
    const end = at + count;
    const isControl = (this.#flags & 8) !== 0;
    if (isControl) {
      const control = this.#control as Buffer;
      control.set(bytes.subarray(at, end), control.length - this.#left);
    } else if (!this.#isDiscarding && count > 0) this.#append(bytes, at, end);
    this.#left -= count;
    if (this.#left > 0) return end;
    return (isControl ? this.#endControl(this.#control as Buffer) : this.#endFragment()) ? end : -1;
  }

  #append(bytes: Buffer, at: number, end: number): void {
    const count = end - at;
    this.#makeRoom(count);
    this.#message.set(bytes.subarray(at, end), this.#messageBytes);
    this.#seenBits |= unmask(this.#message, this.#messageBytes, this.#messageBytes + count, this.#key);
    this.#key = rotateKey(this.#key, count);
    this.#messageBytes += count;
  }

  #makeRoom(bytes: number): void {
    const have = this.#message.length;
    const needed = this.#messageBytes + bytes;
    if (needed <= have) return;
    const grown = Buffer.allocUnsafeSlow(have === 0 ? needed : Math.max(needed, have * 2));
    grown.set(this.#message.subarray(0, this.#messageBytes));
    this.#message = grown;
  }

  #endControl(control: Buffer): boolean {
    this.#control = null;
    unmask(control, 0, control.length, this.#key);
    return this.#takeControl(this.#flags & OPCODE, control);
  }

  /** @returns false after a violation, here and below */
  #endFragment(): boolean {
    if ((this.#flags & FIN) === 0) return true;
    const opcode = this.#opcode;
    const message = this.#message;
    const bytes = this.#messageBytes;
    const seenBits = this.#seenBits;
    const isCompressed = this.#isCompressed;
    this.#forgetMessage();
    return this.#isDiscarding || this.#takeMessage(opcode, isCompressed, message, 0, bytes, seenBits);
  }

  #forgetMessage(): void {
    this.#opcode = CONTINUATION;
    this.#message = EMPTY;
    this.#messageBytes = 0;
    this.#seenBits = 0;
  }

  #takeMessage(
    opcode: number,
    isCompressed: boolean,
    bytes: Buffer,
    from: number,
    to: number,
    seenBits: number,
  ): boolean {
    if (isCompressed) return this.#takeCompressed(opcode, bytes.subarray(from, to));
    if (opcode === TEXT) return this.#takeText(bytes, from, to, (seenBits & HIGH_BITS) === 0);
    const message = bytes.subarray(from, to);
    this.#isKept = true;
    // The author may transfer the memory, and the bytes behind it would be gone.
    this.#owner.binary(to === bytes.length ? message : Buffer.from(message));
    return true;
  }

  #takeCompressed(opcode: number, payload: Buffer): boolean {
    const { maxMessageBytes } = this.#owner;
    const message = inflate(payload, maxMessageBytes);
    if (message === "too big") return this.#violate(TOO_BIG, `a message is over ${maxMessageBytes} bytes`) >= 0;
    if (message === "invalid") return this.#violate(INVALID_DATA, "a compressed message is damaged") >= 0;
    if (opcode === TEXT) return this.#takeText(message, 0, message.length, isAscii(message));
    this.#owner.binary(message);
    return true;
  }

  #takeText(bytes: Buffer, from: number, to: number, isPlain: boolean): boolean {
    if (isPlain) this.#owner.text(bytes.latin1Slice(from, to));
    else if (isUtf8(bytes.subarray(from, to))) this.#owner.text(bytes.utf8Slice(from, to));
    else return this.#violate(INVALID_DATA, "a text is not UTF-8") >= 0;
    return true;
  }

  #takeControl(opcode: number, payload: Buffer): boolean {
    if (opcode === PING) this.#owner.ping(payload);
    else if (opcode === PONG) this.#owner.pong(payload);
    else return this.#takeClose(payload);
    return true;
  }

  /** Section 5.5.1. */
  #takeClose(payload: Buffer): boolean {
    if (payload.length === 0) {
      this.#owner.close(NO_STATUS, "");
      return true;
    }
    if (payload.length === 1) return this.#violate(PROTOCOL_ERROR, "a close frame has half a code") >= 0;
    const code = payload.readUInt16BE(0);
    if (!isValidFromClient(code)) return this.#violate(PROTOCOL_ERROR, `close code ${code} is not one to send`) >= 0;
    const reason = payload.subarray(2);
    if (!isUtf8(reason)) return this.#violate(INVALID_DATA, "a close reason is not UTF-8") >= 0;
    this.#owner.close(code, reason.utf8Slice());
    return true;
  }

  #violate(code: number, reason: string): -1 {
    this.drop();
    this.#owner.violation(code, reason);
    return -1;
  }
}
