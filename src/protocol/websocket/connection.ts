/**
 * One WebSocket, the server's side: stays with the connection over reloads and turns frames into events for the newest
 * version's handlers. The author's side is socket.ts.
 */
import { Call, type CallOwner } from "../../host/call";
import { beginCall, endCall, failCall, NOT_TIMED, runInline } from "../../host/inline";
import type { Session } from "../../module/contract";
import type { BoundRoute } from "../../module/route";
import { isThenable } from "../../module/graph/returned";
import { asBuffer, type Protocol, type Wire } from "../wire";
import type { Deflate } from "./deflate";
import {
  ABNORMAL,
  CLOSE,
  CLOSED,
  CLOSING,
  encodeClose,
  encodeFrame,
  FIN,
  GOING_AWAY,
  isSendable,
  MAX_REASON_BYTES,
  NO_STATUS,
  OPEN,
  PING,
  POLICY,
  SERVICE_RESTART,
  SERVER_ERROR,
} from "./frames";
import type { WebSocketBound } from "../routing";
import type { RouteSockets } from "./hub";
import { freeRead, MIN_FREED_BYTES } from "./memory";
import { SecondWindow } from "../rates";
import { FrameReader, type FrameReaderOwner } from "./reader";
import { SocketClock } from "./clock";
import { ReadGate } from "./gate";
import { FrameSender } from "./sender";
import { SocketTopics } from "./topics";
import { AuthorSocket } from "./socket";

/** How long to wait for the peer's answer to our close frame. */
const CLOSE_MS = 5000;
/** The same while the server shuts down. */
const DRAIN_CLOSE_MS = 1000;
const EMPTY = Buffer.alloc(0);
/** Stands for the start of an event that is not counted as a call: any except a message. */
const NOT_COUNTED = -1;

/** What the handshake gives a socket. */
interface Opening {
  /** The first value of `socket.data`. */
  readonly data: unknown;
  readonly session: Session;
}

export class WebSocketConnection implements Protocol, FrameReaderOwner, CallOwner {
  readonly speaks = "websocket";
  readyState: 1 | 2 | 3 = OPEN;
  readonly isDeflating: boolean;
  readonly sender: FrameSender;
  readonly topics: SocketTopics;
  readonly #wire: Wire;
  readonly #sockets: RouteSockets;
  readonly #author: AuthorSocket;
  readonly #reader = new FrameReader(this);
  readonly #gate: ReadGate;
  readonly #clock: SocketClock;
  #messageRate: SecondWindow | null = null;
  #hasToldClose = false;
  #session: Session;

  private constructor(wire: Wire, sockets: RouteSockets, deflate: Deflate | null, { data, session }: Opening) {
    this.#session = session;
    this.isDeflating = deflate !== null;
    this.sender = new FrameSender(wire, sockets, deflate);
    this.topics = new SocketTopics(sockets, this.sender);
    this.#wire = wire;
    this.#sockets = sockets;
    this.#gate = new ReadGate(wire, this.#reader);
    this.#clock = new SocketClock(wire, this.#reader, this.#gate);
    // Read now: the address is gone with the connection.
    this.#author = new AuthorSocket(this, wire.client, data);
  }

  /** The 101 is written: takes the connection and tells the module. Bytes behind the request go to `hold`. */
  static open(wire: Wire, sockets: RouteSockets, deflate: Deflate | null, opening: Opening): WebSocketConnection {
    const socket = new WebSocketConnection(wire, sockets, deflate, opening);
    wire.take(socket);
    sockets.add(socket);
    socket.restartIdle();
    socket.#tell("open");
    return socket;
  }

  get session(): Session {
    return (this.#session = this.#wire.dispatch.sessions?.current(this.#session) ?? this.#session);
  }

  /** Bytes that came behind the request. */
  hold(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#read(bytes);
  }

  // ---- Protocol ----

  receive(bytes: Uint8Array): void {
    const isKept = this.#read(bytes);
    if (!isKept && bytes.length >= MIN_FREED_BYTES) freeRead(bytes);
  }

  /** @returns whether the bytes were kept */
  #read(bytes: Uint8Array): boolean {
    this.#clock.peer = "heard";
    if (this.readyState === CLOSED) return false;
    const isKept = this.#reader.read(asBuffer(bytes));
    if (this.#reader.isInside || this.#clock.messageAt !== 0) this.#clock.noteMessage(this.readyState === OPEN);
    if (this.#wire.queuedBytes > this.#wire.dispatch.limits.maxWriteBufferBytes) this.stopReading();
    return isKept;
  }

  ended(): void {
    if (this.readyState === CLOSED) return;
    // Messages that wait for the module came before the FIN. They are answered if possible.
    this.#finish(ABNORMAL, "");
  }

  drained(): void {
    this.sender.sendLatePong();
    this.#tellDrain();
    this.goOn();
  }

  #tellDrain(): void {
    if (this.sender.takeDrain()) this.#tell("drain");
  }

  closed(): void {
    this.#end(ABNORMAL, "");
  }

  expired(): void {
    // The peer does not answer our close frame.
    if (this.readyState !== OPEN) return this.#finish(ABNORMAL, "");
    switch (this.#clock.tick()) {
      case "slow":
        return this.#fail(POLICY, "the message did not arrive in time");
      case "silent":
        return this.#fail(GOING_AWAY, "idle for too long");
      case "ping":
        this.#wire.write(encodeFrame(FIN | PING, EMPTY));
    }
  }

  /** Sends the reason, and waits for no answer. */
  #fail(code: number, reason: string): void {
    this.#wire.write(encodeClose(code, reason));
    this.#finish(ABNORMAL, "");
  }

  draining(): void {
    this.beginClose(GOING_AWAY, "the server shuts down");
  }

  /** A waiting handler will never continue, so its socket closes: the client learns it, and can come back. */
  cut(): void {
    this.beginClose(GOING_AWAY, "the module was replaced");
  }

  // ---- reading ----

  get isReading(): boolean {
    return this.#gate.isOpen;
  }

  get maxMessageBytes(): number {
    const { route } = this.#sockets;
    return route === null
      ? 0
      : (route.websocket.maxMessageBytes ?? this.#wire.dispatch.limits.maxWebSocketMessageBytes);
  }

  /** Stops reading until `goOn`: the module is being replaced, or the peer does not read. */
  stopReading(): void {
    if (this.readyState !== OPEN) return;
    this.#gate.stop();
  }

  goOn(): void {
    if (!this.#gate.isStopped || this.#sockets.isUnavailable) return;
    this.#tellDrain();
    this.#gate.goOn();
  }

  text(text: string): void {
    this.#message(text);
  }

  binary(bytes: Buffer): void {
    this.#message(bytes);
  }

  #message(data: string | Buffer): void {
    const route = this.#sockets.route;
    // Another message may begin in the same read.
    this.#clock.messageAt = 0;
    if (route === null || this.readyState !== OPEN) return;
    const { counters, limits } = this.#wire.dispatch;
    counters.messages++;
    if (limits.maxMessagesPerSecond !== 0) this.#countMessage(limits.maxMessagesPerSecond);
    if (route.websocket.handlers.message !== undefined) this.#callTimed(route, data);
  }

  #countMessage(limit: number): void {
    const rate = (this.#messageRate ??= new SecondWindow());
    const now = performance.now();
    rate.take(limit, now);
    const waitMs = rate.waitMs(limit, now);
    if (waitMs > 0) this.#gate.throttle(waitMs);
  }

  ping(payload: Buffer): void {
    if (this.readyState !== OPEN) return;
    this.sender.answerPing(payload);
    this.#tellBytes("ping", payload);
  }

  pong(payload: Buffer): void {
    if (this.readyState === OPEN) this.#tellBytes("pong", payload);
  }

  close(code: number, reason: string): void {
    // It answers our close frame, or is the peer's own, which gets the same code (section 5.5.1).
    if (this.readyState === OPEN)
      this.#wire.write(code === NO_STATUS ? encodeFrame(FIN | CLOSE, EMPTY) : encodeClose(code, reason));
    this.#finish(code, reason);
  }

  violation(code: number, reason: string): void {
    if (this.readyState === OPEN) this.#wire.write(encodeClose(code, reason));
    this.#finish(code, reason);
  }

  // ---- ending ----

  /** Sends a close frame and waits for the peer's. @throws RangeError for a code or a reason that cannot be sent */
  beginClose(code: number, reason: string): void {
    if (!isSendable(code))
      throw new RangeError(`${code} is not a close code to send. Use 1000, or one of your own from 3000 to 4999.`);
    if (reason.length > MAX_REASON_BYTES || Buffer.byteLength(reason) > MAX_REASON_BYTES)
      throw new RangeError(`A close reason holds at most ${MAX_REASON_BYTES} bytes.`);
    if (this.readyState !== OPEN) return;
    this.sender.close(encodeClose(code, reason));
    this.readyState = CLOSING;
    this.topics.leave();
    this.#reader.discardMessages();
    this.#wire.armDeadline(this.#wire.dispatch.isDraining ? DRAIN_CLOSE_MS : CLOSE_MS);
    this.#gate.openForClose();
  }

  terminate(): void {
    this.#wire.abort();
  }

  /** The module has no such route any more. Calls its handlers a last time. */
  moduleGone(): void {
    this.beginClose(GOING_AWAY, "the module is gone");
    this.#tellClosed(GOING_AWAY, "the module is gone");
  }

  #finish(code: number, reason: string): void {
    this.#end(code, reason);
    this.#wire.finish();
  }

  #end(code: number, reason: string): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.sender.isOpen = false;
    this.#gate.end();
    this.#reader.drop();
    this.topics.leave();
    this.#wire.armDeadline(0);
    if (this.#sockets.isUnavailable) this.#sockets.whenAvailable(() => this.#tellClosed(code, reason));
    else this.#tellClosed(code, reason);
    this.#sockets.delete(this);
  }

  #tellClosed(code: number, reason: string): void {
    if (this.#hasToldClose) return;
    this.#hasToldClose = true;
    this.#tell("close", code, reason);
  }

  processLost(): void {
    this.beginClose(SERVICE_RESTART, "the module's process was started again");
  }

  /** The new version has another idleTimeoutMs. */
  restartIdle(): void {
    if (this.readyState === OPEN) this.#clock.restartIdle(this.#sockets.route?.websocket.idleTimeoutMs ?? 0);
  }

  // ---- calling the module ----

  /** Calls the handler of any event except a message. */
  #tell(event: Exclude<keyof Handlers, "message">, ...values: unknown[]): void {
    const route = this.#sockets.route;
    if (route?.websocket.handlers[event] !== undefined) this.#call(route, callEvent, { event, values });
  }

  /** Passes a copy: the memory of a read is used again. */
  #tellBytes(event: "ping" | "pong", payload: Buffer): void {
    if (this.#sockets.route?.websocket.handlers[event] !== undefined) this.#tell(event, Buffer.from(payload));
  }

  /** A message: the one event that counts as a call. */
  #callTimed(route: WebSocketBound, data: string | Buffer): void {
    const startedAt = beginCall(route, false);
    if (this.#call(route, callMessage, data, startedAt)) endCall(route, startedAt);
  }

  /**
   * @param startedAt of a counted event, may be 0. @returns whether the handler is done; otherwise it counts when it is
   *   done
   */
  #call<A>(route: WebSocketBound, call: HandlerCall<A>, argument: A, startedAt = NOT_COUNTED): boolean {
    let result: unknown;
    try {
      result = runInline(route, call, route, this.#author, argument);
    } catch (error) {
      this.#failed(route, error);
      return true;
    }
    return typeof result !== "object" || !isThenable(result) || !this.#await(route, result, startedAt);
  }

  /** @returns whether the handler still waits */
  #await(route: WebSocketBound, result: PromiseLike<unknown>, startedAt: number): boolean {
    // An async handler that never waited is done.
    if (result instanceof Promise && Bun.peek.status(result) === "fulfilled") return false;
    const beganAt = startedAt === NOT_COUNTED ? NOT_TIMED : startedAt || performance.now();
    const call = new Call(this.#wire.dispatch, route, this.#wire, beganAt, this);
    call.kind = "websocket";
    call.enter();
    // Events in another process come one after another, whichever version gets them.
    const isElsewhere = route.run !== "inline";
    if (isElsewhere) this.#gate.wait();
    const end = (): void => {
      if (isElsewhere) this.#gate.waited();
      call.answered();
      call.over();
    };
    const wasOpen = this.readyState !== CLOSED;
    result.then(end, (error: unknown) => {
      end();
      // It is no failure if the client has left. An error of `close` is a failure.
      if (wasOpen && this.readyState === CLOSED) call.failed(error, true);
      else this.#failed(route, error);
    });
    return true;
  }

  #failed(route: BoundRoute, error: unknown): void {
    const { dispatch } = this.#wire;
    dispatch.counters.errors++;
    failCall(dispatch, route, this.#wire, error);
    this.beginClose(SERVER_ERROR, "internal error");
  }
}

type Handlers = WebSocketBound["websocket"]["handlers"];
type AuthorContext = Parameters<NonNullable<Handlers["message"]>>[2];
type HandlerCall<A> = (route: WebSocketBound, socket: AuthorSocket, argument: A) => unknown;

// Called inside the graph and as methods, since handlers may use `this`.
const callMessage: HandlerCall<string | Buffer> = ({ websocket, generation }, socket, data) =>
  websocket.handlers.message?.(socket, data, generation.context as AuthorContext);
const callEvent: HandlerCall<{ event: keyof Handlers; values: unknown[] }> = (route, socket, { event, values }) => {
  const handlers = route.websocket.handlers as Record<string, ((...values: unknown[]) => unknown) | undefined>;
  return handlers[event]?.(socket, ...values, route.generation.context);
};
