/**
 * A request's body on its way from the connection to the handler, with the handler's pace carried back to the peer.
 */

/** What a body asks of the exchange it belongs to. */
export interface BodySource {
  /** The handler wants the body now: send `100 Continue` if the client waits for it, and read on. */
  wanted(): void;
  /** More is held than the handler takes: read no further until `wanted`. */
  sated(): void;
}

/** Bytes held for a handler that does not read yet, above which the peer is no longer read. */
const HIGH_WATER_BYTES = 65_536;

const EMPTY = new Uint8Array(0);

/**
 * The same bytes as a plain Uint8Array with a buffer of its own, copied unless it has one: a read's buffer also holds what
 * stands behind the body, and a handler may transfer or change what it is given.
 */
export function ownBytes(part: Uint8Array): Uint8Array<ArrayBuffer> {
  const isOwn = part.constructor === Uint8Array && part.byteLength === part.buffer.byteLength;
  return isOwn ? (part as Uint8Array<ArrayBuffer>) : new Uint8Array(part);
}

/** One array of several, with a buffer of its own. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** One body. Complete from the start when the read that brought the head brought all of it; else parts are pushed as they come. */
export class IncomingBody {
  /** Taken by a reader or a stream: `bodyUsed`. */
  isUsed = false;
  private parts: Uint8Array[] = [];
  private heldBytes = 0;
  private isComplete: boolean;
  private failure: unknown = null;
  private collecting: PromiseWithResolvers<Uint8Array> | null = null;
  private readable: ReadableStream<Uint8Array> | null = null;
  private controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  private isDiscarded = false;

  /** @param source  null: `whole` is all of it */
  constructor(
    private readonly source: BodySource | null,
    whole: Uint8Array | null = null,
  ) {
    this.isComplete = source === null;
    if (whole !== null && whole.length > 0) this.hold(whole);
  }

  /** A part of the body, in order; kept. */
  push(part: Uint8Array): void {
    if (this.isDiscarded || part.length === 0) return;
    if (this.controller !== null) {
      this.controller.enqueue(ownBytes(part));
      if ((this.controller.desiredSize ?? 0) <= 0) this.source?.sated();
      return;
    }
    this.hold(part);
    if (this.collecting === null && this.heldBytes > HIGH_WATER_BYTES) this.source?.sated();
  }

  /** All parts were pushed. */
  complete(): void {
    this.isComplete = true;
    this.collecting?.resolve(this.takeHeld());
    this.controller?.close();
    this.controller = null;
  }

  /** The rest will not come: readers reject with `reason`. */
  fail(reason: unknown): void {
    if (this.isComplete) return;
    this.isComplete = true;
    this.failure = reason;
    this.collecting?.reject(reason);
    this.controller?.error(reason);
    this.controller = null;
  }

  /** Nobody will read it: what still comes is dropped. */
  discard(): void {
    this.isDiscarded = true;
    this.parts = [];
    this.heldBytes = 0;
  }

  /**
   * The whole body, once it is there.
   *
   * @returns the bytes themselves where they are at hand: a view of the read, the receiver copies what it hands on
   * Throws or rejects with the reason of `fail`.
   */
  collect(): Uint8Array | Promise<Uint8Array> {
    this.isUsed = true;
    if (this.readable !== null) return new Response(this.readable).bytes();
    if (this.failure !== null) return Promise.reject(this.failure);
    if (this.isComplete) return this.takeHeld();
    this.collecting = Promise.withResolvers<Uint8Array>();
    this.source?.wanted();
    return this.collecting.promise;
  }

  /** The body as a stream; the same one each time. */
  stream(): ReadableStream<Uint8Array> {
    this.readable ??= new ReadableStream<Uint8Array>(
      {
        start: (controller) => this.startStream(controller),
        pull: () => this.source?.wanted(),
        cancel: () => {
          this.controller = null;
          this.discard();
          this.source?.wanted();
        },
      },
      { highWaterMark: HIGH_WATER_BYTES, size: (part) => part?.byteLength ?? 0 },
    );
    return this.readable;
  }

  /** Whether the stream was read from, or something else took the body. */
  get isDisturbed(): boolean {
    return this.isUsed || (this.readable !== null && (this.readable.locked || new Response(this.readable).bodyUsed));
  }

  /** A second body with the same content; both can be read. */
  fork(): IncomingBody {
    if (this.readable === null && this.isComplete && this.failure === null) {
      const whole = this.takeHeld();
      this.hold(whole);
      return new IncomingBody(null, whole);
    }
    const [mine, other] = this.stream().tee();
    this.readable = mine;
    const copy = new IncomingBody(null);
    copy.readable = other;
    return copy;
  }

  private hold(part: Uint8Array): void {
    this.parts.push(part);
    this.heldBytes += part.length;
  }

  private takeHeld(): Uint8Array {
    const parts = this.parts;
    this.parts = [];
    this.heldBytes = 0;
    if (parts.length === 1) return parts[0] ?? EMPTY;
    return parts.length === 0 ? EMPTY : joinBytes(parts);
  }

  private startStream(controller: ReadableStreamDefaultController<Uint8Array>): void {
    for (const part of this.parts) controller.enqueue(ownBytes(part));
    this.parts = [];
    this.heldBytes = 0;
    if (this.failure !== null) controller.error(this.failure);
    else if (this.isComplete) controller.close();
    else this.controller = controller;
  }
}
