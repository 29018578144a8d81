/**
 * One client's connection: holds its bytes, has a route chosen for each message, hands the message to its handler and
 * sends the replies in order. Start reading at `receive`.
 */
import { refuse } from "../../protocol/http1/reply";
import type { Socket } from "bun";
import type { Hosts } from "../../host/hosts";
import type { Client } from "../../module/contract";
import type { BoundRoute } from "../../module/route";
import { contentEnd, FramingError, messageLength } from "../../protocol/raw/framing";
import { HeldBytes } from "../../protocol/raw/held";
import { beginHttp1 } from "../../protocol/http1/http1";
import type { OwnReply } from "../../protocol/web/own-reply";
import { BAD_START_LINE, TOO_SLOW } from "../../protocol/http1/refusal";
import type { Http2Front } from "../../protocol/http2/front";
import { matchPreface } from "../../protocol/http2/preface";
import { SecondWindow } from "../../protocol/rates";
import { HandedConnection } from "../../protocol/raw/connect";
import { takeInTurn, type TurnTaker } from "../../protocol/turns";
import { unavailableReply } from "../../protocol/web/unavailable";
import type { ConnectionKind, Dispatch, Protocol } from "../../protocol/wire";
import { noModuleError } from "../../router/escape";
import { NEED_MORE, NO_MATCH } from "../../router/match";
import {
  beginsWithMethod,
  endsLikeRequest,
  HTTP,
  LINE_PENDING,
  looksLikeField,
  looksLikeTls,
  mayBecomeAnyMethod,
  mayBecomeMethod,
  NOT_HTTP,
  readOpening,
} from "../../router/sniff";
import { AnsweringConnection } from "./answering";
import { clientOf, type Transport } from "./client";
import { type ConnectionState, type Holding, isBetweenMessages } from "./states";
import type { Deadline, DeadlineWheel } from "../../host/deadlines";
import { failRaw } from "../../protocol/raw/reply-queue";
import { tlsOf } from "../tls/client";
import type { TlsContexts } from "../tls/contexts";
import { TlsOpening, type Upgradable } from "../tls/upgrade";

/** What all connections of a server share. */
export interface ConnectionHome {
  readonly dispatch: Dispatch;
  /** null: HTTP/2 is off. */
  readonly http2: Http2Front | null;
  readonly wheel: DeadlineWheel;
  readonly hosts: Pick<Hosts, "call">;
  /** null: TLS is off. */
  readonly tls: TlsContexts | null;
  /** Told of a connection's changes of state. null: nobody wants to know. */
  readonly trace: ((connection: ServerConnection, change: string) => void) | null;
  connectionClosed(connection: ServerConnection): void;
  /** Something in the server itself threw: logged as our bug, and the connection is cut. */
  connectionBroke(connection: ServerConnection, error: unknown): void;
}

/**
 * A client that has no way to know that the server shuts down gets so long for what it is sending: closing at once
 * would lose it.
 */
const LAST_CALL_MS = 300;
/** The same for a client right after its TLS handshake: its first message needs a round trip. */
const FIRST_CALL_MS = 2000;
/** How long a peer may go on sending after we said all we had to say. */
const LINGER_MS = 5000;
/** The same while the server shuts down: nobody's silence may hold it up. */
const DRAIN_LINGER_MS = 300;
/** A connection on which this many messages matched nothing is ended: its client speaks something else. */
const MAX_MISSES = 16;
const NOTHING = new Uint8Array(0);

const LF = 10;
const CR = 13;

/** What `#routeOne` answers when the bytes from here on are no longer its own to route. */
const STOP = -1;

export class ServerConnection
  extends AnsweringConnection<ConnectionHome, ServerConnection>
  implements Upgradable, Deadline, TurnTaker
{
  deadlineAt = 0;
  hasEnded = false;
  isSecure = false;
  /** The remote address that this connection is counted under; "" if it is not. */
  countedAddress = "";
  readonly number: number;
  readonly #transport: Transport;
  #protocol: Protocol | null = null;
  #kind: ConnectionKind = "new";
  #held: HeldBytes | null = null;
  #client: Client | null = null;
  #state: ConnectionState = "idle";
  #lastActiveAt = 0;
  #misses = 0;
  /** An HTTP/1 request came. From then on all bytes are HTTP: a request's body must never be taken for messages. */
  #speaksHttp = false;
  /** null: no limit was asked for so far. */
  #messageRate: SecondWindow | null = null;
  #isFinishing = false;
  /** It waits for its turn to send its FIN or to be closed. */
  #isLeaving = false;
  /** No message has come: what looks like TLS is TLS. */
  #isFresh = true;

  constructor(home: ConnectionHome, socket: Socket<ServerConnection>, transport: Transport, number: number) {
    super(home, socket);
    this.#transport = transport;
    this.number = number;
    home.dispatch.counters.open.new++;
    this.#lastActiveAt = home.wheel.now;
    home.wheel.arm(this, home.dispatch.timeouts.idleMs);
    home.trace?.(this, `was accepted over ${transport}`);
  }

  get client(): Client {
    return (this.#client ??= clientOf(
      this.socket,
      this.#transport,
      this.number,
      this.isSecure ? tlsOf(this.socket) : null,
    ));
  }

  protected get isTaken(): boolean {
    return this.#protocol !== null;
  }

  // ---- what the socket tells ----

  /** Bytes from the socket. */
  receive(bytes: Uint8Array): void {
    if (this.#isFinishing) return;
    const isOurs = this.cork();
    try {
      if (this.#protocol !== null) {
        this.#lastActiveAt = this.home.wheel.now;
        this.#protocol.receive(bytes);
      } else if (this.#held === null) this.#route(bytes, false);
      else this.#routeHeld(bytes);
    } catch (error) {
      this.home.connectionBroke(this, error);
    }
    this.uncork(isOurs);
  }

  /** The peer's FIN: no more messages, but replies still go out. */
  ended(): void {
    this.hasEnded = true;
    this.home.trace?.(this, "has ended its side");
    const isOurs = this.cork();
    try {
      if (this.#protocol !== null) this.#protocol.ended();
      else if (this.#held !== null && !this.#isFinishing) this.#routeHeld(NOTHING);
    } catch (error) {
      this.home.connectionBroke(this, error);
    }
    this.uncork(isOurs);
    this.#endIfDone();
  }

  /** The kernel has room again. */
  drained(): void {
    if (!this.flushOutbox()) return;
    this.#protocol?.drained();
    this.#resumeRouting();
    this.#endIfDone();
  }

  /** The socket is gone. */
  closed(): void {
    if (this.isClosed) return;
    this.closeSending();
    this.home.trace?.(this, `is closed, after ${this.#kind}`);
    this.home.wheel.disarm(this);
    this.dispatch.counters.open[this.#kind]--;
    this.#held = null;
    this.dropReplies();
    const protocol = this.#protocol;
    this.#protocol = null;
    protocol?.closed();
    this.home.connectionClosed(this);
  }

  /** A handler of the socket's threw: our own bug. */
  broke(error: unknown): void {
    this.home.connectionBroke(this, error);
  }

  /** The server shuts down: what is under way is finished, nothing new begins. */
  draining(): void {
    if (this.#state === "lingering") this.#wait("lingering", DRAIN_LINGER_MS);
    else if (this.#protocol !== null) this.#protocol.draining();
    else {
      if (this.#state === "throttled") this.#goOn();
      if (!this.owesReplies && this.#protocol === null) this.#waitIdle();
    }
  }

  /** This client must speak HTTP from its first byte on. */
  expectHttp(): void {
    this.#speaksHttp = true;
  }

  // ---- TLS ----

  /** A client that must speak TLS, from its first byte on. */
  expectTls(): void {
    if (this.home.tls !== null) TlsOpening.begin(this, this.home.tls, NOTHING);
  }

  upgrade(start: (raw: Socket<ServerConnection>) => void): void {
    start(this.socket);
  }

  secured(socket: Socket<ServerConnection>): void {
    this.socket = socket;
    this.isSecure = true;
    this.#isFresh = false;
  }

  shook(socket: Socket<ServerConnection>, isGood: boolean): void {
    this.home.trace?.(this, isGood ? "has finished its TLS handshake" : "has failed its TLS handshake");
    if (this.#protocol instanceof TlsOpening) this.#protocol.shook(socket, isGood);
  }

  // ---- routing ----

  #routeHeld(more: Uint8Array): void {
    const held = this.#held as HeldBytes;
    if (more.length > 0) held.append(more);
    this.#route(held.view(), this.hasEnded);
  }

  /** Routes message after message. @param isFinal nothing will follow these bytes, or waiting for more is over */
  #route(bytes: Uint8Array, isFinal: boolean): void {
    let at = 0;
    for (;;) {
      if (this.#isFinishing || this.isClosed) return;
      at = this.#skipLineEnds(bytes, at);
      // Line ends between messages are no activity: a client must not keep a connection open by them.
      if (at >= bytes.length) return this.#holdNothing();
      this.#lastActiveAt = this.home.wheel.now;
      if (this.#isBlocked()) return this.#holdBlocked(bytes, at);
      if (at > 0 && this.#held !== null) this.#held = null;
      const behind = this.#routeOne(bytes, at, isFinal);
      if (behind === STOP) return;
      at = behind;
      isFinal = this.hasEnded;
    }
  }

  /** Too many replies are owed, or the client does not read those that it got. */
  #isBlocked(): boolean {
    const { limits } = this.dispatch;
    return this.owedReplies >= limits.maxPipelined || this.isOverfull;
  }

  /** CR and LF between messages are nobody's, unless a route's key begins with one. */
  #skipLineEnds(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length && (bytes[at] === LF || bytes[at] === CR) && this.#isNobodys(bytes[at] as number)) at++;
    return at;
  }

  #isNobodys(byte: number): boolean {
    return this.#speaksHttp || !this.dispatch.routing.table.mayStartWith(byte);
  }

  /**
   * @returns the offset behind the message at `at`, or STOP when it is held, handed over or refused with the connection
   */
  #routeOne(bytes: Uint8Array, at: number, isFinal: boolean): number {
    if (this.#speaksHttp) return this.#routeRequest(bytes, at, isFinal);
    const table = this.dispatch.routing.table;
    const settled = this.#held === null ? 0 : this.#held.settledBytes;
    const found =
      settled > 0 ? table.matchBytes(bytes.subarray(0, at + settled), at, true) : table.matchBytes(bytes, at, isFinal);
    if (found === NEED_MORE) {
      const hasShorter = table.matchBytes(bytes, at, true) !== NO_MATCH;
      return this.#hold(bytes, at, hasShorter ? "prefix" : "message");
    }
    if (found !== NO_MATCH) return this.#routeMatched(found, bytes, at, isFinal);
    // Only what no route claims, and only in front of everything else: a peer cannot turn to TLS with plain text on its
    // way.
    if (this.#isFresh && this.home.tls !== null && looksLikeTls(bytes, at))
      return this.#beginTls(this.home.tls, bytes, at);
    return this.#routeUnmatched(bytes, at, isFinal);
  }

  /** A raw route's key fits. An HTTP request stays HTTP even so, unless the route asks for it (docs/modules.md). */
  #routeMatched(route: BoundRoute, bytes: Uint8Array, at: number, isFinal: boolean): number {
    const held = this.#held;
    if (route.takesHttp === true || (held !== null && held.isNotHttp)) return this.#frame(route, bytes, at, isFinal);
    const opening = readOpening(bytes, at, held === null ? 0 : held.scanned);
    if (opening === HTTP) return this.#routeHttp(bytes, at);
    // When the wait is over, the route gets the bytes so far. A route that needs a line end goes on waiting for it.
    if (opening === LINE_PENDING && !isFinal && (held === null || held.settledBytes === 0))
      return this.#awaitLine(bytes, at, "quiet");
    const behind = this.#frame(route, bytes, at, isFinal);
    if (behind === STOP && opening === NOT_HTTP && this.#held !== null) (this.#held as HeldBytes).isNotHttp = true;
    return behind;
  }

  #routeUnmatched(bytes: Uint8Array, at: number, isFinal: boolean): number {
    if (beginsWithMethod(bytes, at)) return this.#routeHttp(bytes, at);
    if (bytes.length - at > 1 && looksLikeTls(bytes, at)) return this.#drop();
    const opening = readOpening(bytes, at);
    if (opening === HTTP) return this.#routeHttp(bytes, at);
    // An HTTP/2 preface or a request may have begun, byte by byte: wait for the rest.
    const holding = mayBecomeMethod(bytes, at) ? "message" : "quiet";
    if (opening === LINE_PENDING && !isFinal) return this.#awaitLine(bytes, at, holding);
    // Each line gets one error, so wait for the line's end.
    const isWhole = isFinal || bytes.length - at >= this.dispatch.limits.maxPrefixBytes || bytes.indexOf(LF, at) !== -1;
    if (!isWhole) return this.#hold(bytes, at, holding);
    // A badly malformed request looks like a message. No route claims it, so answer in HTTP.
    return endsLikeRequest(bytes, at) ? this.#routeHttp(bytes, at) : this.#refuse(bytes, at);
  }

  /** The message begins like a request. It is one if its line says so; beyond maxHeaderBytes the answer is a 414. */
  #awaitLine(bytes: Uint8Array, at: number, holding: Holding): number {
    if (bytes.length - at > this.dispatch.limits.maxHeaderBytes) return this.#routeHttp(bytes, at);
    return this.#hold(bytes, at, holding);
  }

  /** HTTP was spoken on this connection: the next message is a request, or ends it. */
  #routeRequest(bytes: Uint8Array, at: number, isFinal: boolean): number {
    const opening = beginsWithMethod(bytes, at) ? HTTP : readOpening(bytes, at);
    if (opening === HTTP) {
      const found = this.dispatch.routing.table.matchBytes(bytes, at, true);
      if (found !== NO_MATCH && found !== NEED_MORE && found.takesHttp === true)
        return this.#frame(found, bytes, at, isFinal);
      return this.#routeHttp(bytes, at);
    }
    if (opening === LINE_PENDING) return this.#routeHttp(bytes, at);
    if (looksLikeTls(bytes, at)) return this.#drop();
    if (opening !== NOT_HTTP && !isFinal && bytes.length - at <= this.dispatch.limits.maxHeaderBytes)
      return this.#hold(bytes, at, mayBecomeAnyMethod(bytes, at) ? "message" : "quiet");
    return this.#refuseRequest(BAD_START_LINE, bytes, at);
  }

  #beginTls(tls: TlsContexts, bytes: Uint8Array, at: number): number {
    TlsOpening.begin(this, tls, bytes.subarray(at));
    return STOP;
  }

  #routeHttp(bytes: Uint8Array, at: number): number {
    // HTTP writes its reply itself, so the raw replies before it must be out.
    if (this.owesReplies) {
      this.#holdBlocked(bytes, at);
      return STOP;
    }
    const http2 = this.home.http2;
    if (http2 !== null && !this.hasEnded) {
      const preface = matchPreface(bytes, at);
      if (preface === NEED_MORE) return this.#hold(bytes, at, "message");
      if (preface) return this.#beginHttp2(http2, bytes, at);
    }
    if (this.#isTooFast(bytes, at)) return STOP;
    if (this.#kind !== "http1") this.#become("http1");
    this.#speaksHttp = true;
    this.#heldIsOver();
    const behind = beginHttp1(this, bytes, at);
    return this.#protocol !== null || this.#isFinishing ? STOP : behind;
  }

  #beginHttp2(http2: Http2Front, bytes: Uint8Array, at: number): number {
    this.#heldIsOver();
    http2.begin(this, bytes.subarray(at));
    return STOP;
  }

  #frame(route: BoundRoute, bytes: Uint8Array, at: number, isFinal: boolean): number {
    if (route.kind === "connect") return this.#handOver(route, bytes, at);
    const limit = this.dispatch.limits.maxMessageBytes;
    const framing = route.kind === "command" ? "line" : route.framing;
    let length: number | typeof NEED_MORE;
    try {
      length = messageLength(framing, route.keyBytes, bytes, at, this.#held?.scanned ?? 0);
    } catch (error) {
      if (!(error instanceof FramingError)) return this.#refuseMessage(failRaw(this.dispatch, route, this, error));
      this.dispatch.handlerFailed(route, this.client, error);
      return this.#refuseMessage("ERR malformed message\n");
    }
    const arrived = bytes.length - at;
    // The end of input, or of waiting, ends a line too. Other framings can only be cut short by it.
    if (length === NEED_MORE && framing === "line" && (this.hasEnded || (isFinal && route.kind === "command")))
      length = arrived;
    if ((length === NEED_MORE ? arrived : length) > limit)
      return this.#refuseMessage(`ERR message over ${limit} bytes\n`);
    if (length === NEED_MORE || length > arrived) {
      if (this.hasEnded) return this.#refuseMessage("ERR message incomplete\n");
      this.#hold(bytes, at, route.kind === "command" ? "quiet" : "message");
      (this.#held as unknown as HeldBytes).scanned = arrived;
      return STOP;
    }
    if (this.#isTooFast(bytes, at)) return STOP;
    if (this.#kind !== "raw") this.#become("raw");
    const end = at + length;
    this.#heldIsOver();
    this.answer(route, bytes, at, contentEnd(framing, bytes, at, end));
    return end;
  }

  /** A `connect` route: the connection is the handler's from here on, the bytes so far included. */
  #handOver(route: BoundRoute, bytes: Uint8Array, at: number): number {
    if (this.owesReplies) {
      this.#holdBlocked(bytes, at);
      return STOP;
    }
    if (route.isUnavailable) return this.#refuseMessage(unavailableReply(route));
    if (this.#isTooFast(bytes, at)) return STOP;
    this.#heldIsOver();
    this.dispatch.counters.messages++;
    HandedConnection.begin(this, route, bytes.subarray(at));
    return STOP;
  }

  /**
   * Whether the message at `at`, which is complete, must wait for the next second. Then it is held and the peer is not
   * read: TCP pushes it back, and nothing is lost.
   */
  #isTooFast(bytes: Uint8Array, at: number): boolean {
    const limit = this.dispatch.limits.maxMessagesPerSecond;
    // A shutdown must not lose messages that wait here.
    if (limit === 0 || this.dispatch.isDraining) return false;
    // The wheel's own clock is up to a second old.
    const waitMs = (this.#messageRate ??= new SecondWindow()).take(limit, performance.now());
    if (waitMs === 0) return false;
    this.#holdBlocked(bytes, at);
    this.#wait("throttled", waitMs);
    return true;
  }

  /** Sets the connection's protocol, for the figures. */
  #become(kind: ConnectionKind): void {
    const { open } = this.dispatch.counters;
    open[this.#kind]--;
    open[kind]++;
    this.home.trace?.(this, `goes from ${this.#kind} to ${kind}`);
    const isFirstCall = this.#kind === "tls" && this.#state === "last-call";
    this.#kind = kind;
    if (isFirstCall) this.#waitIdle();
  }

  // ---- refusing ----

  /** Nothing is bound to these bytes: says so, and goes on behind the line. */
  #refuse(bytes: Uint8Array, at: number): number {
    if (looksLikeTls(bytes, at)) return this.#drop();
    if (this.#isTooFast(bytes, at)) return STOP;
    if (this.#kind !== "raw") this.#become("raw");
    const lineEnd = bytes.indexOf(LF, at);
    const end = lineEnd === -1 ? bytes.length : lineEnd + 1;
    this.dispatch.counters.errors++;
    const reply = noModuleError(bytes.subarray(at, contentEnd("line", bytes, at, end)));
    const { maxPrefixBytes } = this.dispatch.limits;
    // The end of so long a beginning is not known. Behind a header field come others, and a body that must not be taken
    // for messages.
    if (++this.#misses >= MAX_MISSES || end - at > maxPrefixBytes || looksLikeField(bytes, at))
      return this.#refuseMessage(reply);
    this.#heldIsOver();
    this.say(reply);
    return end;
  }

  /**
   * Cuts a client that speaks TLS while TLS is off, or too late: it cannot read an error in plain text. @returns STOP
   */
  #drop(): number {
    this.abort();
    return STOP;
  }

  /** Refuses bytes that are no HTTP request where one must come, and ends the connection. @returns STOP */
  #refuseRequest(refusal: OwnReply, bytes: Uint8Array, at: number): number {
    if (this.owesReplies) this.#holdBlocked(bytes, at);
    else refuse(this, refusal);
    return STOP;
  }

  /** An error after which nobody can tell where the next message begins. */
  #refuseMessage(reply: string | Uint8Array): number {
    this.#held = null;
    this.say(reply);
    this.finishInTurn();
    return STOP;
  }

  // ---- holding and waiting ----

  /** Keeps an unfinished message. @returns STOP */
  #hold(bytes: Uint8Array, at: number, holding: Holding): number {
    if (this.#held === null || at > 0) this.#held = new HeldBytes(at === 0 ? bytes : bytes.subarray(at));
    const { timeouts } = this.dispatch;
    // Only what is blocked stays paused: this message cannot get on without more bytes.
    this.resume();
    // Each byte restarts the wait for a pause. The other waits last as long as they were given at first.
    if (holding === "quiet") this.#wait("quiet", timeouts.prefixWaitMs);
    else if (this.#state !== holding && (holding !== "message" || this.#state !== "last-call"))
      this.#wait(holding, holding === "prefix" ? timeouts.prefixWaitMs : timeouts.requestMs);
    return STOP;
  }

  /** Keeps what cannot be routed before a reply is out; the peer is not read meanwhile. */
  #holdBlocked(bytes: Uint8Array, at: number): void {
    if (this.#held === null || at > 0) this.#held = new HeldBytes(at === 0 ? bytes : bytes.subarray(at));
    this.#waitIdle();
    this.pause();
  }

  #holdNothing(): void {
    this.#held = null;
    if (!isBetweenMessages(this.#state)) this.#waitIdle();
  }

  /** A held message is complete; what is behind it in the same bytes is looked at afresh. */
  #heldIsOver(): void {
    this.#isFresh = false;
    if (this.#held === null) return;
    this.#held = null;
    if (!isBetweenMessages(this.#state)) this.#waitIdle();
  }

  #wait(state: ConnectionState, ms: number): void {
    this.#enter(state);
    this.home.wheel.arm(this, ms);
  }

  #enter(state: ConnectionState): void {
    if (state === this.#state) return;
    this.home.trace?.(this, `turns from ${this.#state} to ${state}`);
    this.#state = state;
  }

  #resumeRouting(): void {
    if (this.isClosed || this.#protocol !== null || this.#isFinishing) return;
    if (this.isOverfull) return;
    if (this.isPaused) {
      this.resume();
      if (this.#held !== null) this.#corkedly(() => this.#routeHeld(NOTHING));
    }
  }

  /** The connection's deadline has passed. */
  expired(): void {
    this.#corkedly(() => {
      switch (this.#state) {
        case "protocol":
          return this.#protocol?.expired();
        case "lingering":
          return this.abort();
        case "throttled":
          return this.#goOn();
        case "idle":
          return this.#expiredIdle();
        case "last-call":
          return this.#expiredLastCall();
        case "message":
          return this.#expiredMessage();
        default:
          return this.#settle();
      }
    });
  }

  /** The second in which too many messages came is over. */
  #goOn(): void {
    this.#waitIdle();
    this.#resumeRouting();
    this.#endIfDone();
  }

  /**
   * Nothing under way: waits for the next message, during a shutdown only for one that the client may have sent
   * already.
   */
  #waitIdle(): void {
    if (this.dispatch.isDraining) this.#wait("last-call", this.#lastCallMs);
    else this.#wait("idle", this.dispatch.timeouts.idleMs);
  }

  get #lastCallMs(): number {
    // The kind is that of the handshake until the first message.
    if (this.#kind !== "tls") return LAST_CALL_MS;
    return Math.max(LAST_CALL_MS, this.#lastActiveAt + FIRST_CALL_MS - this.home.wheel.now);
  }

  #expiredLastCall(): void {
    if (this.owesReplies || this.queuedBytes > 0) this.#waitIdle();
    else this.finish();
  }

  #expiredIdle(): void {
    const { idleMs } = this.dispatch.timeouts;
    const remainingMs = this.#lastActiveAt + idleMs - this.home.wheel.now;
    if (this.owesReplies || this.#held !== null || this.queuedBytes > 0) this.#wait("idle", idleMs);
    else if (remainingMs > 0) this.#wait("idle", remainingMs);
    else this.finish();
  }

  #expiredMessage(): void {
    if (this.#held === null) return;
    const bytes = this.#held.view();
    if (this.#speaksHttp) return void this.#refuseRequest(TOO_SLOW, bytes, 0);
    const isBound = this.dispatch.routing.table.matchBytes(bytes, 0, true) !== NO_MATCH;
    this.dispatch.counters.errors++;
    this.#refuseMessage(
      isBound ? `ERR message incomplete after ${this.dispatch.timeouts.requestMs} ms\n` : noModuleError(bytes),
    );
  }

  /** Only the bytes so far count now: the route is chosen, and later bytes cannot make a longer key fit. */
  #settle(): void {
    const held = this.#held;
    if (held === null) return;
    held.settledBytes = held.length;
    this.#enter("settled");
    this.#route(held.view(), true);
  }

  // ---- Wire: what protocols use ----

  take(protocol: Protocol): void {
    if (this.#kind !== protocol.speaks) this.#become(protocol.speaks);
    this.#protocol = protocol;
    this.#held = null;
    this.#enter("protocol");
    this.home.wheel.disarm(this);
  }

  release(rest: Uint8Array): void {
    this.#protocol = null;
    if (this.isClosed || this.#isFinishing) return;
    this.#waitIdle();
    if (rest.length > 0) {
      this.#held = new HeldBytes(rest);
      this.#corkedly(() => this.#routeHeld(NOTHING));
    }
    if (this.#protocol === null && this.#held === null) this.resume();
    this.#endIfDone();
  }

  armDeadline(ms: number): void {
    if (this.isClosed) return;
    this.#enter("protocol");
    this.home.wheel.arm(this, ms);
  }

  finish(): void {
    if (this.#isFinishing || this.isClosed) return;
    this.#isFinishing = true;
    this.#held = null;
    this.#endIfDone();
  }

  override abort(): void {
    if (this.isClosed) return;
    this.socket.terminate();
    this.closed();
  }

  // ---- ending ----

  protected override finishSoon(): void {
    this.#waitIdle();
  }

  protected override answered(): void {
    this.#resumeRouting();
    this.#endIfDone();
  }

  protected override flushed(): void {
    if (this.#isFinishing) this.#endIfDone();
  }

  #corkedly(action: () => void): void {
    const isOurs = this.cork();
    try {
      action();
    } catch (error) {
      this.home.connectionBroke(this, error);
    }
    this.uncork(isOurs);
  }

  /** Sends FIN once nothing is owed: after `finish`, or when the peer has ended and all its messages are answered. */
  #endIfDone(): void {
    if (this.#isLeaving || !this.#mayEnd()) return;
    this.#isLeaving = true;
    takeInTurn(this);
  }

  #mayEnd(): boolean {
    if (this.isClosed || this.isCorked || this.queuedBytes > 0) return false;
    if (this.#state === "lingering" && !this.hasEnded) return false;
    return this.#isFinishing || (this.hasEnded && !this.owesReplies && this.#protocol === null && this.#held === null);
  }

  /** Ends the connection, if that is still right. */
  takeTurn(): void {
    this.#isLeaving = false;
    try {
      if (this.#mayEnd()) this.#leave();
    } catch (error) {
      this.home.connectionBroke(this, error);
    }
  }

  #leave(): void {
    // end() is a close(2): with unread data in the kernel it would reset the connection and lose the reply.
    if (this.hasEnded) {
      this.socket.end();
      return;
    }
    this.#isFinishing = true;
    this.home.trace?.(this, "has had its last reply");
    this.resume();
    this.socket.shutdown();
    this.#wait("lingering", this.dispatch.isDraining ? DRAIN_LINGER_MS : LINGER_MS);
  }
}
