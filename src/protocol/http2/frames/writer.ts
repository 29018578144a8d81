/**
 * Writes frames (RFC 9113 section 4.1). Frames of one turn are gathered in one piece of memory, which all connections
 * of the thread use in turn, and leave in one write.
 */
import type { Wire } from "../../wire";
import { END_HEADERS, END_STREAM, FRAME_HEAD_BYTES, FrameType } from "./codes";

/** The memory that writers use in turn. No frame that is gathered in it is half as long. */
const ARENA = Buffer.allocUnsafeSlow(131_072);
/** How much of it is used, and by which writer. */
const gathered: { bytes: number; owner: FrameWriter | null } = { bytes: 0, owner: null };

export class FrameWriter {
  /** Whether `flush` comes by itself: the connection is being read. */
  isGathering = false;
  readonly #wire: Wire;
  readonly #onFull: () => void;
  #isScheduled = false;
  readonly #flush = (): void => {
    this.#isScheduled = false;
    this.flush();
  };

  /** @param onFull  called when more is queued than the client may leave unread */
  constructor(wire: Wire, onFull: () => void) {
    this.#wire = wire;
    this.#onFull = onFull;
  }

  /** Passes what was gathered to the wire. */
  flush(): void {
    const { bytes } = gathered;
    if (gathered.owner !== this || bytes === 0) return;
    gathered.owner = null;
    gathered.bytes = 0;
    if (!this.#wire.writeShared(ARENA.subarray(0, bytes))) this.#onFull();
  }

  /** Makes room for `bytes`. @returns where they go */
  #claim(bytes: number): number {
    if (gathered.owner !== this) {
      gathered.owner?.flush();
      gathered.owner = this;
    } else if (gathered.bytes + bytes > ARENA.length) {
      this.flush();
      gathered.owner = this;
    }
    if (!this.isGathering && !this.#isScheduled) {
      this.#isScheduled = true;
      queueMicrotask(this.#flush);
    }
    return gathered.bytes;
  }

  /** A frame. Its payload is at most half of the arena. */
  frame(type: number, flags: number, stream: number, payload: Uint8Array): void {
    const at = putHead(this.#claim(FRAME_HEAD_BYTES + payload.length), payload.length, type, flags, stream);
    ARENA.set(payload, at);
    gathered.bytes = at + payload.length;
  }

  /** A frame whose payload is one number of 4 bytes: RST_STREAM and WINDOW_UPDATE. */
  number(type: number, stream: number, value: number): void {
    const at = putHead(this.#claim(FRAME_HEAD_BYTES + 4), 4, type, 0, stream);
    ARENA.writeUInt32BE(value, at);
    gathered.bytes = at + 4;
  }

  /**
   * A header block, with CONTINUATIONs if it is longer than a frame.
   *
   * @param maxFrameBytes  of the client
   */
  headers(stream: number, block: Uint8Array, endsStream: boolean, maxFrameBytes: number): void {
    const end = endsStream ? END_STREAM : 0;
    if (block.length <= maxFrameBytes) return this.frame(FrameType.headers, end | END_HEADERS, stream, block);
    for (let at = 0; at < block.length; at += maxFrameBytes) {
      const part = block.subarray(at, at + maxFrameBytes);
      const isLast = at + maxFrameBytes >= block.length ? END_HEADERS : 0;
      if (at === 0) this.frame(FrameType.headers, end, stream, part);
      else this.frame(FrameType.continuation, isLast, stream, part);
    }
  }

  /**
   * A whole reply: HEADERS and DATA.
   *
   * @param block  at most a frame
   * @param text  a character a byte if `bytes` is its length; else it fits a frame
   * @param bytes  its length in UTF-8
   * @param maxFrameBytes  of the client
   */
  textReply(stream: number, block: Uint8Array, text: string, bytes: number, maxFrameBytes: number): void {
    const { length } = block;
    const first = Math.min(bytes, maxFrameBytes);
    const from = this.#claim(2 * FRAME_HEAD_BYTES + length + first);
    let at = putHead(from, length, FrameType.headers, END_HEADERS, stream);
    ARENA.set(block, at);
    at += length;
    at = putHead(at, first, FrameType.data, first === bytes ? END_STREAM : 0, stream);
    if (bytes !== text.length) ARENA.utf8Write(text, at);
    else ARENA.latin1Write(first === bytes ? text : text.substring(0, first), at);
    gathered.bytes = at + first;
    for (let sent = first; sent < bytes; sent += maxFrameBytes) this.#textFrame(stream, text, sent, maxFrameBytes);
  }

  #textFrame(stream: number, text: string, from: number, most: number): void {
    const count = Math.min(most, text.length - from);
    const flags = from + count === text.length ? END_STREAM : 0;
    const at = putHead(this.#claim(FRAME_HEAD_BYTES + count), count, FrameType.data, flags, stream);
    ARENA.latin1Write(text.substring(from, from + count), at);
    gathered.bytes = at + count;
  }
}

function putHead(at: number, bytes: number, type: number, flags: number, stream: number): number {
  ARENA[at] = bytes >>> 16;
  ARENA[at + 1] = (bytes >>> 8) & 0xff;
  ARENA[at + 2] = bytes & 0xff;
  ARENA[at + 3] = type;
  ARENA[at + 4] = flags;
  ARENA[at + 5] = stream >>> 24;
  ARENA[at + 6] = (stream >>> 16) & 0xff;
  ARENA[at + 7] = (stream >>> 8) & 0xff;
  ARENA[at + 8] = stream & 0xff;
  return at + FRAME_HEAD_BYTES;
}
