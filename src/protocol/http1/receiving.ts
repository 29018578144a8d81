/** Receives a request that takes more than one read: its head, then its body, each with its own deadline. */
import { BODY_TOO_LARGE, OwnReply } from "../web/own-reply";
import type { Wire } from "../wire";
import { type BodySource, IncomingBody } from "./body";
import { ChunkedDecoder } from "./chunked";
import { CHUNKED, type RequestHead } from "./head";
import type { RequestParser } from "./parser";
import { MALFORMED, TOO_SLOW } from "./refusal";

/** Within bodyMs, this much of a body must come, or its end. */
const MIN_PROGRESS_BYTES = 1024;

/** The owner of the request. */
export interface RequestOwner {
  /** Whether the reply's body is being sent: the client then needs no other reply. */
  readonly isStreaming: boolean;
  /** The head is complete. @param body null: none; otherwise it may still be arriving */
  headRead(head: RequestHead, body: IncomingBody | null): void;
  /** The request is complete. @param rest the bytes behind it, may be empty */
  received(rest: Buffer): void;
  /** The request will not be complete, and `drop` is called. @param isHead whether the method is HEAD */
  refuse(refusal: OwnReply, isHead: boolean): void;
}

export class Receiving implements BodySource {
  readonly #wire: Wire;
  readonly #owner: RequestOwner;
  #state: "head" | "body" | "complete" = "head";
  #parser: RequestParser | null = null;
  /** null for a body with a Content-Length. */
  #decoder: ChunkedDecoder | null = null;
  #head: RequestHead | null = null;
  #body: IncomingBody | null = null;
  #bodyBytes = 0;
  /** `#bodyBytes` when the deadline was last put off. */
  #progressBytes = 0;
  #awaitsContinue = false;
  /** Reading is paused, since the handler is slow. */
  #isSated = false;
  /** By performance.now(), in milliseconds. 0: none. */
  #deadline = 0;

  constructor(wire: Wire, owner: RequestOwner) {
    this.#wire = wire;
    this.#owner = owner;
  }

  /** Whether the rest of the request has come, or is not needed. */
  get isComplete(): boolean {
    return this.#state === "complete";
  }

  /** Whether the client waits for `100 Continue` before it sends the body. */
  get awaitsContinue(): boolean {
    return this.#awaitsContinue;
  }

  get isHead(): boolean {
    return this.#parser?.isHead ?? this.#head?.method === "HEAD";
  }

  /** The first read held a part of the head. */
  awaitHead(parser: RequestParser): void {
    this.#parser = parser;
    // The exchange before may have paused it for waiting bytes.
    this.#wire.resume();
    this.#armDeadline(this.#wire.dispatch.timeouts.headMs);
  }

  /**
   * The head is complete, its body is not.
   *
   * @param bytes  the bytes behind the head, from `from` on
   */
  awaitBody(head: RequestHead, bytes: Buffer, from: number): void {
    const { dispatch } = this.#wire;
    this.#state = "body";
    this.#head = head;
    this.#wire.resume();
    this.#awaitsContinue = head.expectsContinue && from >= bytes.length;
    const body = new IncomingBody(this);
    this.#body = body;
    this.#armDeadline(dispatch.timeouts.bodyMs);
    if (head.bodyBytes === CHUNKED) this.#decoder = new ChunkedDecoder(dispatch.limits.maxHeaderBytes);
    if (this.#readBody(bytes, from)) this.#owner.headRead(head, body);
  }

  read(bytes: Buffer): void {
    if (this.#parser !== null) this.#readHead(this.#parser, bytes);
    else this.#readBody(bytes, 0);
  }

  /** The deadline of the connection has passed. */
  expired(): void {
    if (this.#deadline === 0) return;
    const leftMs = this.#deadline - performance.now();
    if (leftMs <= 0) return this.#owner.refuse(TOO_SLOW, this.isHead);
    this.#wire.armDeadline(Math.max(1, Math.ceil(leftMs)));
  }

  /** Nobody reads the body any more, but the bytes behind it are needed. */
  discard(): void {
    this.#body?.discard();
    this.#wire.resume();
  }

  /** Drops the rest of the request. Idempotent. */
  drop(): void {
    this.#state = "complete";
    this.#releaseParser();
  }

  /** A reader of the body gets the error. */
  fail(reason: unknown): void {
    this.#body?.fail(reason);
  }

  // ---- BodySource ----

  wanted(): void {
    if (this.#state === "complete") return;
    if (this.#awaitsContinue) {
      this.#awaitsContinue = false;
      if (!this.#owner.isStreaming) this.#wire.write("HTTP/1.1 100 Continue\r\n\r\n");
    }
    if (this.#isSated) {
      this.#isSated = false;
      this.#armDeadline(this.#wire.dispatch.timeouts.bodyMs);
    }
    this.#wire.resume();
  }

  sated(): void {
    if (this.#state === "complete") return;
    // The handler is slow now, and it has its own deadline.
    this.#isSated = true;
    this.#armDeadline(0);
    this.#wire.pause();
  }

  // ---- reading ----

  #readHead(parser: RequestParser, bytes: Buffer): void {
    const before = parser.consumed;
    const head = parser.readHead(bytes, 0, this.#wire.dispatch.limits);
    if (head === null) return;
    if (head instanceof OwnReply) return this.#owner.refuse(head, parser.isHead);
    const end = parser.consumed - before;
    this.#releaseParser();
    this.#head = head;
    if (head.bodyBytes !== 0) return this.awaitBody(head, bytes, end);
    this.#complete(bytes, end);
    this.#owner.headRead(head, null);
  }

  /** @returns false: the body was refused */
  #readBody(bytes: Buffer, from: number): boolean {
    if (from < bytes.length) this.#awaitsContinue = false;
    const end = this.#decoder !== null ? this.#readChunks(this.#decoder, bytes, from) : this.#readCounted(bytes, from);
    if (this.#state !== "body") return false;
    if (end < 0) this.#noteProgress();
    else {
      this.#body?.complete(this.#decoder?.trailers);
      this.#body = null;
      this.#complete(bytes, end);
    }
    return true;
  }

  /** Single bytes are no progress. Does not arm the wheel again: `expired` checks the time. */
  #noteProgress(): void {
    if (this.#deadline === 0 || this.#bodyBytes - this.#progressBytes < MIN_PROGRESS_BYTES) return;
    this.#progressBytes = this.#bodyBytes;
    this.#deadline = performance.now() + this.#wire.dispatch.timeouts.bodyMs;
  }

  /** @returns the offset behind the body, or -1 when more is to come */
  #readCounted(bytes: Buffer, from: number): number {
    const expected = this.#head?.bodyBytes ?? 0;
    const end = Math.min(bytes.length, from + expected - this.#bodyBytes);
    this.#bodyBytes += end - from;
    this.#body?.push(bytes.subarray(from, end));
    return this.#bodyBytes === expected ? end : -1;
  }

  /** @returns the offset behind the body, or -1 when more is to come or it is refused */
  #readChunks(decoder: ChunkedDecoder, bytes: Buffer, from: number): number {
    const end = decoder.decode(bytes, from, (part) => this.#takePart(part));
    if (this.#state !== "body") return -1;
    if (end < 0) this.#owner.refuse(MALFORMED, this.isHead);
    return decoder.isComplete && end >= 0 ? end : -1;
  }

  #takePart(part: Uint8Array): void {
    this.#bodyBytes += part.length;
    if (this.#state !== "body") return;
    if (this.#bodyBytes > this.#wire.dispatch.limits.maxBodyBytes) this.#owner.refuse(BODY_TOO_LARGE, this.isHead);
    else this.#body?.push(part);
  }

  #complete(bytes: Buffer, end: number): void {
    this.#state = "complete";
    this.#armDeadline(0);
    this.#wire.resume();
    this.#owner.received(bytes.subarray(end));
  }

  /** @param ms  0: none */
  #armDeadline(ms: number): void {
    if (ms === 0 && this.#deadline === 0) return;
    this.#deadline = ms === 0 ? 0 : performance.now() + ms;
    this.#wire.armDeadline(ms === 0 ? 0 : Math.max(1, Math.ceil(ms)));
  }

  #releaseParser(): void {
    this.#parser?.release();
    this.#parser = null;
  }
}
