/** A reply that has to wait for its handler, or for its body. */
import { dateOf, tailLines, composeOwn } from "./reply";
import { Call, type CallOwner } from "../../host/call";
import type { BoundRoute } from "../../module/route";
import { answeredHttp, byteLength } from "../access";
import type { OwnReply } from "../web/own-reply";
import { LightRequest } from "../web/request";
import type { Wire } from "../wire";
import type { RequestHead } from "./head";
import { ReplyStream } from "./stream";

/** A handler that waits, or has answered with a streamed body. */
export class Waiting {
  /** @param startedAt  when the handler was called, by performance.now() */
  constructor(
    readonly head: RequestHead,
    readonly request: LightRequest,
    readonly route: BoundRoute,
    readonly startedAt: number,
    readonly value: Promise<unknown> | Response,
  ) {}
}

/**
 * The trailers of a reply, if a handler has asked for them, and the client takes them (RFC 9110 section 10.1.4): the
 * reply is then sent in chunks.
 */
export function trailersOf(head: RequestHead, request: LightRequest): Headers | null {
  const trailers = LightRequest.responseTrailersOf(request);
  if (trailers === null || !head.isHttp11) return null;
  return /(?:^|,)[ \t]*trailers[ \t]*(?:$|,)/i.test(request.headers.get("te") ?? "") ? trailers : null;
}

export class Replying {
  readonly head: RequestHead;
  readonly route: BoundRoute;
  readonly call: Call;
  /** The body that is being sent. */
  stream: ReplyStream | null = null;
  readonly #wire: Wire;
  readonly #request: LightRequest;
  #status = 0;
  #bytes = 0;

  constructor(wire: Wire, { head, request, route, startedAt }: Waiting, owner: CallOwner) {
    this.#wire = wire;
    this.head = head;
    this.route = route;
    this.#request = request;
    this.call = new Call(wire.dispatch, route, wire, startedAt, owner);
    this.call.enter();
  }

  /** A part of a streamed reply was written: it can be cut, but not replaced. */
  get hasBegun(): boolean {
    return this.stream !== null && this.stream.hasBegun;
  }

  /** See `trailersOf`. */
  get trailers(): Headers | null {
    return trailersOf(this.head, this.#request);
  }

  /** The handler has answered with a streamed body. */
  begin(response: Response): ReplyStream {
    const stream = new ReplyStream(this.#wire, this.head, response, () => this.trailers);
    this.stream = stream;
    this.call.answered();
    this.call.streams(stream.isEndless);
    // A stream may be silent for hours. Only the kernel then notices that the client is gone.
    if (stream.isEndless) this.#wire.probePeer();
    return stream;
  }

  /** Sends a whole reply. */
  write(message: string | Uint8Array, status: number): void {
    this.#wire.write(message);
    this.#status = status;
    if (this.#wire.dispatch.access !== null) this.#bytes = byteLength(message);
  }

  /** Sends a reply of the server's own, instead of the handler's. */
  say(reply: OwnReply, keepAlive = false): void {
    const { dispatch, hasEnded } = this.#wire;
    if (reply.status >= 500 && !hasEnded) dispatch.counters.errors++;
    const { isHttp11, method } = this.head;
    const tail = tailLines(dateOf(dispatch, keepAlive), keepAlive, isHttp11);
    this.stream = null;
    this.write(composeOwn(reply, tail, method === "HEAD"), reply.status);
  }

  /** The handler, or its body, failed. */
  failed(error: unknown): void {
    this.call.failed(error, this.#wire.hasEnded);
  }

  /** Aborts the request's signal. Call it inside the graph: the module may listen. */
  abort(reason: unknown): void {
    LightRequest.abort(this.#request, reason);
  }

  /** The reply has ended, complete or not. Call it once. */
  tell(): void {
    if (this.#wire.dispatch.access === null) return;
    const { stream } = this;
    const [status, bytes] =
      stream !== null && stream.hasBegun ? [stream.status, stream.writtenBytes] : [this.#status, this.#bytes];
    this.call.tell(answeredHttp("http/1.1", this.head, status, bytes));
  }
}
