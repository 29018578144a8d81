/**
 * Writes frames (RFC 9113 section 4.1). Frames of one turn are gathered in one piece of memory, which all connections
 * of the thread use in turn, and leave in one write.
 */
import type { Wire } from "../../wire";
import { END_HEADERS, END_STREAM, FRAME_HEAD_BYTES, FrameType } from "./codes";

const ARENA_BYTES = 131_072;

/** The memory that writers use in turn. No frame or reply that is gathered in it is half as long. */
const arena: {
  bytes: Buffer;
  used: number;
  /** The writer of the used bytes. */
  owner: FrameWriter | null;
  /** The memory was given to this one's wire, which may keep it. */
  lastOwner: FrameWriter | null;
} = { bytes: Buffer.allocUnsafeSlow(ARENA_BYTES), used: 0, owner: null, lastOwner: null };

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
    if (arena.owner !== this || arena.used === 0) return;
    const bytes = arena.bytes.subarray(0, arena.used);
    arena.owner = null;
    arena.lastOwner = this;
    arena.used = 0;
    if (!this.#wire.write(bytes)) this.#onFull();
  }

  /** The wire has the arena, and may keep it: another one is needed for more. */
  get #mayBeKept(): boolean {
    return this.isGathering || this.#wire.queuedBytes > 0;
  }

  /** Makes room for `bytes`. The arena is then this writer's, from `used` on. */
  #claim(bytes: number): Buffer {
    if (arena.owner !== this) {
      arena.owner?.flush();
      this.#own();
    } else if (arena.used + bytes > ARENA_BYTES) {
      this.flush();
      this.#own();
    }
    if (!this.isGathering && !this.#isScheduled) {
      this.#isScheduled = true;
      queueMicrotask(this.#flush);
    }
    return arena.bytes;
  }

  #own(): void {
    if (arena.lastOwner !== null && arena.lastOwner.#mayBeKept) arena.bytes = Buffer.allocUnsafeSlow(ARENA_BYTES);
    arena.lastOwner = null;
    arena.owner = this;
    arena.used = 0;
  }

  /** A frame. Its payload is at most half of the arena. */
  frame(type: number, flags: number, stream: number, payload: Uint8Array): void {
    const out = this.#claim(FRAME_HEAD_BYTES + payload.length);
    const at = putHead(out, arena.used, payload.length, type, flags, stream);
    out.set(payload, at);
    arena.used = at + payload.length;
  }

  /** A frame whose payload is one number of 4 bytes: RST_STREAM and WINDOW_UPDATE. */
  number(type: number, stream: number, value: number): void {
    const out = this.#claim(FRAME_HEAD_BYTES + 4);
    const at = putHead(out, arena.used, 4, type, 0, stream);
    out.writeUInt32BE(value, at);
    arena.used = at + 4;
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
   * A whole reply: HEADERS and one DATA frame. Each fits a frame.
   *
   * @param text  a character a byte if `bytes` is its length
   * @param bytes  its length in UTF-8
   */
  textReply(stream: number, blocks: readonly Uint8Array[], text: string, bytes: number): void {
    let blockBytes = 0;
    for (const block of blocks) blockBytes += block.length;
    const out = this.#claim(2 * FRAME_HEAD_BYTES + blockBytes + bytes);
    let at = putHead(out, arena.used, blockBytes, FrameType.headers, END_HEADERS, stream);
    for (const block of blocks) {
      // Short blocks: a loop costs less than the call.
      const { length } = block;
      for (let i = 0; i < length; i++) out[at++] = block[i] as number;
    }
    at = putHead(out, at, bytes, FrameType.data, END_STREAM, stream);
    if (bytes === text.length) out.latin1Write(text, at);
    else out.utf8Write(text, at);
    arena.used = at + bytes;
  }
}

function putHead(out: Buffer, at: number, bytes: number, type: number, flags: number, stream: number): number {
  out[at] = bytes >>> 16;
  out[at + 1] = (bytes >>> 8) & 0xff;
  out[at + 2] = bytes & 0xff;
  out[at + 3] = type;
  out[at + 4] = flags;
  out[at + 5] = stream >>> 24;
  out[at + 6] = (stream >>> 16) & 0xff;
  out[at + 7] = (stream >>> 8) & 0xff;
  out[at + 8] = stream & 0xff;
  return at + FRAME_HEAD_BYTES;
}
