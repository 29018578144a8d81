/**
 * One request and its reply that take more than one read, or a handler that waits. A request that is answered at once
 * does not need one; see connection.ts.
 */
import { Call, type CallOwner } from "../../host/call";
import { countError } from "../../host/inline";
import { discard } from "../../module/graph/returned";
import { answeredHttp } from "../access";
import type { IncomingBody } from "../http1/body";
import type { Waiting } from "../http1/replying";
import { TOO_SLOW } from "../http1/refusal";
import { clientGone } from "../web/client-left";
import { countStatus, noResponse } from "../web/handler-reply";
import { HANDLER_FAILED, HANDLER_LATE, MODULE_REPLACED, OwnReply, TOO_MANY_FILES } from "../web/own-reply";
import { acceptStream } from "../websocket/upgrade";
import { LightRequest } from "../web/request";
import { OutOfDescriptors, type Wire } from "../wire";
import { ErrorCode } from "./frames/codes";
import type { Http2Head } from "./head";
import { Incoming, type IncomingOwner } from "./incoming";
import { ownReply, readReply, type WholeReply } from "./reply";
import { type ReplyOwner, ReplyStream } from "./reply-stream";
import type { Http2Stream, StreamUser } from "./stream";
import { Tunnel } from "./tunnel";

/** The part of the connection that an exchange needs. */
export interface ExchangeOwner extends ReplyOwner {
  readonly wire: Wire;
  readonly isWindowClosed: boolean;
  giveBack(stream: Http2Stream, bytes: number): void;
  /** Resets a stream. @param isFault  the client's: it counts against it */
  resetStream(stream: Http2Stream, code: number, isFault: boolean): void;
  sendContinue(stream: Http2Stream): void;
  /** The reply is complete. The client's body is dropped, if there is more of it. */
  replied(stream: Http2Stream): void;
  exchangeEnded(): void;
}

/**
 * "called": the handler waits. "streaming": its reply's body is being sent. "replied": the reply has been sent. "over":
 * later events are ignored.
 */
type State = "called" | "streaming" | "replied" | "over";

export class Exchange implements StreamUser, IncomingOwner, CallOwner {
  readonly stream: Http2Stream;
  readonly #owner: ExchangeOwner;
  readonly #head: Http2Head;
  readonly #incoming: Incoming | null;
  #state: State = "called";
  #call: Call | null = null;
  #request: LightRequest | null = null;
  #reply: ReplyStream | null = null;
  #status = 0;
  #bytes = 0;

  constructor(owner: ExchangeOwner, stream: Http2Stream, head: Http2Head) {
    this.#owner = owner;
    this.stream = stream;
    this.#head = head;
    this.#incoming = stream.isReceiving && head.protocol === "" ? new Incoming(this, stream, head) : null;
    stream.user = this;
  }

  get wire(): Wire {
    return this.#owner.wire;
  }

  /** null: the request has none. */
  get body(): IncomingBody | null {
    return this.#incoming?.body ?? null;
  }

  /** The handler waits, or its reply is a stream. */
  awaitReply({ route, request, startedAt, value }: Waiting): void {
    const call = new Call(this.wire.dispatch, route, this.wire, startedAt, this);
    this.#call = call;
    this.#request = request;
    call.enter();
    if (value instanceof Response) return this.#stream(call, value);
    call.awaitHandler();
    void this.#settle(call, value);
  }

  /** The handler has answered at once, and its reply is sent. */
  answered(): void {
    this.#state = "replied";
    this.#end();
  }

  // ---- StreamUser ----

  received(content: Buffer, paddingBytes: number, endsStream: boolean): void {
    if (this.#incoming === null) this.#owner.giveBack(this.stream, content.length + paddingBytes);
    else this.#incoming.received(content, paddingBytes, endsStream);
  }

  trailers(fields: readonly string[]): void {
    if (this.#incoming !== null && !this.#incoming.end(fields)) this.bodyMalformed();
  }

  gone(): void {
    if (this.#state === "over") return;
    const wasWaited = this.#state !== "replied";
    this.#abandon(clientGone());
    if (wasWaited) this.#tell();
    this.#owner.exchangeEnded();
  }

  // ---- IncomingOwner ----

  get isWindowClosed(): boolean {
    return this.#owner.isWindowClosed;
  }

  giveBack(stream: Http2Stream, bytes: number): void {
    this.#owner.giveBack(stream, bytes);
  }

  continues(): void {
    if (this.#state === "called") this.#owner.sendContinue(this.stream);
  }

  bodyMalformed(): void {
    const wasOver = this.#state === "over";
    this.#abandon(new DOMException("The body is not as long as the request said.", "AbortError"));
    this.#owner.resetStream(this.stream, ErrorCode.protocol, true);
    if (!wasOver) this.#ended();
  }

  /** Answers, unless a reply has begun, and takes no more of the request. */
  refuse(refusal: OwnReply): void {
    const state = this.#state;
    const hasBegun = this.#hasBegun;
    this.#abandon(new DOMException(refusal.text, refusal === TOO_SLOW ? "TimeoutError" : "AbortError"));
    if (state === "called" || (state === "streaming" && !hasBegun)) this.#say(refusal);
    else this.#owner.resetStream(this.stream, ErrorCode.cancel, false);
    this.#ended();
  }

  // ---- CallOwner ----

  cut(reason: string): void {
    const call = this.#call;
    if (this.#state === "over" || call === null) return;
    const hasBegun = this.#hasBegun;
    this.#abandon(new DOMException(`The module's version was ended: ${reason}.`, "AbortError"));
    countError(call.route);
    this.#conclude(MODULE_REPLACED, hasBegun);
  }

  late(): void {
    const call = this.#call;
    if (this.#state === "over" || call === null) return;
    const error = new DOMException(`The handler did not answer within ${call.timeoutMs} ms.`, "TimeoutError");
    call.failed(error);
    this.#abandon(error);
    this.#conclude(HANDLER_LATE, false);
  }

  /** The server shuts down: an event stream ends here, and its client comes back by itself. */
  draining(): void {
    const reply = this.#reply;
    if (this.#state !== "streaming" || reply === null || !reply.isEndless || !reply.hasBegun) return;
    reply.endNow();
    this.#abandon(new DOMException("The server shuts down.", "AbortError"));
    this.#ended();
  }

  // ---- answering ----

  get #hasBegun(): boolean {
    return this.#reply !== null && this.#reply.hasBegun;
  }

  async #settle(call: Call, result: Promise<unknown>): Promise<void> {
    let value: unknown;
    try {
      value = await result;
    } catch (error) {
      if (this.#state !== "over") this.#failed(call, error);
      return;
    }
    if (this.#state === "over") discard(value);
    else this.#respond(call, value);
  }

  #respond(call: Call, value: unknown): void {
    const { dispatch } = this.wire;
    call.answered();
    try {
      if (call.route.kind === "websocket" && !(value instanceof Response)) return this.#upgrade(call, value);
      if (!(value instanceof Response)) throw noResponse(call.route, value);
      const whole = this.#trailers() === null ? readReply(this.#head, value) : null;
      if (whole === null) return this.#stream(call, value);
      countStatus(dispatch, call.route, value.status);
      this.#write(whole);
      this.#replied(call);
    } catch (error) {
      this.#failed(call, error);
    }
  }

  /** The stream becomes a WebSocket (RFC 8441). */
  #upgrade(call: Call, value: unknown): void {
    const { stream } = this;
    const tunnel = new Tunnel(this.#owner, stream);
    const socket = acceptStream(tunnel, this.#head, call.route, value, call.startedAt, (lines) =>
      this.#owner.sendHead(stream, 200, lines, null, false),
    );
    if (socket instanceof OwnReply) {
      stream.isTunnel = false;
      stream.user = this;
      this.#say(socket);
      return this.#replied(call);
    }
    this.#state = "over";
    call.over();
    // The client may have ended it meanwhile.
    if (!stream.isReceiving) tunnel.trailers();
  }

  /** Those of the reply, if the handler has asked for them. */
  #trailers(): Headers | null {
    return this.#request === null ? null : LightRequest.responseTrailersOf(this.#request);
  }

  /** The handler has answered with a streamed body. */
  #stream(call: Call, response: Response): void {
    const reply = new ReplyStream(this.#owner, this.stream, this.#head, response, () => this.#trailers());
    this.#reply = reply;
    call.answered();
    call.streams(reply.isEndless);
    if (reply.isEndless) this.wire.probePeer();
    this.#state = "streaming";
    void this.#pump(call, reply);
  }

  async #pump(call: Call, reply: ReplyStream): Promise<void> {
    try {
      await reply.send();
    } catch (error) {
      if (this.#isOver()) return;
      if (!reply.hasBegun) return this.#failed(call, error);
      // A part of the reply has been sent. Only a reset tells the client that it is incomplete.
      this.wire.dispatch.counters.errors++;
      call.failed(error);
      this.#abandon(error);
      this.#owner.resetStream(this.stream, ErrorCode.internal, false);
      return this.#ended();
    }
    if (this.#isOver()) return;
    countStatus(this.wire.dispatch, call.route, reply.status);
    // The last piece may still wait for the client's window.
    await this.stream.waitForRoom();
    if (!this.#isOver()) this.#replied(call);
  }

  #failed(call: Call, error: unknown): void {
    call.answered();
    // The server has no descriptors left: the module is not to blame.
    const isExhausted = error instanceof OutOfDescriptors;
    if (!isExhausted) call.failed(error);
    this.#reply = null;
    this.#say(isExhausted ? TOO_MANY_FILES : HANDLER_FAILED);
    this.#replied(call);
  }

  /** Sends a reply of the server's own. */
  #say(reply: OwnReply): void {
    if (reply.status >= 500) this.wire.dispatch.counters.errors++;
    this.#reply = null;
    this.#write(ownReply(reply, this.#head.method === "HEAD"));
  }

  #write(whole: WholeReply): void {
    this.#status = whole.status;
    this.#bytes = typeof whole.body === "string" ? Buffer.byteLength(whole.body) : whole.body.length;
    this.#owner.sendWhole(this.stream, whole);
  }

  /** The reply's last byte was accepted. */
  #replied(call: Call): void {
    this.#state = "replied";
    this.#tell();
    call.over();
    this.#end();
  }

  /** The reply is complete: nobody reads the rest of the request. */
  #end(): void {
    this.#incoming?.drop();
    this.#owner.replied(this.stream);
    this.#owner.exchangeEnded();
  }

  // ---- ending early ----

  /** @param isBroken  a part of the reply has been sent */
  #conclude(reply: OwnReply, isBroken: boolean): void {
    if (isBroken) this.#owner.resetStream(this.stream, ErrorCode.internal, false);
    else this.#say(reply);
    this.#ended();
  }

  #ended(): void {
    this.#tell();
    this.#owner.replied(this.stream);
    this.#owner.exchangeEnded();
  }

  /** Nobody waits for the reply any more. */
  #abandon(reason: unknown): void {
    const call = this.#call;
    const reply = this.#reply;
    this.#state = "over";
    const fail = (): void => {
      this.#incoming?.body.fail(reason);
      this.#incoming?.drop();
      reply?.cancel(reason);
      if (this.#request !== null) LightRequest.abort(this.#request, reason);
    };
    if (call === null) return fail();
    call.answered();
    call.inGraph(fail);
    call.over();
  }

  #tell(): void {
    if (this.wire.dispatch.access === null || this.#call === null) return;
    const reply = this.#reply;
    const [status, bytes] =
      reply !== null && reply.hasBegun ? [reply.status, reply.sentBytes] : [this.#status, this.#bytes];
    this.#call.tell(answeredHttp("h2", this.#head, status, bytes));
  }

  /** Asked behind an await. */
  #isOver(): boolean {
    return this.#state === "over";
  }
}
