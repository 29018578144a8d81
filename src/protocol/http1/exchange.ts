/**
 * One request and its reply, when they take more than one read or a handler that waits: the connection's protocol for
 * that time. The plain case never makes one; see http1.ts.
 */
import { tellAccess } from "../../host/call";
import { runInline } from "../../host/inline";
import { asHost } from "../../module/graph/leave-graph";
import { discard } from "../../module/graph/returned";
import type { BoundRoute, InFlight, InFlightKind } from "../../module/route";
import { answeredHttp, byteLength } from "../access";
import { clientEnded, clientGone } from "../web/client-left";
import { countStatus, noResponse } from "../web/handler-reply";
import {
  BODY_TOO_LARGE,
  HANDLER_FAILED,
  HANDLER_LATE,
  MODULE_REPLACED,
  OwnReply,
  TOO_MANY_FILES,
} from "../web/own-reply";
import { switchProtocols } from "../websocket/upgrade";
import { OutOfDescriptors, type Protocol, type Wire } from "../wire";
import { answer, CLOSE, KEEP } from "./answer";
import { HeldBytes } from "../raw/held";
import { asBuffer } from "../raw/message";
import { type BodySource, IncomingBody } from "./body";
import { ChunkedDecoder } from "./chunked";
import { CHUNKED, RequestHead } from "./head";
import type { RequestParser } from "./parser";
import { composeOwn, connectionLine, dateOf, INCOMPLETE, MALFORMED, refuse, TOO_SLOW } from "./refusal";
import { composeReply, keepsAlive } from "./reply";
import { LightRequest } from "../web/request";
import { ReplyStream } from "./stream";

/** Bytes of requests that wait behind this one, above which the connection is no longer read. */
const MAX_HELD_BYTES = 65_536;
/** So much of a body must come within bodyMs, or its end. */
const MIN_PROGRESS_BYTES = 1024;
const NOTHING = new Uint8Array(0);

export class Exchange implements Protocol, InFlight, BodySource {
  readonly speaks = "http1";
  /** An event stream: the drain deadline does not apply to it. */
  isEndless = false;
  /** Answered and read, refused, cut, or the socket is gone: whatever still comes is ignored. */
  isOver = false;

  /** Reads the head, as long as it is arriving. */
  private parser: RequestParser | null = null;
  /** null for a body with a Content-Length. */
  private decoder: ChunkedDecoder | null = null;
  private head: RequestHead | null = null;
  /** Arriving, until `isReceived`. */
  private body: IncomingBody | null = null;
  private isReceived = true;
  private bodyBytes = 0;
  /** `bodyBytes` when the deadline was last put off. */
  private progressBytes = 0;
  private awaitsContinue = false;
  /** Read no further, since the handler has more than it takes. */
  private isSated = false;
  /** The bytes of requests behind this one. One buffer: a client may send them byte by byte. */
  private held: HeldBytes | null = null;

  private route: BoundRoute | null = null;
  private request: LightRequest | null = null;
  private stream: ReplyStream | null = null;
  private isReplied = false;
  private keepAlive = true;
  /** Counted, and given to a handler if there is one. */
  private isAnswered = false;
  /** When the handler was called, by performance.now(). 0: it was not. */
  private startedAt = 0;
  private isTimed = false;
  /** Of the reply, as far as it has been written. */
  private status = 0;
  private writtenBytes = 0;
  private isTold = false;
  // By performance.now(), in milliseconds. 0: none.
  private requestDeadline = 0;
  private callDeadline = 0;

  constructor(private readonly wire: Wire) {
    wire.take(this);
  }

  /** The first read held a part of the head. */
  awaitHead(parser: RequestParser): void {
    this.parser = parser;
    this.isReceived = false;
    // It may have been paused by the one before, for what waited behind that.
    this.wire.resume();
    this.armRequestDeadline(this.wire.dispatch.timeouts.headMs);
  }

  /**
   * The head is complete, its body is not.
   *
   * @param bytes  what came behind the head, from `from` on
   */
  awaitBody(head: RequestHead, bytes: Buffer, from: number): void {
    this.head = head;
    this.isReceived = false;
    this.wire.resume();
    this.awaitsContinue = head.expectsContinue && from >= bytes.length;
    const body = new IncomingBody(this);
    this.body = body;
    this.armRequestDeadline(this.wire.dispatch.timeouts.bodyMs);
    if (head.bodyBytes === CHUNKED) this.decoder = new ChunkedDecoder(this.wire.dispatch.limits.maxHeaderBytes);
    this.receiveBody(bytes, from);
    if (!this.isOver) this.answer(head, body);
  }

  /** The handler waits: its reply comes with `result`. */
  awaitHandler(
    head: RequestHead,
    route: BoundRoute,
    request: LightRequest,
    result: Promise<unknown>,
    startedAt: number,
  ): this {
    this.enter(head, route, request, startedAt);
    this.armCallDeadline(route.timeoutMs ?? this.wire.dispatch.timeouts.handlerMs);
    void this.settle(result);
    if (this.wire.hasEnded) this.clientEnded();
    return this;
  }

  /** The handler has answered with a body that is not at hand. */
  sendStream(head: RequestHead, route: BoundRoute, request: LightRequest, response: Response, startedAt: number): this {
    if (this.route === null) this.enter(head, route, request, startedAt);
    this.stream = new ReplyStream(this.wire, head, response);
    this.time();
    this.isEndless = this.stream.isEndless;
    // A stream may be silent for hours. Only the kernel can tell then that the client is gone.
    if (this.isEndless) this.wire.probePeer();
    void this.pump(this.stream);
    // Later, so that the parts which are ready go out first.
    if (this.wire.hasEnded) asHost(() => setImmediate(() => this.clientEnded()));
    return this;
  }

  // ---- Protocol ----

  receive(bytes: Uint8Array): void {
    if (this.isOver) return;
    const buffer = asBuffer(bytes);
    if (this.isReceived) this.hold(buffer);
    else if (this.head === null) this.receiveHead(buffer);
    else this.receiveBody(buffer, 0);
  }

  ended(): void {
    if (this.isOver) return;
    if (this.isReceived) this.clientEnded();
    else this.refuse(INCOMPLETE);
  }

  drained(): void {
    // The stream waits by waitForDrain().
  }

  closed(): void {
    if (this.isOver) return;
    this.abandon(clientGone());
    this.tell();
  }

  expired(): void {
    if (this.isOver) return;
    const now = performance.now();
    if (this.requestDeadline !== 0 && this.requestDeadline <= now) return this.refuse(TOO_SLOW);
    if (this.callDeadline !== 0 && this.callDeadline <= now) return this.expireCall();
    this.armDeadline();
  }

  draining(): void {
    // What is under way is finished; `replied` then closes. An event stream never is: its client comes back by itself.
    if (this.isOver || !this.isEndless || this.stream === null || !this.stream.hasBegun) return;
    this.stream.endNow();
    this.abandon(new DOMException("The server shuts down.", "AbortError"));
    this.tell();
    this.wire.finish();
  }

  // ---- InFlight ----

  get kind(): InFlightKind {
    return this.stream === null ? "call" : "stream";
  }

  cut(reason: string): void {
    if (this.isOver) return;
    const { wire } = this;
    const hasBegun = this.stream !== null && this.stream.hasBegun;
    const isReplied = this.isReplied;
    this.abandon(new DOMException(`The module's version was ended: ${reason}.`, "AbortError"));
    if (!wire.hasEnded) this.route?.generation.figures.fail();
    if (hasBegun) {
      this.tell();
      return wire.abort();
    }
    if (!isReplied) this.writeOwn(MODULE_REPLACED);
    this.tell();
    wire.finish();
  }

  // ---- BodySource ----

  wanted(): void {
    if (this.isOver || this.isReceived) return;
    if (this.awaitsContinue && !this.isReplied) {
      this.awaitsContinue = false;
      // A final reply that has begun says all the client needs to know.
      if (this.stream === null) this.wire.write("HTTP/1.1 100 Continue\r\n\r\n");
    }
    if (this.isSated) {
      this.isSated = false;
      this.armRequestDeadline(this.wire.dispatch.timeouts.bodyMs);
    }
    this.wire.resume();
  }

  sated(): void {
    if (this.isReceived) return;
    // It is the handler that is slow now, and has a deadline of its own.
    this.isSated = true;
    this.armRequestDeadline(0);
    this.wire.pause();
  }

  // ---- receiving ----

  private receiveHead(bytes: Buffer): void {
    const { wire, parser } = this;
    if (parser === null) return;
    const before = parser.consumed;
    const head = parser.readHead(bytes, 0, wire.dispatch.limits);
    if (head === null) return;
    const end = parser.consumed - before;
    const { isHead } = parser;
    this.releaseParser();
    if (!(head instanceof RequestHead)) return this.refuse(head, isHead);
    this.head = head;
    if (head.bodyBytes !== 0) return this.awaitBody(head, bytes, end);
    this.received(bytes, end);
    this.answer(head, null);
  }

  private receiveBody(bytes: Buffer, from: number): void {
    if (from < bytes.length) this.awaitsContinue = false;
    const end = this.decoder !== null ? this.readChunks(this.decoder, bytes, from) : this.readCounted(bytes, from);
    if (end < 0) return this.noteProgress();
    this.body?.complete();
    this.body = null;
    this.received(bytes, end);
    if (this.isReplied) this.complete();
  }

  /** A byte now and then is no progress. The wheel is not armed anew: `expired` looks again. */
  private noteProgress(): void {
    if (this.requestDeadline === 0 || this.bodyBytes - this.progressBytes < MIN_PROGRESS_BYTES) return;
    this.progressBytes = this.bodyBytes;
    this.requestDeadline = performance.now() + this.wire.dispatch.timeouts.bodyMs;
  }

  /** @returns the offset behind the body, or -1 when more is to come or it is refused */
  private readCounted(bytes: Buffer, from: number): number {
    const expected = this.head?.bodyBytes ?? 0;
    const end = Math.min(bytes.length, from + expected - this.bodyBytes);
    this.bodyBytes += end - from;
    this.body?.push(bytes.subarray(from, end));
    return this.bodyBytes === expected ? end : -1;
  }

  private readChunks(decoder: ChunkedDecoder, bytes: Buffer, from: number): number {
    const end = decoder.decode(bytes, from, (part) => this.takePart(part));
    if (this.isOver) return -1;
    if (end < 0) this.refuse(MALFORMED);
    return decoder.isComplete && end >= 0 ? end : -1;
  }

  private takePart(part: Uint8Array): void {
    this.bodyBytes += part.length;
    if (this.isOver) return;
    if (this.bodyBytes > this.wire.dispatch.limits.maxBodyBytes) this.refuse(BODY_TOO_LARGE);
    else this.body?.push(part);
  }

  /** The request is complete; what is behind it waits for the reply. */
  private received(bytes: Buffer, end: number): void {
    this.isReceived = true;
    this.releaseParser();
    if (this.requestDeadline !== 0) {
      this.requestDeadline = 0;
      this.armDeadline();
    }
    this.wire.resume();
    if (end < bytes.length) this.hold(bytes.subarray(end));
  }

  /** Takes what came behind the request in the read that completed it. */
  hold(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.held === null) this.held = new HeldBytes(bytes);
    else this.held.append(bytes);
    if (this.held.length > MAX_HELD_BYTES) this.wire.pause();
  }

  // ---- answering ----

  private answer(head: RequestHead, body: IncomingBody | null): void {
    this.isAnswered = true;
    const verdict = answer(this.wire, head, body, this);
    if (verdict === KEEP || verdict === CLOSE) this.replied(verdict === KEEP);
    else if (verdict !== this) this.handOver(verdict);
  }

  private enter(head: RequestHead, route: BoundRoute, request: LightRequest, startedAt: number): void {
    this.startedAt = startedAt;
    this.head = head;
    this.route = route;
    this.request = request;
    route.generation.enter(this);
  }

  private async settle(result: Promise<unknown>): Promise<void> {
    let value: unknown;
    try {
      value = await result;
    } catch (error) {
      if (!this.isOver) this.failed(error);
      return;
    }
    if (this.isOver) discard(value);
    else this.respond(value);
  }

  private respond(value: unknown): void {
    this.time();
    if (this.callDeadline !== 0) {
      this.callDeadline = 0;
      this.armDeadline();
    }
    const { wire, head, route, request } = this;
    if (head === null || route === null || request === null) return;
    try {
      if (route.kind === "websocket" && !(value instanceof Response)) {
        if (wire.hasEnded) return this.leaveUnanswered();
        return this.upgrade(head, route, value);
      }
      if (!(value instanceof Response)) throw noResponse(route, value);
      const keepAlive = keepsAlive(head, value) && !wire.dispatch.isDraining;
      const reply = composeReply(head, value, keepAlive, dateOf(wire.dispatch, keepAlive));
      if (reply === null) return void this.sendStream(head, route, request, value, this.startedAt);
      countStatus(wire.dispatch, route, value.status, wire.hasEnded);
      wire.write(reply);
      this.status = value.status;
      if (wire.dispatch.access !== null) this.writtenBytes = byteLength(reply);
      this.replied(keepAlive);
    } catch (error) {
      this.failed(error);
    }
  }

  private upgrade(head: RequestHead, route: BoundRoute, answer: unknown): void {
    const socket = switchProtocols(this.wire, head, route, answer, this.startedAt);
    if (!(socket instanceof OwnReply)) return this.handOver(socket);
    this.writeOwn(socket);
    this.replied(false);
  }

  /**
   * The client has sent its FIN. It may be gone, or it may still read: the server cannot know. So the handler's signal
   * aborts. A reply of known length is still sent; a stream without one ends.
   */
  private clientEnded(): void {
    const { request, stream } = this;
    if (this.isOver) return;
    const reason = clientEnded();
    if (stream !== null && !stream.hasKnownLength) {
      this.abandon(reason);
      this.tell();
      return this.wire.finish();
    }
    if (request !== null) this.inGraph(() => LightRequest.abort(request, reason));
  }

  /** The connection is another protocol's from here on, with what came behind the request. */
  private handOver(next: { hold(bytes: Uint8Array): void }): void {
    this.isOver = true;
    this.releaseParser();
    this.leave();
    const { held } = this;
    this.held = null;
    this.wire.resume();
    next.hold(held === null ? NOTHING : held.view());
  }

  private async pump(stream: ReplyStream): Promise<void> {
    try {
      await stream.send();
    } catch (error) {
      if (this.isOver) return;
      if (!stream.hasBegun) return this.failed(error);
      // Half a reply is on its way. Only a reset tells the client that it is not whole.
      if (!this.wire.hasEnded) this.wire.dispatch.counters.errors++;
      this.fail(error);
      this.abandon(error);
      this.tell();
      this.wire.abort();
      return;
    }
    if (stream.status >= 500 && !this.wire.hasEnded) this.route?.generation.figures.fail();
    if (!this.isOver) this.replied(stream.keepAlive);
  }

  private failed(error: unknown): void {
    const { wire, head } = this;
    this.time();
    // The server has no descriptors left: the module is not to blame.
    const isExhausted = error instanceof OutOfDescriptors;
    if (!isExhausted) this.fail(error);
    const keepAlive = head !== null && head.keepAlive && !wire.dispatch.isDraining;
    this.stream = null;
    this.writeOwn(isExhausted ? TOO_MANY_FILES : HANDLER_FAILED, keepAlive);
    this.replied(keepAlive);
  }

  private writeOwn(reply: OwnReply, keepAlive = false): void {
    const { dispatch, hasEnded } = this.wire;
    if (reply.status >= 500 && !hasEnded) dispatch.counters.errors++;
    const connection = connectionLine(keepAlive, this.head?.isHttp11 ?? true);
    const message = composeOwn(reply, connection, dateOf(dispatch, keepAlive), this.head?.method === "HEAD");
    this.wire.write(message);
    this.status = reply.status;
    this.writtenBytes = byteLength(message);
  }

  /** The reply's last byte was accepted. */
  replied(keepAlive: boolean): void {
    this.isReplied = true;
    this.keepAlive = keepAlive;
    this.tell();
    this.leave();
    if (this.isReceived) return this.complete();
    // A client that still waits for its 100 Continue may send the body or not: nobody knows what comes next.
    if (!keepAlive || this.awaitsContinue) return this.end(false);
    this.body?.discard();
    this.wire.resume();
  }

  private complete(): void {
    this.end(this.keepAlive && !this.wire.dispatch.isDraining);
  }

  private end(isReleased: boolean): void {
    this.isOver = true;
    this.releaseParser();
    this.leave();
    const { wire, held } = this;
    if (!isReleased) return wire.finish();
    this.held = null;
    wire.release(held === null ? NOTHING : held.view());
  }

  // ---- failing ----

  /** Answers, unless a reply has begun, and ends the connection. */
  private refuse(refusal: OwnReply, isHead = this.parser?.isHead ?? this.head?.method === "HEAD"): void {
    const { wire, stream, isReplied } = this;
    this.abandon(new DOMException(refusal.text, refusal === TOO_SLOW ? "TimeoutError" : "AbortError"));
    if (isReplied) return wire.finish();
    if (stream !== null && stream.hasBegun) {
      this.tell();
      return wire.abort();
    }
    if (!this.isAnswered) return refuse(wire, refusal, isHead);
    this.writeOwn(refusal);
    this.tell();
    wire.finish();
  }

  private expireCall(): void {
    const { wire, route } = this;
    const ms = route?.timeoutMs ?? wire.dispatch.timeouts.handlerMs;
    const error = new DOMException(`The handler did not answer within ${ms} ms.`, "TimeoutError");
    this.fail(error);
    this.abandon(error);
    this.writeOwn(HANDLER_LATE);
    this.tell();
    wire.finish();
  }

  /** Ends without a reply: the client is gone. */
  private leaveUnanswered(): void {
    this.abandon(clientGone());
    this.tell();
    this.wire.finish();
  }

  /** Nobody waits for the reply any more. */
  private abandon(reason: unknown): void {
    this.isOver = true;
    this.time();
    this.releaseParser();
    this.held = null;
    this.inGraph(() => {
      this.body?.fail(reason);
      this.stream?.cancel(reason);
      if (this.request !== null) LightRequest.abort(this.request, reason);
    });
    this.leave();
  }

  /** Runs what calls the module's listeners, so that what they throw is the module's. */
  private inGraph(action: () => void): void {
    const { route } = this;
    if (route === null) return action();
    try {
      runInline(route, action);
    } catch (error) {
      this.wire.dispatch.handlerFailed(route, this.wire.client, error);
    }
  }

  // ---- figures ----

  /** The handler has answered, or nobody waits for it any more. */
  private time(): void {
    if (this.isTimed || this.startedAt === 0) return;
    this.isTimed = true;
    this.route?.generation.figures.record(performance.now() - this.startedAt);
  }

  /** Records a failure of the handler, unless the client had left before. */
  private fail(error: unknown): void {
    const { wire, route } = this;
    if (route === null) return;
    if (!wire.hasEnded) route.generation.figures.fail();
    wire.dispatch.handlerFailed(route, wire.client, error, wire.hasEnded);
  }

  /** The reply has ended, whole or not. What was answered without being waited for is told where it was written. */
  private tell(): void {
    const { access } = this.wire.dispatch;
    const { stream, head, route } = this;
    if (access === null || this.isTold || route === null) return;
    this.isTold = true;
    const hasStream = stream !== null && stream.hasBegun;
    const status = hasStream ? stream.status : this.status;
    const bytes = hasStream ? stream.writtenBytes : this.writtenBytes;
    tellAccess(access, this.wire.client, route, this.startedAt, answeredHttp("http/1.1", head, status, bytes));
  }

  private leave(): void {
    this.route?.generation.leave(this);
  }

  private releaseParser(): void {
    this.parser?.release();
    this.parser = null;
  }

  /** @param ms  0: none */
  private armRequestDeadline(ms: number): void {
    if (ms === 0 && this.requestDeadline === 0) return;
    this.requestDeadline = ms === 0 ? 0 : performance.now() + ms;
    this.armDeadline();
  }

  private armCallDeadline(ms: number): void {
    if (ms === 0) return;
    this.callDeadline = this.startedAt + ms;
    this.armDeadline();
  }

  /** The connection has one deadline: the nearer of the two. */
  private armDeadline(): void {
    const { requestDeadline: request, callDeadline: call } = this;
    const next = request === 0 || (call !== 0 && call < request) ? call : request;
    this.wire.armDeadline(next === 0 ? 0 : Math.max(1, Math.ceil(next - performance.now())));
  }
}
