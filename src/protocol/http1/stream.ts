/** A reply with a streamed body: a stream or a file, sent at the client's pace. */
import { toBytes } from "../../module/graph/returned";
import { trailerLines } from "../../module/shape/trailers";
import { nextTurn, WriteTurns } from "../turns";
import { OutOfDescriptors, type Wire } from "../wire";
import type { RequestHead } from "./head";
import {
  type BodyFraming,
  BYTES_LINE,
  checkUnread,
  composeBytes,
  composeHead,
  isBodiless,
  joinMessage,
  keepsAlive,
  MAX_WHOLE_BYTES,
  dateOf,
  tailLines,
} from "./reply";
import { decodedResponses } from "../../module/graph/standard";
import { type FilePiece, GraphResponse } from "../web/response";

type Reader = ReadableStreamDefaultReader<unknown>;
type Part = Awaited<ReturnType<Reader["read"]>>;

const NOTHING = new Uint8Array(0);

/**
 * @returns the length that the handler declared for its stream, which must then be right; NaN for none, and for the
 *   length of another body
 */
function toldLength(response: Response): number {
  const told = GraphResponse.headersOf(response).get("content-length") ?? "";
  return /^\d{1,15}$/.test(told) && !decodedResponses.has(response) ? Number(told) : NaN;
}

export class ReplyStream {
  /** Something of the reply was written: an error can no longer become a 500. */
  hasBegun = false;
  /** Whether the connection stays open after the reply. */
  readonly keepAlive: boolean;
  /** An event stream: only the client or the server ends it. */
  readonly isEndless: boolean;
  private framing: BodyFraming;
  private reader: Reader | null = null;
  private isCancelled = false;
  /** Sent by the kernel, without reading it here. */
  private readonly file: FilePiece | undefined;
  /** Whether it keeps a file open: as `file`, or behind its stream. */
  private readonly readsFile: boolean;
  private sentBytes = 0;
  private headBytes = 0;

  /** @param trailers  those to send behind a chunked body, as far as the handler has asked for them */
  constructor(
    private readonly wire: Wire,
    private readonly head: RequestHead,
    private readonly response: Response,
    private readonly trailers: () => Headers | null,
  ) {
    const file = GraphResponse.fileOf(response);
    this.file = wire.canSendFile && file?.isWhole === true ? file : undefined;
    this.readsFile = file !== undefined || (GraphResponse.blobOf(response)?.size ?? 0) > MAX_WHOLE_BYTES;
    const size =
      this.file === undefined
        ? (GraphResponse.blobOf(response)?.size ?? toldLength(response))
        : this.file.end - this.file.start;
    this.framing = Number.isSafeInteger(size) ? size : head.isHttp11 ? "chunked" : "until-close";
    this.isEndless =
      this.file === undefined &&
      /^text\/event-stream\b/i.test(GraphResponse.headersOf(response).get("content-type") ?? "");
    this.keepAlive = this.framing !== "until-close" && keepsAlive(head, response) && !wire.dispatch.isDraining;
  }

  /** Whether the head names the body's length: then the body has an end. */
  get hasKnownLength(): boolean {
    return typeof this.framing === "number";
  }

  get status(): number {
    return this.response.status;
  }

  /** So far, without the framing of chunks. */
  get writtenBytes(): number {
    return this.headBytes + this.sentBytes;
  }

  /**
   * Resolves when the last byte was accepted, or after `cancel`. Rejects if the body fails, or has another length than
   * declared.
   */
  async send(): Promise<void> {
    const { head, response } = this;
    if (isBodiless(head, response)) return this.sendHeadOnly();
    if (!this.readsFile) return await this.sendBody();
    const { files } = this.wire.dispatch;
    if (files !== undefined && !files.takeFile()) throw new OutOfDescriptors();
    try {
      await (this.file === undefined ? this.sendBody() : this.sendFile(this.file));
    } finally {
      files?.giveFile();
    }
  }

  private async sendBody(): Promise<void> {
    const { response } = this;
    const blob = GraphResponse.blobOf(response);
    if (blob !== undefined && blob.size <= MAX_WHOLE_BYTES) {
      const bytes = await blob.bytes();
      GraphResponse.keepReady(response, bytes);
      return this.sendWhole(bytes);
    }
    checkUnread(response);
    if (response.body === null) return this.sendWhole(NOTHING);
    const reader = response.body.getReader() as Reader;
    this.reader = reader;
    const first = settled(reader.read());
    if (first instanceof Promise) {
      // The head does not wait for the first part: an event stream's may be minutes away.
      this.begin(NOTHING);
      return this.pump(reader, first);
    }
    if (first.done) return this.sendWhole(NOTHING);
    const second = settled(reader.read());
    const bytes = toBytes(first.value);
    // One part and the end are the same as bytes.
    if (!(second instanceof Promise) && second.done && this.framing === "chunked") return this.sendWhole(bytes);
    this.begin(bytes);
    return this.pump(reader, second);
  }

  private async sendFile(file: FilePiece): Promise<void> {
    const fd = openFile(file);
    try {
      this.begin(NOTHING);
      await this.wire.sendFile(fd, file.start, file.end, () => file.check(fd));
      this.sentBytes = file.end - file.start;
    } finally {
      file.close(fd);
    }
  }

  /** The reply is not needed any more: cancels the body's source. */
  cancel(reason: unknown): void {
    this.isCancelled = true;
    this.reader?.cancel(reason).catch(() => undefined);
  }

  /** Ends the body here, as if its source had ended. */
  endNow(): void {
    if (this.framing === "chunked") this.writeLastChunk();
  }

  private writeLastChunk(): void {
    const trailers = this.trailers();
    if (trailers === null) this.wire.write("0\r\n\r\n");
    // Values are Latin-1 on the wire, and a string would leave as UTF-8.
    else this.wire.write(Buffer.from(`0\r\n${trailerLines(trailers)}\r\n`, "latin1"));
  }

  private async pump(reader: Reader, next: Part | Promise<Part>): Promise<void> {
    const turns = new WriteTurns();
    for (let part = await next; !part.done; part = await reader.read()) {
      if (this.isCancelled) return;
      // Nothing is sent for an empty part: an empty chunk would be the last one.
      const bytes = toBytes(part.value);
      const isRoom = bytes.length === 0 || this.wire.write(this.frame(bytes));
      if (!isRoom) await this.wire.waitForDrain();
      if (turns.count(bytes.length)) await nextTurn();
      if (this.isCancelled) return;
    }
    if (this.isCancelled) return;
    if (typeof this.framing === "number" && this.sentBytes < this.framing) {
      throw new Error(
        `The body ended after ${this.sentBytes} bytes of the ${this.framing} that its Content-Length says.`,
      );
    }
    if (this.framing === "chunked") this.writeLastChunk();
  }

  private sendHeadOnly(): void {
    this.write(this.composeHead());
    if (this.response.body !== null) this.response.body.cancel().catch(() => undefined);
  }

  private sendWhole(bytes: Uint8Array): void {
    if (this.isCancelled) return;
    if (this.framing === "chunked" && this.trailers() !== null) {
      this.begin(bytes);
      return this.writeLastChunk();
    }
    const type = GraphResponse.blobOf(this.response) === undefined ? "" : BYTES_LINE;
    this.write(composeBytes(this.head, this.response, bytes, type, this.tail));
  }

  /** Sends the head, together with the first part. */
  private begin(bytes: Uint8Array): void {
    const message = this.composeHead();
    this.write(bytes.length === 0 ? message : joinMessage(message, this.frame(bytes)));
    // Counted apart from the parts, which include this one.
    this.headBytes = message.length;
  }

  private composeHead(): string | Uint8Array {
    return composeHead(this.response, this.framing, "", this.tail);
  }

  private get tail(): string {
    const { keepAlive, head, wire } = this;
    return tailLines(dateOf(wire.dispatch, keepAlive), keepAlive, head.isHttp11);
  }

  private write(message: string | Uint8Array): void {
    if (this.response.status >= 500 && !this.wire.hasEnded) this.wire.dispatch.counters.errors++;
    this.hasBegun = true;
    this.headBytes += message.length;
    this.wire.write(message);
  }

  private frame(bytes: Uint8Array): Uint8Array {
    this.sentBytes += bytes.length;
    if (typeof this.framing === "number" && this.sentBytes > this.framing) {
      throw new Error(`The body is longer than the ${this.framing} bytes that its Content-Length says.`);
    }
    if (this.framing !== "chunked") return bytes;
    const size = `${bytes.length.toString(16)}\r\n`;
    const chunk = Buffer.allocUnsafe(size.length + bytes.length + 2);
    chunk.latin1Write(size, 0);
    chunk.set(bytes, size.length);
    chunk.latin1Write("\r\n", size.length + bytes.length);
    return chunk;
  }
}

/** @throws OutOfDescriptors if no descriptor is left; other errors of `open` */
function openFile(file: FilePiece): number {
  try {
    return file.open();
  } catch (error) {
    const isExhausted =
      error instanceof Error && "code" in error && (error.code === "EMFILE" || error.code === "ENFILE");
    throw isExhausted ? new OutOfDescriptors(error) : error;
  }
}

/** The part itself, if the read has it already. */
function settled(reading: Promise<Part>): Part | Promise<Part> {
  return Bun.peek.status(reading) === "fulfilled" ? (Bun.peek(reading) as Part) : reading;
}
