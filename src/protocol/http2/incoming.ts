/** A request's body on its way from a stream to its handler. A handler that does not read keeps the client's window closed. */
import type { Deadline } from "../../host/deadlines";
import { type BodySource, IncomingBody } from "../http1/body";
import { CHUNKED } from "../http1/head";
import { TOO_SLOW } from "../http1/refusal";
import { BODY_TOO_LARGE, type OwnReply } from "../web/own-reply";
import type { Wire } from "../wire";
import type { Http2Head } from "./head";
import type { Http2Stream } from "./stream";

/** The owner of the body. */
export interface IncomingOwner {
  readonly wire: Wire;
  /** Gives the client its window back. */
  giveBack(stream: Http2Stream, bytes: number): void;
  /** The client may send no DATA, since its connection's window is used up by other streams. */
  readonly isWindowClosed: boolean;
  /** The body is as long as it may not be (RFC 9113 section 8.1.1). */
  bodyMalformed(): void;
  /** The body will not be read. */
  refuse(reply: OwnReply): void;
  /** The handler wants the body: send 100 if the client waits for it. */
  continues(): void;
}

/** Within bodyMs, this much of a body must come, or its end. */
const MIN_PROGRESS_BYTES = 1024;

export class Incoming implements BodySource, Deadline {
  /** The wheel's. */
  deadlineAt = 0;
  readonly body: IncomingBody = new IncomingBody(this);
  isComplete = false;
  readonly #owner: IncomingOwner;
  readonly #stream: Http2Stream;
  /** -1: not told. */
  readonly #toldBytes: number;
  #awaitsContinue: boolean;
  #bytes = 0;
  #progressBytes = 0;
  /** The handler is slow: these bytes' window is held back. */
  #heldBytes = 0;
  #isSated = false;

  constructor(owner: IncomingOwner, stream: Http2Stream, head: Http2Head) {
    this.#owner = owner;
    this.#stream = stream;
    this.#toldBytes = head.bodyBytes === CHUNKED ? -1 : head.bodyBytes;
    this.#awaitsContinue = head.expectsContinue;
    this.#arm();
  }

  received(content: Buffer, paddingBytes: number, endsStream: boolean): void {
    const owner = this.#owner;
    this.#awaitsContinue = false;
    if (this.isComplete) return owner.giveBack(this.#stream, content.length + paddingBytes);
    this.#bytes += content.length;
    if (this.#toldBytes >= 0 && (endsStream ? this.#bytes !== this.#toldBytes : this.#bytes > this.#toldBytes))
      return owner.bodyMalformed();
    if (this.#bytes > owner.wire.dispatch.limits.maxBodyBytes) return owner.refuse(BODY_TOO_LARGE);
    this.body.push(content);
    const freed = content.length + paddingBytes;
    if (this.#isSated) this.#heldBytes += freed;
    else owner.giveBack(this.#stream, freed);
    if (endsStream) this.#end();
    else this.#noteProgress();
  }

  /**
   * The request's trailers have come: the body is over.
   *
   * @param trailers  names and values in turn
   * @returns false: it is shorter than it was told
   */
  end(trailers: readonly string[]): boolean {
    if (this.#toldBytes >= 0 && this.#bytes !== this.#toldBytes) return false;
    if (!this.isComplete) this.#end(trailers);
    return true;
  }

  /** Nobody reads it any more. */
  drop(): void {
    this.isComplete = true;
    this.#owner.wire.dispatch.wheel.disarm(this);
    this.body.discard();
    this.#release();
  }

  // ---- BodySource ----

  wanted(): void {
    if (this.isComplete) return;
    if (this.#awaitsContinue) {
      this.#awaitsContinue = false;
      this.#owner.continues();
    }
    if (!this.#isSated) return;
    this.#isSated = false;
    this.#release();
    this.#arm();
  }

  sated(): void {
    if (this.isComplete) return;
    // The handler is slow now, and it has its own deadline.
    this.#isSated = true;
    this.#owner.wire.dispatch.wheel.disarm(this);
  }

  expired(): void {
    if (this.isComplete) return;
    const isSlow = this.#bytes - this.#progressBytes < MIN_PROGRESS_BYTES;
    if (isSlow && !this.#owner.isWindowClosed) return this.#owner.refuse(TOO_SLOW);
    this.#progressBytes = this.#bytes;
    this.#arm();
  }

  #end(trailers: readonly string[] = []): void {
    this.isComplete = true;
    this.#owner.wire.dispatch.wheel.disarm(this);
    this.#release();
    this.body.complete(trailers);
  }

  #release(): void {
    const held = this.#heldBytes;
    this.#heldBytes = 0;
    if (held > 0) this.#owner.giveBack(this.#stream, held);
  }

  #arm(): void {
    const { wheel, timeouts } = this.#owner.wire.dispatch;
    wheel.arm(this, timeouts.bodyMs);
  }

  /** Single bytes are no progress. */
  #noteProgress(): void {
    if (this.#isSated || this.#bytes - this.#progressBytes < MIN_PROGRESS_BYTES) return;
    this.#progressBytes = this.#bytes;
    this.#arm();
  }
}
