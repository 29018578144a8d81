/** A reply with a streamed body: a stream or a file, sent at the pace of the client's windows. */
import { toBytes } from "../../module/graph/returned";
import { trailerLines } from "../../module/shape/trailers";
import { checkUnread, isBodiless, MAX_WHOLE_BYTES } from "../http1/reply";
import { nextTurn, WriteTurns } from "../turns";
import { decodedResponses } from "../../module/graph/standard";
import { GraphResponse } from "../web/response";
import { OutOfDescriptors, type Wire } from "../wire";
import type { Http2Head } from "./head";
import { encodeLines } from "./hpack/encoder";
import { bytesReply, linesOf, type WholeReply } from "./reply";
import type { Http2Stream } from "./stream";

type Reader = ReadableStreamDefaultReader<unknown>;
type Part = Awaited<ReturnType<Reader["read"]>>;

/** Sends a stream's frames. */
export interface ReplyOwner {
  readonly wire: Wire;
  /** @param ends  no body follows */
  sendHead(stream: Http2Stream, status: number, lines: string, length: number | null, ends: boolean): void;
  sendWhole(stream: Http2Stream, reply: WholeReply): void;
}

const NOTHING = new Uint8Array(0);
const NO_TRAILERS = new Headers();

export class ReplyStream {
  /** Something of the reply was sent: an error can no longer become a 500. */
  hasBegun = false;
  /** An event stream: only the client or the server ends it. */
  readonly isEndless: boolean;
  sentBytes = 0;
  readonly #owner: ReplyOwner;
  readonly #stream: Http2Stream;
  readonly #head: Http2Head;
  readonly #response: Response;
  /** Keeps a file open while it is sent. */
  readonly #readsFile: boolean;
  /** As the handler told it, which must then be right. null: not told. In bytes. */
  readonly #length: number | null;
  readonly #trailers: () => Headers | null;
  #reader: Reader | null = null;
  #isOver = false;

  /** @param trailers  those of the reply, if its handler has asked for them so far */
  constructor(
    owner: ReplyOwner,
    stream: Http2Stream,
    head: Http2Head,
    response: Response,
    trailers: () => Headers | null,
  ) {
    this.#trailers = trailers;
    this.#owner = owner;
    this.#stream = stream;
    this.#head = head;
    this.#response = response;
    const blob = GraphResponse.blobOf(response);
    const file = GraphResponse.fileOf(response);
    this.#readsFile = file !== undefined || (blob?.size ?? 0) > MAX_WHOLE_BYTES;
    this.#length = file?.isWhole === true ? file.end - file.start : lengthOf(response);
    this.isEndless =
      file === undefined && /^text\/event-stream\b/i.test(GraphResponse.headersOf(response).get("content-type") ?? "");
  }

  get status(): number {
    return this.#response.status;
  }

  /** Whether the head tells the body's length. */
  get hasKnownLength(): boolean {
    return this.#length !== null;
  }

  /** Resolves when the last byte was sent, or after `cancel`. Rejects if the body fails, or is not as long as told. */
  async send(): Promise<void> {
    const response = this.#response;
    if (isBodiless(this.#head, response)) {
      this.#begin(true);
      if (response.body !== null) response.body.cancel().catch(() => undefined);
      return;
    }
    if (!this.#readsFile) return await this.#sendBody();
    const { files } = this.#owner.wire.dispatch;
    if (files !== undefined && !files.takeFile()) throw new OutOfDescriptors();
    try {
      await this.#sendBody();
    } finally {
      files?.giveFile();
    }
  }

  /** The reply is not needed any more: cancels the body's source. */
  cancel(reason: unknown): void {
    this.#isOver = true;
    this.#reader?.cancel(reason).catch(() => undefined);
  }

  /** Ends the body here, as if its source had ended. */
  endNow(): void {
    if (!this.#isOver && this.hasBegun) this.#sendEnd();
  }

  async #sendBody(): Promise<void> {
    const response = this.#response;
    const blob = GraphResponse.blobOf(response);
    if (blob !== undefined && blob.size <= MAX_WHOLE_BYTES) {
      const bytes = await blob.bytes();
      GraphResponse.keepReady(response, bytes);
      return this.#sendWhole(bytes);
    }
    checkUnread(response);
    if (response.body === null) return this.#sendWhole(NOTHING);
    if (this.#readsFile && !this.#stream.hasRoom) await this.#awaitWindow();
    if (this.#isOver) return;
    const reader = response.body.getReader() as Reader;
    this.#reader = reader;
    const first = settled(reader.read());
    if (first instanceof Promise) {
      // The head does not wait for the first part: an event stream's may be minutes away.
      if (!this.hasBegun) this.#begin(false);
      return this.#pump(reader, first);
    }
    if (first.done && !this.hasBegun) return this.#sendWhole(NOTHING);
    if (first.done) return this.#pump(reader, first);
    const bytes = toBytes(first.value);
    if (this.hasBegun || this.#length !== null) {
      if (!this.hasBegun) this.#begin(false);
      await this.#sendPart(bytes);
      return this.#pump(reader, reader.read());
    }
    const second = settled(reader.read());
    // One part and the end are the same as bytes.
    if (!(second instanceof Promise) && second.done) return this.#sendWhole(bytes);
    this.#begin(false);
    await this.#sendPart(bytes);
    return this.#pump(reader, second);
  }

  /** A file is opened and read when its client has room for it: many streams must not hold a part each. */
  async #awaitWindow(): Promise<void> {
    this.#begin(false);
    this.#stream.send(NOTHING, false);
    await this.#stream.waitForRoom();
  }

  async #pump(reader: Reader, next: Part | Promise<Part>): Promise<void> {
    const turns = new WriteTurns();
    for (let part = await next; !part.done; part = await reader.read()) {
      if (this.#isOver) return;
      const bytes = toBytes(part.value);
      await this.#sendPart(bytes);
      if (turns.count(bytes.length)) await nextTurn();
      if (this.#isOver) return;
    }
    if (this.#isOver) return;
    if (this.#length !== null && this.sentBytes < this.#length) {
      throw new Error(
        `The body ended after ${this.sentBytes} bytes of the ${this.#length} that its Content-Length says.`,
      );
    }
    this.#sendEnd();
  }

  #sendEnd(): void {
    const lines = trailerLines(this.#trailers() ?? NO_TRAILERS);
    if (lines !== "") this.#stream.trailerBlock = encodeLines(lines);
    this.#stream.send(NOTHING, true);
  }

  async #sendPart(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    this.sentBytes += bytes.length;
    if (this.#length !== null && this.sentBytes > this.#length)
      throw new Error(`The body is longer than the ${this.#length} bytes that its Content-Length says.`);
    // Behind a file nobody sets trailers any more.
    const ends = this.#readsFile && this.sentBytes === this.#length && this.#trailers() === null;
    this.#stream.send(bytes, ends);
    if (this.#stream.isPending) await this.#stream.waitForRoom();
  }

  #sendWhole(bytes: Uint8Array): void {
    if (this.#isOver) return;
    this.sentBytes = bytes.length;
    if (this.#trailers() !== null) return this.#sendTrailed(bytes);
    this.hasBegun = true;
    const type = GraphResponse.blobOf(this.#response) === undefined ? "" : "Content-Type: application/octet-stream\r\n";
    this.#owner.sendWhole(this.#stream, bytesReply(this.#head, this.#response, bytes, type));
  }

  /** A whole body, and trailers behind it. */
  #sendTrailed(bytes: Uint8Array): void {
    this.#begin(false);
    const lines = trailerLines(this.#trailers() ?? NO_TRAILERS);
    if (lines !== "") this.#stream.trailerBlock = encodeLines(lines);
    this.#stream.send(bytes, true);
  }

  #begin(ends: boolean): void {
    const { status } = this.#response;
    if (!(status >= 200 && status <= 999))
      throw new RangeError(`A Response with status ${status} cannot be sent: use 200 to 999.`);
    this.hasBegun = true;
    const length = status === 204 || status === 304 ? null : this.#length;
    this.#owner.sendHead(this.#stream, status, linesOf(this.#response, ""), length, ends);
  }
}

function lengthOf(response: Response): number | null {
  const blob = GraphResponse.blobOf(response);
  if (blob !== undefined) return Number.isSafeInteger(blob.size) ? blob.size : null;
  const told = GraphResponse.headersOf(response).get("content-length") ?? "";
  return /^\d{1,15}$/.test(told) && !decodedResponses.has(response) ? Number(told) : null;
}

/** The part itself, if the read has it already. */
function settled(reading: Promise<Part>): Part | Promise<Part> {
  return Bun.peek.status(reading) === "fulfilled" ? (Bun.peek(reading) as Part) : reading;
}
