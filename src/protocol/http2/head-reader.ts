/** Reads the heads of one connection: header blocks to checked heads. Clients send the same block again and again. */
import type { Limits } from "../../config/options";
import { HEAD_TOO_LARGE } from "../http1/refusal";
import { OwnReply } from "../web/own-reply";
import { type Http2Head, type MALFORMED, readHead, readTrailers } from "./head";
import type { HpackDecoder } from "./hpack/decoder";

/** The fields are a bomb: the connection ends. */
export const BOMB = "bomb";

/** Blocks of up to this length are kept, and this many of one connection. */
const MAX_KEPT_BLOCK = 512;
const MAX_KEPT = 128;
/** Behind so many blocks in a row that were not kept, one of a few is. */
const MAX_MISSES = 256;
const KEPT_OF_MISSES = 16;
/** A list this many times as large as the limit is a bomb; up to there it gets its 431. */
const BOMB_FACTOR = 16;

export class HeadReader {
  readonly #decoder: HpackDecoder;
  readonly #limits: Limits;
  readonly #maxBytes: number;
  readonly #kept = new Map<string, Http2Head>();
  /** Of the decoder's table when `#kept` was filled. */
  #changes = 0;
  /** Since the last block that was kept. */
  #misses = 0;
  #lastBlock = "";
  #lastHead: Http2Head | null = null;
  /** Whether the method of the last block that was refused is HEAD: a refusal of HEAD has no body. */
  isHead = false;

  /** @param maxBytes  of a field list, as RFC 9113 section 6.5.2 counts them */
  constructor(decoder: HpackDecoder, limits: Limits, maxBytes: number) {
    this.#decoder = decoder;
    this.#limits = limits;
    this.#maxBytes = maxBytes;
  }

  /** @throws HpackError */
  read(bytes: Buffer, from: number, to: number): Http2Head | OwnReply | typeof MALFORMED | typeof BOMB {
    if (to - from > MAX_KEPT_BLOCK) return this.#decode(bytes, from, to);
    const block = bytes.latin1Slice(from, to);
    if (block === this.#lastBlock && this.#lastHead !== null) return this.#lastHead;
    const kept = this.#kept.get(block);
    if (kept !== undefined) {
      this.#misses = 0;
      this.#lastBlock = block;
      this.#lastHead = kept;
      return kept;
    }
    const { changes } = this.#decoder;
    const head = this.#decode(bytes, from, to);
    // The block has changed the table: it would mean something else the next time.
    if (this.#decoder.changes !== changes || typeof head === "string" || head instanceof OwnReply) return head;
    // A client that asks for ever new paths would only fill and empty the map.
    if (++this.#misses > MAX_MISSES && this.#misses % KEPT_OF_MISSES !== 0) return head;
    if (this.#kept.size >= MAX_KEPT) this.#kept.clear();
    this.#kept.set(block, head);
    this.#lastBlock = block;
    this.#lastHead = head;
    return head;
  }

  /** @throws HpackError. @returns null if they are malformed */
  readTrailers(bytes: Buffer, from: number, to: number): readonly string[] | typeof BOMB | null {
    const { fields, bytes: size } = this.#list(bytes, from, to);
    if (size > this.#maxBytes * BOMB_FACTOR) return BOMB;
    return size > this.#maxBytes || fields.length > 2 * this.#limits.maxHeaderFields ? null : readTrailers(fields);
  }

  #decode(bytes: Buffer, from: number, to: number): Http2Head | OwnReply | typeof MALFORMED | typeof BOMB {
    const { fields, bytes: size } = this.#list(bytes, from, to);
    if (size > this.#maxBytes * BOMB_FACTOR) return BOMB;
    const method = fields.indexOf(":method");
    this.isHead = method >= 0 && fields[method + 1] === "HEAD";
    return size > this.#maxBytes ? HEAD_TOO_LARGE : readHead(fields, this.#limits);
  }

  #list(bytes: Buffer, from: number, to: number): ReturnType<HpackDecoder["decode"]> {
    const list = this.#decoder.decode(bytes, from, to, this.#maxBytes, this.#maxBytes * BOMB_FACTOR);
    if (this.#decoder.changes !== this.#changes) {
      this.#changes = this.#decoder.changes;
      this.#kept.clear();
      this.#lastHead = null;
    }
    return list;
  }
}
