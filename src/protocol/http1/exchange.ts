/**
 * One request and its reply that take more than one read, or a handler that waits. It is the connection's protocol
 * meanwhile. The plain case does not need one; see http1.ts.
 */
import type { CallOwner } from "../../host/call";
import { countError } from "../../host/inline";
import { asHost } from "../../system/leave-graph";
import { discard } from "../../module/graph/returned";
import { HeldBytes } from "../raw/held";
import { clientEnded, clientGone } from "../web/client-left";
import { countStatus, noResponse } from "../web/handler-reply";
import { HANDLER_FAILED, HANDLER_LATE, MODULE_REPLACED, OwnReply, TOO_MANY_FILES } from "../web/own-reply";
import { switchProtocols } from "../websocket/upgrade";
import { asBuffer, OutOfDescriptors, type Protocol, type Wire } from "../wire";
import { answer, CLOSE, KEEP } from "./answer";
import type { IncomingBody } from "./body";
import type { RequestHead } from "./head";
import type { RequestParser } from "./parser";
import { Receiving, type RequestOwner } from "./receiving";
import { INCOMPLETE, TOO_SLOW } from "./refusal";
import { composeReply, keepsAlive, dateOf, refuse } from "./reply";
import { Replying, Waiting } from "./replying";
import type { ReplyStream } from "./stream";

/** The most bytes of later requests. At this number the server stops reading the connection. */
const MAX_HELD_BYTES = 65_536;
const NOTHING = new Uint8Array(0);

/**
 * "receiving": nothing is answered yet. "calling": the handler waits. "streaming": its reply's body is being sent.
 * "replied": the reply has been sent, and the request's body still arrives. "over": later bytes are ignored.
 */
type State = "receiving" | "calling" | "streaming" | "replied" | "over";

export class Exchange implements Protocol, RequestOwner, CallOwner {
  readonly speaks = "http1";
  readonly #wire: Wire;
  #state: State = "receiving";
  /** null: the request was complete when this began. */
  #receiving: Receiving | null = null;
  /** null: no handler waits. */
  #replying: Replying | null = null;
  /** Whether the connection stays open after the reply. */
  #keepAlive = true;
  /** The bytes of requests behind this one. One buffer: a client may send them byte by byte. */
  #held: HeldBytes | null = null;

  constructor(wire: Wire) {
    this.#wire = wire;
    wire.take(this);
  }

  /** The first read held a part of the head. */
  awaitHead(parser: RequestParser): void {
    this.#receiving = new Receiving(this.#wire, this);
    this.#receiving.awaitHead(parser);
  }

  /** The head is complete, its body is not. @param bytes  the bytes behind the head, from `from` on */
  awaitBody(head: RequestHead, bytes: Buffer, from: number): void {
    this.#receiving = new Receiving(this.#wire, this);
    this.#receiving.awaitBody(head, bytes, from);
  }

  /** The request was given to its handler. */
  awaitReply(waiting: Waiting): this {
    const { value } = waiting;
    const replying = new Replying(this.#wire, waiting, this);
    this.#replying = replying;
    this.#state = "calling";
    if (value instanceof Response) this.#stream(replying, value);
    else {
      replying.call.awaitHandler();
      void this.#settle(replying, value);
      if (this.#wire.hasEnded) this.#clientEnded();
    }
    return this;
  }

  /** Takes the bytes behind the request. */
  hold(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.#held === null) this.#held = new HeldBytes(bytes);
    else this.#held.append(bytes);
    if (this.#held.length > MAX_HELD_BYTES) this.#wire.pause();
  }

  // ---- Protocol ----

  receive(bytes: Uint8Array): void {
    if (this.#state === "over") return;
    if (this.#receiving === null || this.#receiving.isComplete) this.hold(bytes);
    else this.#receiving.read(asBuffer(bytes));
  }

  ended(): void {
    if (this.#state === "over") return;
    if (this.#receiving === null || this.#receiving.isComplete) this.#clientEnded();
    else this.refuse(INCOMPLETE, this.#receiving.isHead);
  }

  drained(): void {
    // The stream waits by waitForDrain().
  }

  closed(): void {
    if (this.#state === "over") return;
    this.#abandon(clientGone());
    this.#replying?.tell();
  }

  expired(): void {
    if (this.#state !== "over") this.#receiving?.expired();
  }

  draining(): void {
    // Finishes the open reply; `#replied` then closes. An event stream has no end, so it is ended: its client comes
    // back by itself.
    const stream = this.#replying?.stream;
    if (this.#state !== "streaming" || stream == null || !stream.isEndless || !stream.hasBegun) return;
    stream.endNow();
    this.#finish(new DOMException("The server shuts down.", "AbortError"));
  }

  // ---- CallOwner ----

  cut(reason: string): void {
    const replying = this.#replying;
    if (this.#state === "over" || replying === null) return;
    const { hasBegun } = replying;
    this.#abandon(new DOMException(`The module's version was ended: ${reason}.`, "AbortError"));
    if (!this.#wire.hasEnded) countError(replying.route);
    if (!hasBegun) replying.say(MODULE_REPLACED);
    this.#close(hasBegun);
  }

  late(): void {
    const replying = this.#replying;
    if (this.#state === "over" || replying === null) return;
    const { timeoutMs } = replying.call;
    const error = new DOMException(`The handler did not answer within ${timeoutMs} ms.`, "TimeoutError");
    replying.failed(error);
    this.#abandon(error);
    replying.say(HANDLER_LATE);
    this.#close(false);
  }

  // ---- RequestOwner ----

  get isStreaming(): boolean {
    return this.#state === "streaming";
  }

  headRead(head: RequestHead, body: IncomingBody | null): void {
    this.#state = "calling";
    const next = answer(this.#wire, head, body);
    if (next === KEEP || next === CLOSE) this.#replied(next === KEEP);
    else if (next instanceof Waiting) this.awaitReply(next);
    else this.#handOver(next);
  }

  received(rest: Buffer): void {
    this.hold(rest);
    if (this.#state === "replied") this.#complete();
  }

  /** Answers, unless a reply has begun, and ends the connection. */
  refuse(refusal: OwnReply, isHead: boolean): void {
    const state = this.#state;
    const replying = this.#replying;
    const hasBegun = replying !== null && replying.hasBegun;
    this.#abandon(new DOMException(refusal.text, refusal === TOO_SLOW ? "TimeoutError" : "AbortError"));
    if (state === "receiving") return refuse(this.#wire, refusal, isHead);
    if (state !== "replied" && !hasBegun) replying?.say(refusal);
    this.#close(hasBegun && state !== "replied");
  }

  // ---- answering ----

  async #settle(replying: Replying, result: Promise<unknown>): Promise<void> {
    let value: unknown;
    try {
      value = await result;
    } catch (error) {
      if (this.#state !== "over") this.#failed(replying, error);
      return;
    }
    if (this.#state === "over") discard(value);
    else this.#respond(replying, value);
  }

  #respond(replying: Replying, value: unknown): void {
    const wire = this.#wire;
    const { head, route } = replying;
    replying.call.answered();
    try {
      if (route.kind === "websocket" && !(value instanceof Response)) return this.#upgrade(replying, value);
      if (!(value instanceof Response)) throw noResponse(route, value);
      const keepAlive = keepsAlive(head, value) && !wire.dispatch.isDraining;
      const message =
        replying.trailers === null ? composeReply(head, value, keepAlive, dateOf(wire.dispatch, keepAlive)) : null;
      if (message === null) return this.#stream(replying, value);
      countStatus(wire.dispatch, route, value.status, wire.hasEnded);
      replying.write(message, value.status);
      this.#replied(keepAlive);
    } catch (error) {
      this.#failed(replying, error);
    }
  }

  #upgrade(replying: Replying, value: unknown): void {
    if (this.#wire.hasEnded) return this.#finish(clientGone());
    const { head, route, call } = replying;
    const socket = switchProtocols(this.#wire, head, route, value, call.startedAt);
    if (!(socket instanceof OwnReply)) return this.#handOver(socket);
    replying.say(socket);
    this.#replied(false);
  }

  /** The handler has answered with a streamed body. */
  #stream(replying: Replying, response: Response): void {
    const stream = replying.begin(response);
    this.#state = "streaming";
    void this.#pump(replying, stream);
    // Later, so that finished parts go out first.
    if (this.#wire.hasEnded) asHost(() => setImmediate(() => this.#clientEnded()));
  }

  async #pump(replying: Replying, stream: ReplyStream): Promise<void> {
    const { dispatch } = this.#wire;
    try {
      await stream.send();
    } catch (error) {
      if (this.#isOver()) return;
      if (!stream.hasBegun) return this.#failed(replying, error);
      // A part of the reply has been sent. Only a reset tells the client that it is incomplete.
      if (!this.#wire.hasEnded) dispatch.counters.errors++;
      replying.failed(error);
      this.#abandon(error);
      return this.#close(true);
    }
    if (stream.status >= 500 && !this.#wire.hasEnded) countError(replying.route);
    if (!this.#isOver()) this.#replied(stream.keepAlive);
  }

  #failed(replying: Replying, error: unknown): void {
    replying.call.answered();
    // The server has no descriptors left: the module is not to blame.
    const isExhausted = error instanceof OutOfDescriptors;
    if (!isExhausted) replying.failed(error);
    const keepAlive = replying.head.keepAlive && !this.#wire.dispatch.isDraining;
    replying.say(isExhausted ? TOO_MANY_FILES : HANDLER_FAILED, keepAlive);
    this.#replied(keepAlive);
  }

  /** The reply's last byte was accepted. */
  #replied(keepAlive: boolean): void {
    this.#state = "replied";
    this.#keepAlive = keepAlive;
    this.#replying?.tell();
    this.#replying?.call.over();
    const receiving = this.#receiving;
    if (receiving === null || receiving.isComplete) return this.#complete();
    // A client that still waits for its 100 Continue may send the body or not, so the next bytes are ambiguous.
    if (keepAlive && !receiving.awaitsContinue) return receiving.discard();
    this.#state = "over";
    receiving.drop();
    this.#wire.finish();
  }

  /** Request and reply are complete. */
  #complete(): void {
    const wire = this.#wire;
    this.#state = "over";
    if (this.#keepAlive && !wire.dispatch.isDraining) wire.release(this.#takeHeld());
    else wire.finish();
  }

  /** Gives the connection to another protocol, with the bytes behind the request. */
  #handOver(next: { hold(bytes: Uint8Array): void }): void {
    this.#state = "over";
    this.#replying?.call.over();
    this.#wire.resume();
    next.hold(this.#takeHeld());
  }

  #takeHeld(): Uint8Array {
    const held = this.#held;
    this.#held = null;
    return held === null ? NOTHING : held.view();
  }

  // ---- ending early ----

  /**
   * The client has sent its FIN. It may be gone, or it may still read: the server cannot know. So the handler's signal
   * aborts. A reply of known length is still sent; a stream without one ends.
   */
  #clientEnded(): void {
    const replying = this.#replying;
    if (this.#state === "over" || replying === null) return;
    const reason = clientEnded();
    if (replying.stream !== null && !replying.stream.hasKnownLength) return this.#finish(reason);
    replying.call.inGraph(() => replying.abort(reason));
  }

  /** Ends the exchange, and closes the connection. */
  #finish(reason: unknown): void {
    this.#abandon(reason);
    this.#close(false);
  }

  /** Nobody waits for the reply any more. */
  #abandon(reason: unknown): void {
    const replying = this.#replying;
    const receiving = this.#receiving;
    this.#state = "over";
    this.#held = null;
    receiving?.drop();
    if (replying === null) return receiving?.fail(reason);
    replying.call.answered();
    replying.call.inGraph(() => {
      receiving?.fail(reason);
      replying.stream?.cancel(reason);
      replying.abort(reason);
    });
    replying.call.over();
  }

  /** @param isBroken a part of the reply has been sent */
  #close(isBroken: boolean): void {
    this.#replying?.tell();
    if (isBroken) this.#wire.abort();
    else this.#wire.finish();
  }

  /** Asked behind an await. */
  #isOver(): boolean {
    return this.#state === "over";
  }
}
