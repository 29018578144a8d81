/** A request's body on its way from the connection to the handler. A slow handler slows the peer down. */
import { GatheredBytes } from "./gathered";

/** A body's requests to its exchange. */
export interface BodySource {
  /** The handler reads the body now: send `100 Continue` if the client waits for it, and continue to read. */
  wanted(): void;
  /** The handler is slow, and enough is held: stop reading until `wanted`. */
  sated(): void;
}

/** The most bytes held for a handler that does not read yet. At this number the server stops reading the peer. */
const HIGH_WATER_BYTES = 65_536;

/**
 * The same bytes as a plain Uint8Array with a buffer of its own, copied unless it has one: a read's buffer also holds
 * bytes behind the body, and a handler may transfer or change its bytes.
 */
export function ownBytes(part: Uint8Array): Uint8Array<ArrayBuffer> {
  const isOwn = part.constructor === Uint8Array && part.byteLength === part.buffer.byteLength;
  return isOwn ? (part as Uint8Array<ArrayBuffer>) : new Uint8Array(part);
}

/** One body. Complete from the start if one read brought head and body; otherwise parts are pushed as they come. */
export class IncomingBody {
  /** Whether a reader or a stream took it: `bodyUsed`. */
  isUsed = false;
  /** Bytes that no reader has taken yet. */
  private readonly held = new GatheredBytes();
  private isComplete: boolean;
  private failure: unknown = null;
  private collecting: PromiseWithResolvers<Uint8Array> | null = null;
  private readable: ReadableStream<Uint8Array> | null = null;
  private controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  /** A reader of the stream waits. */
  private isPulled = false;
  private isDiscarded = false;
  /** Names and values in turn. */
  private trailers: readonly string[] = [];
  private trailing: PromiseWithResolvers<Headers> | null = null;
  /** The bodies of the request's clones: they get the same bytes. */
  private copies: IncomingBody[] | null = null;

  /** @param source null: `whole` is the complete body; @param trailers  of that */
  constructor(
    private readonly source: BodySource | null,
    whole: Uint8Array | null = null,
    trailers: readonly string[] = [],
  ) {
    this.trailers = trailers;
    this.isComplete = source === null;
    if (whole !== null && whole.length > 0) this.held.keep(whole);
  }

  /** Adds the next part of the body. Keeps `part`, or copies it. */
  push(part: Uint8Array): void {
    if (part.length === 0) return;
    this.take(part);
    if (this.isSated) this.source?.sated();
  }

  /** All parts were pushed. @param trailers  names and values in turn */
  complete(trailers: readonly string[] = []): void {
    this.isComplete = true;
    this.trailers = trailers;
    this.trailing?.resolve(this.makeTrailers());
    this.collecting?.resolve(this.held.take());
    this.feed();
    for (const copy of this.copies ?? []) copy.complete();
  }

  /** The rest will not come: readers reject with `reason`. */
  fail(reason: unknown): void {
    if (this.isComplete) return;
    this.isComplete = true;
    this.failure = reason;
    this.trailing?.reject(reason);
    this.collecting?.reject(reason);
    this.feed();
    for (const copy of this.copies ?? []) copy.fail(reason);
  }

  get hasTrailers(): boolean {
    return this.trailers.length > 0;
  }

  /** The trailers, once the body is over. Rejects with the reason of `fail`. */
  awaitTrailers(): Promise<Headers> {
    if (this.failure !== null) return Promise.reject(this.failure);
    if (this.isComplete) return Promise.resolve(this.makeTrailers());
    return (this.trailing ??= Promise.withResolvers<Headers>()).promise;
  }

  private makeTrailers(): Headers {
    const headers = new Headers();
    const { trailers } = this;
    for (let at = 0; at < trailers.length; at += 2) headers.append(trailers[at] as string, trailers[at + 1] as string);
    return headers;
  }

  /** Nobody will read it: drops further bytes. */
  discard(): void {
    this.isDiscarded = true;
    this.held.clear();
    for (const copy of this.copies ?? []) copy.discard();
  }

  /**
   * The whole body, once it is there.
   *
   * @returns the bytes themselves if they are here: a view of the read, which the receiver must copy before passing it
   *   on Throws or rejects with the reason of `fail`.
   */
  collect(): Uint8Array | Promise<Uint8Array> {
    this.isUsed = true;
    if (this.readable !== null) return gather(this.readable);
    if (this.failure !== null) return Promise.reject(this.failure);
    if (this.isComplete) return this.held.take();
    this.collecting = Promise.withResolvers<Uint8Array>();
    this.source?.wanted();
    return this.collecting.promise;
  }

  /** The body as a stream; the same one each time. */
  stream(): ReadableStream<Uint8Array> {
    this.readable ??= new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.controller = controller;
          this.feed();
        },
        pull: () => {
          this.isPulled = true;
          this.feed();
          if (!this.isComplete) this.source?.wanted();
        },
        cancel: () => {
          this.controller = null;
          this.isDiscarded = true;
          this.held.clear();
          this.source?.wanted();
        },
      },
      // 0: bytes that no reader wants yet stay in `held`, which joins small parts.
      { highWaterMark: 0 },
    );
    return this.readable;
  }

  /** Whether the stream was read, or another reader took the body. */
  get isDisturbed(): boolean {
    return this.isUsed || (this.readable !== null && (this.readable.locked || new Response(this.readable).bodyUsed));
  }

  /** A second body with the same content; both can be read. */
  fork(): IncomingBody {
    const copy = new IncomingBody(this.source);
    const held = this.held.take();
    if (held.length > 0) {
      this.held.keep(held);
      // A reader may change the bytes that it gets.
      copy.held.keep(new Uint8Array(held));
    }
    copy.isComplete = this.isComplete;
    copy.failure = this.failure;
    if (!this.isComplete) (this.copies ??= []).push(copy);
    return copy;
  }

  /** Whether this body or a copy has reached its limit, and none of them has a waiting reader. */
  private get isSated(): boolean {
    const { copies } = this;
    if (copies === null) return this.isFull;
    return (
      (this.isFull || copies.some((copy) => copy.isSated)) && !this.isHungry && !copies.some((copy) => copy.isHungry)
    );
  }

  private get isFull(): boolean {
    return this.collecting === null && this.held.length > HIGH_WATER_BYTES;
  }

  private get isHungry(): boolean {
    return !this.isDiscarded && !this.isFull;
  }

  private take(part: Uint8Array): void {
    if (this.copies !== null) for (const copy of this.copies) copy.take(part);
    if (this.isDiscarded) return;
    this.held.add(part);
    this.feed();
  }

  /** Gives the held bytes, or the end, to a waiting reader. */
  private feed(): void {
    const { controller } = this;
    if (controller === null) return;
    if (this.held.length > 0 && this.failure === null) {
      if (!this.isPulled) return;
      this.isPulled = false;
      controller.enqueue(ownBytes(this.held.take()));
    }
    if (!this.isComplete) return;
    this.controller = null;
    if (this.failure === null) controller.close();
    else controller.error(this.failure);
  }
}

/** Reads a stream to its end. Bun's own reader would keep one object for each small part. */
async function gather(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const reader = stream.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  const gathered = new GatheredBytes();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return gathered.take();
    gathered.add(value);
  }
}
