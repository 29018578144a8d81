/**
 * The sending half of an HTTP/2 connection: replies to frames, as far as the client's windows and its socket allow, and
 * the windows that the client is given.
 */
import type { Http2Options } from "../../config/options";
import type { Wire } from "../wire";
import {
  ACK,
  DEFAULT_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  END_HEADERS,
  END_STREAM,
  FrameType,
  MAX_31_BITS,
} from "./frames/codes";
import { ownSettings, PeerSettings } from "./frames/settings";
import { FrameWriter } from "./frames/writer";
import type { FloodCounter } from "./floods";
import { EMPTY_TABLE } from "./hpack/encoder";
import { headBlock, type WholeReply } from "./reply";
import type { Http2Stream } from "./stream";

/** The part of the connection that sending needs. */
export interface SenderOwner {
  readonly wire: Wire;
  readonly floods: FloodCounter;
  readonly settings: Http2Options;
  /** A reply does not fit the windows: its stream stays open for the rest. */
  openToSend(id: number): Http2Stream;
  /** Replies have left: requests that waited for that may begin. */
  hasSent(): void;
}

/** How much DATA a connection may send before its handlers have taken it. In bytes. */
const CONNECTION_WINDOW_BYTES = 1_048_576;
/** While so many replies wait for the client's windows, and more than maxWriteBufferBytes, new requests wait, too. */
const MIN_WAITING_REPLIES = 8;
/** Header lines up to this length may leave with their body in one piece. */
const MAX_SHORT_LINES = 8192;
const NOTHING = new Uint8Array(0);
/** `:status: 100` as a literal. */
const CONTINUE = Buffer.from([0x08, 3, 0x31, 0x30, 0x30]);

export class Http2Sender {
  readonly peer = new PeerSettings();
  readonly #owner: SenderOwner;
  readonly #writer: FrameWriter;
  /** Streams with bytes that wait for a window. */
  readonly #sending = new Set<Http2Stream>();
  /** DATA that the client takes, and that it may send. */
  #window: number = DEFAULT_WINDOW_BYTES;
  #receiveWindow = CONNECTION_WINDOW_BYTES;
  /** Received bytes whose window was not given back yet. */
  #owed = 0;
  /** More is queued than the client may leave unread. */
  #isBlocked = false;
  #isPumping = false;
  #hasToldTable = false;
  #isOver = false;

  constructor(owner: SenderOwner) {
    this.#owner = owner;
    this.#writer = new FrameWriter(owner.wire, () => this.#block());
  }

  /** Our first frames (RFC 9113 section 3.4). */
  open(): void {
    this.#writer.frame(FrameType.settings, 0, 0, ownSettings(this.#owner.settings));
    this.#writer.number(FrameType.windowUpdate, 0, CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES);
  }

  /** Whether too many replies wait for the client. */
  get isFull(): boolean {
    if (this.#sending.size < MIN_WAITING_REPLIES) return false;
    let bytes = 0;
    for (const stream of this.#sending) bytes += stream.pendingBytes;
    return bytes > this.#owner.wire.dispatch.limits.maxWriteBufferBytes;
  }

  /** From here to `sendGathered`, frames are gathered. @returns false: they are already */
  gather(): boolean {
    if (this.#writer.isGathering) return false;
    this.#writer.isGathering = true;
    return true;
  }

  sendGathered(): void {
    this.#writer.flush();
    this.#writer.isGathering = false;
  }

  /** Passes all frames to the wire. */
  flush(): void {
    this.#writer.flush();
  }

  /** Nothing waits any more. */
  stop(): void {
    this.#isOver = true;
    this.#sending.clear();
  }

  /** The client reads again. */
  unblock(): void {
    this.#isBlocked = false;
    this.#owner.wire.resume();
    this.pumpAll();
  }

  /** The client does not read: it is not read, too. */
  #block(): void {
    if (this.#isOver) return;
    this.#isBlocked = true;
    this.#owner.wire.pause();
  }

  /** Whether the connection takes DATA now. */
  get hasRoom(): boolean {
    return this.#window > 0 && !this.#isBlocked;
  }

  // ---- frames of the connection ----

  reset(id: number, code: number): void {
    this.#writer.number(FrameType.rstStream, id, code);
  }

  acknowledgeSettings(): void {
    this.#writer.frame(FrameType.settings, ACK, 0, NOTHING);
  }

  ping(payload: Uint8Array, isAck: boolean): void {
    this.#writer.frame(FrameType.ping, isAck ? ACK : 0, 0, payload);
  }

  goaway(lastStream: number, code: number): void {
    const payload = Buffer.allocUnsafe(8);
    payload.writeUInt32BE(lastStream, 0);
    payload.writeUInt32BE(code, 4);
    this.#writer.frame(FrameType.goaway, 0, 0, payload);
  }

  // ---- the windows ----

  /** The client takes more DATA. @returns false: the window is too large */
  grow(bytes: number): boolean {
    this.#window += bytes;
    if (this.#window > MAX_31_BITS) return false;
    this.pumpAll();
    return true;
  }

  /** The client sends DATA. @returns false: more than it may */
  take(bytes: number): boolean {
    this.#receiveWindow -= bytes;
    return this.#receiveWindow >= 0;
  }

  /** Whether the client may send hardly any DATA, since handlers have not taken that of other streams. */
  get isWindowClosed(): boolean {
    return this.#receiveWindow < CONNECTION_WINDOW_BYTES / 4;
  }

  /** Received bytes are not held any more. */
  giveBack(bytes: number): void {
    this.#owed += bytes;
    if (this.#owed < CONNECTION_WINDOW_BYTES / 2 || this.#isOver) return;
    this.#writer.number(FrameType.windowUpdate, 0, this.#owed);
    this.#receiveWindow += this.#owed;
    this.#owed = 0;
  }

  /** The same for the stream that they came by. */
  giveBackTo(stream: Http2Stream, bytes: number): void {
    this.giveBack(bytes);
    stream.owed += bytes;
    if (!stream.isReceiving || stream.owed < this.#owner.settings.initialWindowBytes / 2) return;
    this.#writer.number(FrameType.windowUpdate, stream.id, stream.owed);
    stream.receiveWindow += stream.owed;
    stream.owed = 0;
  }

  // ---- replies ----

  /** Sends a whole reply. @param stream  undefined: none is open, since the request was answered at once */
  send(id: number, stream: Http2Stream | undefined, { status, lines, body, length }: WholeReply): void {
    const block = this.#blockOf(status, lines, length);
    const bytes = body.length === 0 ? 0 : (length as number);
    if (bytes === 0) {
      this.#writer.headers(id, block, true, DEFAULT_FRAME_BYTES);
      return stream?.sent();
    }
    const window = stream === undefined ? this.peer.initialWindowBytes : stream.window;
    const isShort = bytes === body.length || bytes <= DEFAULT_FRAME_BYTES;
    const hasRoom = isShort && bytes <= this.#window && bytes <= window;
    if (typeof body === "string" && hasRoom && !this.#isBlocked && lines.length < MAX_SHORT_LINES) {
      this.#window -= bytes;
      this.#owner.floods.sent(bytes);
      this.#writer.textReply(id, block, body, bytes, DEFAULT_FRAME_BYTES);
      return stream?.sent();
    }
    this.#writer.headers(id, block, false, DEFAULT_FRAME_BYTES);
    (stream ?? this.#owner.openToSend(id)).send(typeof body === "string" ? Buffer.from(body) : body, true);
  }

  /** Sends the head of a reply. @param ends  no body follows */
  sendHead(stream: Http2Stream, status: number, lines: string, length: number | null, ends: boolean): void {
    if (stream.isGone) return;
    this.#writer.headers(stream.id, this.#blockOf(status, lines, length), ends, DEFAULT_FRAME_BYTES);
    if (ends) stream.sent();
  }

  #blockOf(status: number, lines: string, length: number | null): Buffer {
    const block = headBlock(status, lines, this.#owner.wire.dispatch.httpDate, length);
    if (!this.peer.hasSmallTable || this.#hasToldTable) return block;
    this.#hasToldTable = true;
    return Buffer.concat([EMPTY_TABLE, block]);
  }

  /** `100 Continue` (RFC 9110 section 15.2.1). */
  sendContinue(stream: Http2Stream): void {
    if (!stream.isGone) this.#writer.frame(FrameType.headers, END_HEADERS, stream.id, CONTINUE);
  }

  /** Sends what waits on this stream and on others. */
  pump(stream: Http2Stream): void {
    this.#sending.add(stream);
    this.pumpAll();
  }

  /** Nothing of this stream waits any more. */
  drop(stream: Http2Stream): void {
    this.#sending.delete(stream);
  }

  /** Sends a frame of each stream in turn, until the windows are used up. */
  pumpAll(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    for (let hasMoved = true; hasMoved && this.#sending.size > 0 && !this.#isBlocked;) {
      hasMoved = false;
      for (const stream of this.#sending) {
        if (this.#sendFrame(stream)) hasMoved = true;
        if (this.#isBlocked) break;
      }
    }
    this.#isPumping = false;
    this.#owner.hasSent();
  }

  /** @returns whether there was room for a frame */
  #sendFrame(stream: Http2Stream): boolean {
    const room = Math.min(DEFAULT_FRAME_BYTES, this.#window, stream.window);
    if (room <= 0 && (stream.pendingBytes > 0 || !stream.endsBehind)) return false;
    const part = stream.take(Math.max(0, room));
    this.#window -= part.length;
    this.#owner.floods.sent(part.length);
    const isLast = !stream.isPending && stream.endsBehind;
    const { trailerBlock } = stream;
    if (part.length > 0 || (isLast && trailerBlock === null))
      this.#writer.frame(FrameType.data, isLast && trailerBlock === null ? END_STREAM : 0, stream.id, part);
    if (isLast && trailerBlock !== null) this.#writer.headers(stream.id, trailerBlock, true, DEFAULT_FRAME_BYTES);
    if (stream.isPending) return true;
    this.#sending.delete(stream);
    stream.drained();
    if (isLast) stream.sent();
    return true;
  }
}
