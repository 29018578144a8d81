/**
 * One WebSocket, the host's side: stays with the connection over reloads and turns frames into events, each for the
 * newest version's handlers. The author's side is socket.ts.
 */
import { Call, type CallOwner } from "../../host/call";
import { beginCall, endCall, failCall, NOT_TIMED, runInline } from "../../host/inline";
import type { BoundRoute } from "../../module/route";
import { asHost } from "../../module/graph/leave-graph";
import { isThenable } from "../../module/graph/returned";
import { asBuffer, type Protocol, type Wire } from "../wire";
import type { Deflate } from "./deflate";
import {
  ABNORMAL,
  encodeClose,
  encodeFrame,
  FIN,
  GOING_AWAY,
  isSendable,
  MAX_CONTROL_BYTES,
  MAX_REASON_BYTES,
  NO_STATUS,
  PING,
  POLICY,
  PONG,
  SERVER_ERROR,
} from "./frames";
import type { WebSocketBound } from "../routing";
import type { Endpoint } from "./hub";
import { freeRead, MIN_FREED_BYTES, reuseFrameMemory } from "./memory";
import { type Outgoing, plainFrame } from "./outgoing";
import { SecondWindow } from "../rates";
import { type FrameSink, FrameReader } from "./reader";
import { AuthorSocket } from "./socket";

const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

/** How long the peer's answer to our close frame is awaited. */
const CLOSE_MS = 5000;
/** The same while the server shuts down. */
const DRAIN_CLOSE_MS = 1000;
/** Above this much unsent, pongs wait, and only the latest one is sent (section 5.5.3). In bytes. */
const MAX_BEFORE_PONG_BYTES = 65_536;
/** Within bodyMs, this much of a message must come, or its end. Single bytes do not extend the deadline. In bytes. */
const MIN_PROGRESS_BYTES = 1024;
const EMPTY = Buffer.alloc(0);
/** Instead of when it began: a handler that is no call, but for a message. */
const NOT_COUNTED = -1;

export class HostSocket implements Protocol, FrameSink, CallOwner {
  readonly speaks = "websocket";
  readyState: 1 | 2 | 3 = OPEN;
  readonly wire: Wire;
  readonly endpoint: Endpoint;
  readonly author: AuthorSocket;
  readonly isDeflating: boolean;
  /** Of our messages; 0: sent as they are. */
  readonly #windowBits: number;
  readonly #reader: FrameReader;
  #topics: Set<string> | null = null;
  #corked: Buffer[] | null = null;
  #corkedBytes = 0;
  #latePong: Buffer | null = null;
  /** A send said -1 or 0: `drain` is due. */
  #owesDrain = false;
  #isStopped = false;
  /** It sent as many messages as it may within a second, and is not read until the next. */
  #isHeldBack = false;
  #messageRate: SecondWindow | null = null;
  /** The deadline of the idle clock, by performance.now(). In milliseconds. 0: none. */
  #idleAt = 0;
  /** The deadline for the next MIN_PROGRESS_BYTES of a message. In milliseconds. 0: no message has begun. */
  #messageAt = 0;
  /** How much of it had come when the deadline was set. In bytes. */
  #seenBytes = 0;
  /** Something came since the last tick of the idle clock. */
  #isHeard = true;
  #isPinged = false;
  #hasClosed = false;

  private constructor(wire: Wire, endpoint: Endpoint, deflate: Deflate | null, data: unknown) {
    this.wire = wire;
    this.endpoint = endpoint;
    this.isDeflating = deflate !== null;
    this.#windowBits = deflate?.windowBits ?? 0;
    this.#reader = new FrameReader(this);
    // Its address cannot be asked for once the connection is gone.
    this.author = new AuthorSocket(this, wire.client, data);
  }

  /** The 101 is written: takes the connection and tells the module. Bytes behind the request go to `hold`. */
  static open(wire: Wire, endpoint: Endpoint, deflate: Deflate | null, data: unknown): HostSocket {
    const socket = new HostSocket(wire, endpoint, deflate, data);
    wire.take(socket);
    endpoint.add(socket);
    socket.#armIdle();
    const route = endpoint.route;
    if (route?.websocket.handlers.open !== undefined) socket.#call(route, callOpen, undefined);
    return socket;
  }

  /** Bytes that came behind the request. */
  hold(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#read(bytes);
  }

  // ---- Protocol ----

  receive(bytes: Uint8Array): void {
    reuseFrameMemory();
    const isKept = this.#read(bytes);
    if (!isKept && bytes.length >= MIN_FREED_BYTES) freeRead(bytes);
  }

  /** @returns whether anyone keeps the bytes */
  #read(bytes: Uint8Array): boolean {
    this.#isHeard = true;
    if (this.readyState === CLOSED) return false;
    const isKept = this.#reader.read(asBuffer(bytes));
    if (this.#reader.isInside || this.#messageAt !== 0) this.#noteMessage();
    if (this.wire.queuedBytes > this.wire.dispatch.limits.maxWriteBufferBytes) this.stopReading();
    return isKept;
  }

  ended(): void {
    if (this.readyState === CLOSED) return;
    // What waits for the module came before the FIN; it is answered if there is still someone to answer.
    this.#end(ABNORMAL, "");
    this.wire.finish();
  }

  drained(): void {
    const pong = this.#latePong;
    this.#latePong = null;
    if (pong !== null && this.readyState === OPEN) this.wire.write(encodeFrame(FIN | PONG, pong));
    if (this.#owesDrain && this.wire.queuedBytes === 0 && this.readyState === OPEN && !this.endpoint.isUnavailable) {
      this.#owesDrain = false;
      const route = this.endpoint.route;
      if (route?.websocket.handlers.drain !== undefined) this.#call(route, callDrain, undefined);
    }
    this.goOn();
  }

  closed(): void {
    this.#end(ABNORMAL, "");
  }

  expired(): void {
    if (this.readyState === OPEN) return this.#tick(performance.now());
    // The peer does not answer our close frame.
    this.#end(ABNORMAL, "");
    this.wire.finish();
  }

  draining(): void {
    this.beginClose(GOING_AWAY, "the server shuts down");
  }

  /** A handler that waits never goes on: a client that expects what it would send is told, and can come back. */
  cut(): void {
    this.beginClose(GOING_AWAY, "the module was replaced");
  }

  // ---- reading ----

  get isReading(): boolean {
    return !this.#isStopped && !this.#isHeldBack && this.readyState !== CLOSED;
  }

  get maxMessageBytes(): number {
    const { route } = this.endpoint;
    return route === null ? 0 : (route.websocket.maxMessageBytes ?? this.wire.dispatch.limits.maxWebSocketMessageBytes);
  }

  /**
   * The module is being replaced, or the peer does not read what it is sent: nothing more is taken from it until
   * `goOn`.
   */
  stopReading(): void {
    if (this.readyState !== OPEN) return;
    this.#isStopped = true;
    this.wire.pause();
  }

  goOn(): void {
    if (!this.#isStopped || this.endpoint.isUnavailable) return;
    this.#isStopped = false;
    if (this.#owesDrain && this.wire.queuedBytes === 0) this.drained();
    this.#reader.resume();
    if (this.isReading) this.wire.resume();
  }

  text(text: string): void {
    this.#message(text);
  }

  binary(bytes: Buffer): void {
    this.#message(bytes);
  }

  #message(data: string | Buffer): void {
    const route = this.endpoint.route;
    // Another may begin in the same read.
    this.#messageAt = 0;
    if (route === null || this.readyState !== OPEN) return;
    const { counters, limits } = this.wire.dispatch;
    counters.messages++;
    if (limits.maxMessagesPerSecond !== 0) this.#countMessage(limits.maxMessagesPerSecond);
    if (route.websocket.handlers.message !== undefined) this.#callTimed(route, data);
  }

  #countMessage(limit: number): void {
    const rate = (this.#messageRate ??= new SecondWindow());
    const now = performance.now();
    rate.take(limit, now);
    const waitMs = rate.waitMs(limit, now);
    if (waitMs === 0 || this.#isHeldBack) return;
    this.#isHeldBack = true;
    this.wire.pause();
    asHost(() => setTimeout(() => this.#letOn(), waitMs));
  }

  #letOn(): void {
    this.#isHeldBack = false;
    if (this.#isStopped) return;
    this.#reader.resume();
    if (this.isReading) this.wire.resume();
  }

  ping(payload: Buffer): void {
    if (this.readyState !== OPEN) return;
    if (this.wire.queuedBytes > MAX_BEFORE_PONG_BYTES) this.#latePong = Buffer.from(payload);
    else this.wire.write(encodeFrame(FIN | PONG, payload));
    const route = this.endpoint.route;
    if (route?.websocket.handlers.ping !== undefined) this.#call(route, callPing, Buffer.from(payload));
  }

  pong(payload: Buffer): void {
    const route = this.endpoint.route;
    if (this.readyState === OPEN && route?.websocket.handlers.pong !== undefined)
      this.#call(route, callPong, Buffer.from(payload));
  }

  close(code: number, reason: string): void {
    // An answer to ours, or the peer's own, which is answered with the same code (section 5.5.1).
    if (this.readyState === OPEN)
      this.wire.write(code === NO_STATUS ? encodeFrame(FIN | 8, EMPTY) : encodeClose(code, reason));
    this.#end(code, reason);
    this.wire.finish();
  }

  violation(code: number, reason: string): void {
    if (this.readyState === OPEN) this.wire.write(encodeClose(code, reason));
    this.#end(code, reason);
    this.wire.finish();
  }

  // ---- sending ----

  /** @returns as ServerWebSocket.send */
  sendMessage(message: Outgoing): number {
    return this.sendFrame(message.frame(this.#windowBits), message.bytes);
  }

  /** Whether a frame made without regard to compression would do. */
  get isPlain(): boolean {
    return this.#windowBits === 0;
  }

  /** The same for a message that only this socket gets, uncompressed. */
  sendPlain(data: string | Uint8Array): number {
    if (this.readyState !== OPEN) return 0;
    // What is corked is kept for a while; all else is written now.
    const frame = plainFrame(data, this.#corked === null ? this.wire : null);
    return this.sendFrame(frame, typeof data === "string" ? payloadBytes(frame) : data.length);
  }

  sendFrame(frame: Buffer, bytes: number): number {
    if (this.readyState !== OPEN) return 0;
    const { wire } = this;
    const waiting = this.queuedBytes;
    if (waiting > 0 && waiting + frame.length > (this.endpoint.route?.websocket.maxQueuedBytes ?? 0)) {
      this.#owesDrain = true;
      return 0;
    }
    if (this.#corked !== null) {
      this.#corked.push(frame);
      this.#corkedBytes += frame.length;
      return bytes || 1;
    }
    wire.write(frame);
    if (wire.queuedBytes === 0) return bytes || 1;
    this.#owesDrain = true;
    return -1;
  }

  /** @param opcode  PING or PONG. @throws RangeError over 125 bytes */
  sendControl(opcode: number, payload: Uint8Array): number {
    if (payload.length > MAX_CONTROL_BYTES)
      throw new RangeError(`A ping or pong holds at most ${MAX_CONTROL_BYTES} bytes, not ${payload.length}.`);
    return this.sendFrame(encodeFrame(FIN | opcode, payload), payload.length);
  }

  get queuedBytes(): number {
    return this.wire.queuedBytes + this.#corkedBytes;
  }

  cork<R>(fn: () => R): R {
    if (this.#corked !== null) return fn();
    const corked: Buffer[] = [];
    this.#corked = corked;
    try {
      return fn();
    } finally {
      this.#uncork();
    }
  }

  #uncork(): void {
    const corked = this.#corked;
    this.#corked = null;
    this.#corkedBytes = 0;
    if (corked === null || corked.length === 0 || this.wire.isClosed) return;
    this.wire.write(corked.length === 1 ? (corked[0] as Buffer) : Buffer.concat(corked));
    if (this.wire.queuedBytes > 0) this.#owesDrain = true;
  }

  // ---- topics ----

  get topics(): string[] {
    return this.#topics === null ? [] : [...this.#topics];
  }

  isSubscribed(topic: string): boolean {
    return this.#topics?.has(topic) ?? false;
  }

  subscribe(topic: string): boolean {
    if (this.readyState !== OPEN || this.isSubscribed(topic)) return false;
    (this.#topics ??= new Set()).add(topic);
    this.endpoint.module.subscribe(topic, this);
    return true;
  }

  unsubscribe(topic: string): boolean {
    if (this.#topics === null || !this.#topics.delete(topic)) return false;
    this.endpoint.module.unsubscribe(topic, this);
    return true;
  }

  publish(topic: string, message: Outgoing): number {
    return this.readyState === CLOSED ? 0 : this.endpoint.module.publishFrom(this, topic, message);
  }

  // ---- ending ----

  /** Sends a close frame and waits for the peer's. @throws RangeError for a code or a reason that cannot be sent */
  beginClose(code: number, reason: string): void {
    if (!isSendable(code))
      throw new RangeError(`${code} is not a close code to send. Use 1000, or one of your own from 3000 to 4999.`);
    if (reason.length > MAX_REASON_BYTES || Buffer.byteLength(reason) > MAX_REASON_BYTES)
      throw new RangeError(`A close reason holds at most ${MAX_REASON_BYTES} bytes.`);
    if (this.readyState !== OPEN) return;
    this.#uncork();
    this.wire.write(encodeClose(code, reason));
    this.readyState = CLOSING;
    this.#leaveTopics();
    this.#reader.discardMessages();
    this.wire.armDeadline(this.wire.dispatch.isDraining ? DRAIN_CLOSE_MS : CLOSE_MS);
    // The peer's answer must be read, whatever reading was stopped for.
    if (!this.#isStopped && !this.#isHeldBack) return;
    this.#isStopped = false;
    this.#isHeldBack = false;
    this.#reader.resume();
    if (this.isReading) this.wire.resume();
  }

  terminate(): void {
    this.wire.abort();
  }

  /** The module has no such route any more. Its handlers are told while they are there. */
  moduleGone(): void {
    this.beginClose(GOING_AWAY, "the module is gone");
    this.#tellClosed(GOING_AWAY, "the module is gone");
  }

  #end(code: number, reason: string): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.#reader.drop();
    this.#leaveTopics();
    this.wire.armDeadline(0);
    if (this.endpoint.isUnavailable) this.endpoint.whenAvailable(() => this.#tellClosed(code, reason));
    else this.#tellClosed(code, reason);
    this.endpoint.delete(this);
  }

  #tellClosed(code: number, reason: string): void {
    if (this.#hasClosed) return;
    this.#hasClosed = true;
    const route = this.endpoint.route;
    if (route?.websocket.handlers.close !== undefined) this.#call(route, callClose, { code, reason });
  }

  #leaveTopics(): void {
    if (this.#topics === null) return;
    for (const topic of this.#topics) this.endpoint.module.unsubscribe(topic, this);
    this.#topics = null;
  }

  // ---- the deadline of a message that has begun: so much of it, or its end, within bodyMs ----

  #noteMessage(): void {
    const reader = this.#reader;
    if (!reader.isInside || this.readyState !== OPEN) {
      this.#messageAt = 0;
      return;
    }
    const isNew = this.#messageAt === 0;
    if (!isNew && reader.messageBytes - this.#seenBytes < MIN_PROGRESS_BYTES) return;
    const { bodyMs } = this.wire.dispatch.timeouts;
    this.#seenBytes = reader.messageBytes;
    if (bodyMs === 0) return;
    this.#messageAt = performance.now() + bodyMs;
    // A deadline that only moves needs no new alarm: `#tick` sets it.
    if (isNew) this.#arm();
  }

  #tick(now: number): void {
    // While the server does not read, the client cannot send: move the deadline.
    if (this.#messageAt !== 0 && this.#messageAt <= now && !this.isReading)
      this.#messageAt = now + this.wire.dispatch.timeouts.bodyMs;
    if (this.#messageAt !== 0 && this.#messageAt <= now) {
      this.wire.write(encodeClose(POLICY, "the message did not arrive in time"));
      this.#end(ABNORMAL, "");
      return this.wire.finish();
    }
    if (this.#idleAt !== 0 && this.#idleAt <= now) this.#tickIdle();
    else this.#arm();
  }

  /** Sets the connection's one alarm to the nearer deadline. */
  #arm(): void {
    const { wire } = this;
    const next =
      this.#messageAt === 0 || (this.#idleAt !== 0 && this.#idleAt < this.#messageAt) ? this.#idleAt : this.#messageAt;
    wire.armDeadline(next === 0 ? 0 : Math.max(1, Math.ceil(next - performance.now())));
  }

  // ---- the idle clock: half the time without a word brings a ping, another half the end ----

  /** The new version has another idleTimeoutMs. */
  restartIdle(): void {
    if (this.readyState === OPEN) this.#armIdle();
  }

  #armIdle(): void {
    const ms = this.endpoint.route?.websocket.idleTimeoutMs ?? 0;
    this.#idleAt = ms === 0 ? 0 : performance.now() + ms / 2;
    this.#arm();
  }

  #tickIdle(): void {
    // A peer that is not read cannot be heard.
    if (this.#isHeard || this.#isStopped || this.#isHeldBack) this.#isPinged = false;
    else if (this.#isPinged) {
      this.wire.write(encodeClose(GOING_AWAY, "idle for too long"));
      this.#end(ABNORMAL, "");
      this.wire.finish();
      return;
    } else {
      this.#isPinged = true;
      this.wire.write(encodeFrame(FIN | PING, EMPTY));
    }
    this.#isHeard = false;
    this.#armIdle();
  }

  // ---- calling the module ----

  /** A message: the one event that counts as a call. */
  #callTimed(route: WebSocketBound, data: string | Buffer): void {
    const startedAt = beginCall(route, false);
    if (this.#call(route, callMessage, data, startedAt)) endCall(route, startedAt);
  }

  /**
   * @param startedAt of what is counted, may be 0. @returns whether the handler is done; else it is counted when it is
   */
  #call<A>(route: WebSocketBound, call: HandlerCall<A>, argument: A, startedAt = NOT_COUNTED): boolean {
    let result: unknown;
    try {
      result = runInline(route, call, route, this.author, argument);
    } catch (error) {
      this.#failed(route, error);
      return true;
    }
    return typeof result !== "object" || !isThenable(result) || !this.#await(route, result, startedAt);
  }

  /** @returns whether there is something to wait for */
  #await(route: WebSocketBound, result: PromiseLike<unknown>, startedAt: number): boolean {
    // An async handler that never waited is done.
    if (result instanceof Promise && Bun.peek.status(result) === "fulfilled") return false;
    const beganAt = startedAt === NOT_COUNTED ? NOT_TIMED : startedAt || performance.now();
    const call = new Call(this.wire.dispatch, route, this.wire, beganAt, this);
    call.kind = "websocket";
    call.enter();
    const end = (): void => {
      call.answered();
      call.over();
    };
    const wasOpen = this.readyState !== CLOSED;
    result.then(end, (error: unknown) => {
      end();
      // No failure if the client left meanwhile. An error of `close` is a failure.
      if (wasOpen && this.readyState === CLOSED) call.failed(error, true);
      else this.#failed(route, error);
    });
    return true;
  }

  #failed(route: BoundRoute, error: unknown): void {
    const { dispatch } = this.wire;
    dispatch.counters.errors++;
    failCall(dispatch, route, this.wire, error);
    this.beginClose(SERVER_ERROR, "internal error");
  }
}

/** Of an uncompressed frame, which knows better than its text how many bytes it became. */
function payloadBytes(frame: Buffer): number {
  return frame.length - (frame.length < 128 ? 2 : frame.length < 65_540 ? 4 : 10);
}

type HandlerCall<A> = (route: WebSocketBound, socket: AuthorSocket, argument: A) => unknown;

// Run inside the graph; as methods, since handlers may use `this`.
const callOpen: HandlerCall<undefined> = ({ websocket, generation }, socket) =>
  websocket.handlers.open?.(socket, contextOf(generation));
const callMessage: HandlerCall<string | Buffer> = ({ websocket, generation }, socket, data) =>
  websocket.handlers.message?.(socket, data, contextOf(generation));
const callPing: HandlerCall<Buffer> = ({ websocket, generation }, socket, data) =>
  websocket.handlers.ping?.(socket, data, contextOf(generation));
const callPong: HandlerCall<Buffer> = ({ websocket, generation }, socket, data) =>
  websocket.handlers.pong?.(socket, data, contextOf(generation));
const callDrain: HandlerCall<undefined> = ({ websocket, generation }, socket) =>
  websocket.handlers.drain?.(socket, contextOf(generation));
const callClose: HandlerCall<{ code: number; reason: string }> = (
  { websocket, generation },
  socket,
  { code, reason },
) => websocket.handlers.close?.(socket, code, reason, contextOf(generation));

type AuthorContext = Parameters<NonNullable<WebSocketBound["websocket"]["handlers"]["open"]>>[1];

function contextOf(generation: BoundRoute["generation"]): AuthorContext {
  return generation.context as AuthorContext;
}
