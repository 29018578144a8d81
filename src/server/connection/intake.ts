/**
 * The intake of a connection: holds bytes until they are a message, has a route chosen for each, and hands it to its
 * handler, or the whole connection to a protocol. Start reading at `receive`.
 */
import type { BoundRoute } from "../../module/route";
import { contentEnd, FramingError, messageLength } from "../../protocol/raw/framing";
import { HeldBytes } from "../../protocol/raw/held";
import { beginHttp1 } from "../../protocol/http1/http1";
import type { OwnReply } from "../../protocol/web/own-reply";
import { BAD_START_LINE, TOO_SLOW } from "../../protocol/http1/refusal";
import { refuse } from "../../protocol/http1/reply";
import { Http2Connection, type Http2Owner } from "../../protocol/http2/connection";
import { matchPreface } from "../../protocol/http2/frames/preface";
import { SecondWindow } from "../../protocol/rates";
import { HandedConnection } from "../../protocol/raw/connect";
import { unavailableReply } from "../../protocol/web/unavailable";
import type { ConnectionKind, Dispatch } from "../../protocol/wire";
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
import type { Replies } from "./replies";
import type { Sender } from "./sender";
import { type ConnectionState, type Holding, isBetweenMessages } from "./states";
import { failRaw, type ReplyOwner } from "../../protocol/raw/reply-queue";
import type { TlsContexts } from "../tls/contexts";
import { TlsOpening, type Upgradable } from "../tls/upgrade";

/** A connection on which this many messages matched nothing is ended: its client speaks something else. */
const MAX_MISSES = 16;
const NOTHING = new Uint8Array(0);

const LF = 10;
const CR = 13;

/** `#routeOne`'s answer: it must not route the bytes from here on. */
const STOP = -1;

/** The intake's view of its connection. */
export interface IntakeConnection extends Upgradable, ReplyOwner {
  /** The server's own. `http2` null: HTTP/2 is off. `tls` null: TLS is off. */
  readonly owner: { readonly http2: Http2Owner | null; readonly tls: TlsContexts | null };
  readonly kind: ConnectionKind;
  readonly state: ConnectionState;
  session: ReplyOwner["session"];
  /** It ends once no reply is owed; further bytes of the peer are ignored. */
  readonly isFinishing: boolean;
  /** On the wheel's clock. In milliseconds. */
  lastActiveAt: number;
  /** Sets the connection's protocol, for the figures. */
  become(kind: ConnectionKind): void;
  enter(state: ConnectionState): void;
  /** Enters a state and sets the deadline. 0: none. In milliseconds. */
  wait(state: ConnectionState, ms: number): void;
  /** Whether no work is open. */
  waitIdle(): void;
}

export class Intake {
  readonly #connection: IntakeConnection;
  readonly #sender: Sender;
  readonly #replies: Replies;
  readonly #dispatch: Dispatch;
  #held: HeldBytes | null = null;
  #misses = 0;
  /** Set by an HTTP/1 request. From then on all bytes are HTTP: a request's body must never be taken for messages. */
  #speaksHttp = false;
  /** null: no limit was asked for so far. */
  #messageRate: SecondWindow | null = null;
  /** No message has come: bytes that look like TLS are TLS. */
  #isFresh = true;

  constructor(connection: IntakeConnection, sender: Sender, replies: Replies) {
    this.#connection = connection;
    this.#sender = sender;
    this.#replies = replies;
    this.#dispatch = connection.dispatch;
  }

  /** Holds bytes that are an incomplete message, or must wait. */
  get isHolding(): boolean {
    return this.#held !== null;
  }

  /** This client must speak HTTP from its first byte on. */
  expectHttp(): void {
    this.#speaksHttp = true;
  }

  /** TLS is active: it must not begin a second time. */
  secured(): void {
    this.#isFresh = false;
  }

  /** Bytes from the socket. */
  receive(bytes: Uint8Array): void {
    if (this.#held === null) this.#route(bytes, false);
    else this.#routeHeld(bytes);
  }

  /** Routes the held bytes again: the peer has ended, or the wait is over. */
  goOn(): void {
    if (this.#held !== null) this.#routeHeld(NOTHING);
  }

  /** Holds the bytes behind a protocol's last message, for `goOn`. */
  keep(bytes: Uint8Array): void {
    this.#held = new HeldBytes(bytes);
  }

  /** Drops the held bytes. */
  drop(): void {
    this.#held = null;
  }

  // ---- routing ----

  #routeHeld(more: Uint8Array): void {
    const held = this.#held as HeldBytes;
    if (more.length > 0) held.append(more);
    this.#route(held.view(), this.#connection.hasEnded);
  }

  /** Routes message after message. @param isFinal no more bytes will follow, or the wait for them is over */
  #route(bytes: Uint8Array, isFinal: boolean): void {
    let at = 0;
    for (;;) {
      if (this.#connection.isFinishing || this.#sender.isClosed) return;
      at = this.#skipLineEnds(bytes, at);
      // Line ends between messages are no activity: a client must not keep a connection open with them.
      if (at >= bytes.length) return this.#holdNothing();
      this.#connection.lastActiveAt = this.#dispatch.wheel.now;
      if (this.#isBlocked()) return this.#holdBlocked(bytes, at);
      if (at > 0 && this.#held !== null) this.#held = null;
      const behind = this.#routeOne(bytes, at, isFinal);
      if (behind === STOP) return;
      at = behind;
      isFinal = this.#connection.hasEnded;
    }
  }

  /** Whether too many replies are owed, or the client does not read them. */
  #isBlocked(): boolean {
    const { limits } = this.#dispatch;
    return this.#replies.count >= limits.maxPipelined || this.#sender.isOverfull;
  }

  /** CR and LF between messages are ignored, unless a route's key begins with one. */
  #skipLineEnds(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length && (bytes[at] === LF || bytes[at] === CR) && this.#isNobodys(bytes[at] as number)) at++;
    return at;
  }

  #isNobodys(byte: number): boolean {
    return this.#speaksHttp || !this.#dispatch.routing.table.mayStartWith(byte);
  }

  /**
   * @returns the offset behind the message at `at`, or STOP when it is held, handed over or refused with the connection
   */
  #routeOne(bytes: Uint8Array, at: number, isFinal: boolean): number {
    if (this.#speaksHttp) return this.#routeRequest(bytes, at, isFinal);
    const table = this.#dispatch.routing.table;
    const settled = this.#held === null ? 0 : this.#held.settledBytes;
    const found =
      settled > 0 ? table.matchBytes(bytes.subarray(0, at + settled), at, true) : table.matchBytes(bytes, at, isFinal);
    if (found === NEED_MORE) {
      const hasShorter = table.matchBytes(bytes, at, true) !== NO_MATCH;
      return this.#hold(bytes, at, hasShorter ? "prefix" : "message");
    }
    if (found !== NO_MATCH) return this.#routeMatched(found, bytes, at, isFinal);
    // Only if no route claims the bytes, and only before the first message: a peer cannot switch to TLS after plain
    // text.
    if (this.#isFresh && this.#connection.owner.tls !== null && looksLikeTls(bytes, at))
      return this.#beginTls(this.#connection.owner.tls, bytes, at);
    return this.#routeUnmatched(bytes, at, isFinal);
  }

  /** A raw route's key fits. An HTTP request still stays HTTP, unless the route asks for it (docs/modules.md). */
  #routeMatched(route: BoundRoute, bytes: Uint8Array, at: number, isFinal: boolean): number {
    const held = this.#held;
    if (route.takesHttp === true || (held !== null && held.isNotHttp)) return this.#frame(route, bytes, at, isFinal);
    const opening = readOpening(bytes, at, held === null ? 0 : held.scanned);
    if (opening === HTTP) return this.#routeHttp(bytes, at);
    // After the wait, the route gets the bytes so far. A route that needs a line end waits on for it.
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
    const isWhole =
      isFinal || bytes.length - at >= this.#dispatch.limits.maxPrefixBytes || bytes.indexOf(LF, at) !== -1;
    if (!isWhole) return this.#hold(bytes, at, holding);
    // A badly malformed request looks like a message. No route claims it, so answer in HTTP.
    return endsLikeRequest(bytes, at) ? this.#routeHttp(bytes, at) : this.#refuse(bytes, at);
  }

  /** The message begins like a request. Its line decides; beyond maxHeaderBytes the answer is a 414. */
  #awaitLine(bytes: Uint8Array, at: number, holding: Holding): number {
    if (bytes.length - at > this.#dispatch.limits.maxHeaderBytes) return this.#routeHttp(bytes, at);
    return this.#hold(bytes, at, holding);
  }

  /** The connection has carried HTTP: the next message is a request, or ends it. */
  #routeRequest(bytes: Uint8Array, at: number, isFinal: boolean): number {
    const opening = beginsWithMethod(bytes, at) ? HTTP : readOpening(bytes, at);
    if (opening === HTTP) {
      const found = this.#dispatch.routing.table.matchBytes(bytes, at, true);
      if (found !== NO_MATCH && found !== NEED_MORE && found.takesHttp === true)
        return this.#frame(found, bytes, at, isFinal);
      return this.#routeHttp(bytes, at);
    }
    if (opening === LINE_PENDING) return this.#routeHttp(bytes, at);
    if (looksLikeTls(bytes, at)) return this.#drop();
    if (opening !== NOT_HTTP && !isFinal && bytes.length - at <= this.#dispatch.limits.maxHeaderBytes)
      return this.#hold(bytes, at, mayBecomeAnyMethod(bytes, at) ? "message" : "quiet");
    return this.#refuseRequest(BAD_START_LINE, bytes, at);
  }

  #beginTls(tls: TlsContexts, bytes: Uint8Array, at: number): number {
    TlsOpening.begin(this.#connection, tls, bytes.subarray(at));
    return STOP;
  }

  #routeHttp(bytes: Uint8Array, at: number): number {
    // HTTP writes its reply itself, so the raw replies before it must be sent.
    if (this.#replies.areOwed) {
      this.#holdBlocked(bytes, at);
      return STOP;
    }
    const http2 = this.#connection.owner.http2;
    if (http2 !== null && !this.#connection.hasEnded) {
      const preface = matchPreface(bytes, at);
      if (preface === NEED_MORE) return this.#hold(bytes, at, "message");
      if (preface) return this.#beginHttp2(http2, bytes, at);
    }
    if (this.#isTooFast(bytes, at)) return STOP;
    if (this.#connection.kind !== "http1") this.#connection.become("http1");
    this.#speaksHttp = true;
    this.#heldIsOver();
    const behind = beginHttp1(this.#connection, bytes, at);
    return this.#sender.isTaken || this.#connection.isFinishing ? STOP : behind;
  }

  #beginHttp2(http2: Http2Owner, bytes: Uint8Array, at: number): number {
    this.#heldIsOver();
    Http2Connection.begin(http2, this.#connection, bytes.subarray(at));
    return STOP;
  }

  #frame(route: BoundRoute, bytes: Uint8Array, at: number, isFinal: boolean): number {
    if (route.kind === "connect") return this.#handOver(route, bytes, at);
    const limit = this.#dispatch.limits.maxMessageBytes;
    const framing = route.kind === "command" ? "line" : route.framing;
    let length: number | typeof NEED_MORE;
    try {
      length = messageLength(framing, route.keyBytes, bytes, at, this.#held?.scanned ?? 0);
    } catch (error) {
      if (!(error instanceof FramingError))
        return this.#refuseMessage(failRaw(this.#dispatch, route, this.#connection, error));
      this.#dispatch.handlerFailed(route, this.#connection.client, error);
      return this.#refuseMessage("ERR malformed message\n");
    }
    const arrived = bytes.length - at;
    // The end of input, or of the wait, also ends a line. Other framings are then incomplete.
    if (
      length === NEED_MORE &&
      framing === "line" &&
      (this.#connection.hasEnded || (isFinal && route.kind === "command"))
    )
      length = arrived;
    if ((length === NEED_MORE ? arrived : length) > limit)
      return this.#refuseMessage(refusal(route, `message over ${limit} bytes`));
    if (length === NEED_MORE || length > arrived) {
      if (this.#connection.hasEnded) return this.#refuseMessage(refusal(route, "message incomplete"));
      this.#hold(bytes, at, route.kind === "command" ? "quiet" : "message");
      (this.#held as unknown as HeldBytes).scanned = arrived;
      return STOP;
    }
    if (this.#isTooFast(bytes, at)) return STOP;
    if (this.#connection.kind !== "raw") this.#connection.become("raw");
    const end = at + length;
    this.#heldIsOver();
    this.#replies.answer(route, bytes, at, contentEnd(framing, bytes, at, end));
    return end;
  }

  /** A `connect` route: gives the connection to the handler, with the bytes so far. */
  #handOver(route: BoundRoute, bytes: Uint8Array, at: number): number {
    if (this.#replies.areOwed) {
      this.#holdBlocked(bytes, at);
      return STOP;
    }
    if (route.isUnavailable) return this.#refuseMessage(unavailableReply(route));
    if (this.#isTooFast(bytes, at)) return STOP;
    this.#heldIsOver();
    this.#dispatch.counters.messages++;
    HandedConnection.begin(this.#connection, route, bytes.subarray(at));
    return STOP;
  }

  /**
   * Whether the message at `at`, which is complete, must wait for the next second. It is then held and the peer is not
   * read: TCP slows it down, and nothing is lost.
   */
  #isTooFast(bytes: Uint8Array, at: number): boolean {
    const limit = this.#dispatch.limits.maxMessagesPerSecond;
    // A shutdown must not lose messages that wait here.
    if (limit === 0 || this.#dispatch.isDraining) return false;
    // The wheel's own clock is up to a second old.
    const waitMs = (this.#messageRate ??= new SecondWindow()).take(limit, performance.now());
    if (waitMs === 0) return false;
    this.#holdBlocked(bytes, at);
    this.#connection.wait("throttled", waitMs);
    return true;
  }

  // ---- refusing ----

  /** No route takes these bytes: replies with the error, and continues behind the line. */
  #refuse(bytes: Uint8Array, at: number): number {
    if (looksLikeTls(bytes, at)) return this.#drop();
    if (this.#isTooFast(bytes, at)) return STOP;
    if (this.#connection.kind !== "raw") this.#connection.become("raw");
    const lineEnd = bytes.indexOf(LF, at);
    const end = lineEnd === -1 ? bytes.length : lineEnd + 1;
    this.#dispatch.counters.errors++;
    const reply = noModuleError(bytes.subarray(at, contentEnd("line", bytes, at, end)));
    const { maxPrefixBytes } = this.#dispatch.limits;
    // The end of such a long beginning is not known. Behind a header field come others, and a body that must not be
    // taken for messages.
    if (++this.#misses >= MAX_MISSES || end - at > maxPrefixBytes || looksLikeField(bytes, at))
      return this.#refuseMessage(reply);
    this.#heldIsOver();
    this.#replies.say(reply);
    return end;
  }

  /**
   * Cuts a client that speaks TLS while TLS is off, or too late: it cannot read an error in plain text. @returns STOP
   */
  #drop(): number {
    this.#connection.abort();
    return STOP;
  }

  /** Refuses bytes that are no HTTP request where one must come, and ends the connection. @returns STOP */
  #refuseRequest(refusal: OwnReply, bytes: Uint8Array, at: number): number {
    if (this.#replies.areOwed) this.#holdBlocked(bytes, at);
    else refuse(this.#connection, refusal);
    return STOP;
  }

  /** An error after which the start of the next message is not known. */
  #refuseMessage(reply: string | Uint8Array): number {
    this.#held = null;
    this.#replies.say(reply);
    this.#replies.finish();
    return STOP;
  }

  // ---- holding and waiting ----

  /** Keeps an unfinished message. @returns STOP */
  #hold(bytes: Uint8Array, at: number, holding: Holding): number {
    if (this.#held === null || at > 0) this.#held = new HeldBytes(at === 0 ? bytes : bytes.subarray(at));
    const { timeouts } = this.#dispatch;
    // Resumes reading unless something else blocks it: this message needs more bytes.
    this.#sender.resume();
    // Each byte restarts the wait for a pause. The other waits keep their first deadline.
    if (holding === "quiet") this.#connection.wait("quiet", timeouts.prefixWaitMs);
    else if (this.#connection.state !== holding && (holding !== "message" || this.#connection.state !== "last-call"))
      this.#connection.wait(holding, holding === "prefix" ? timeouts.prefixWaitMs : timeouts.requestMs);
    return STOP;
  }

  /** Holds bytes that must wait for a reply; the peer is not read meanwhile. */
  #holdBlocked(bytes: Uint8Array, at: number): void {
    if (this.#held === null || at > 0) this.#held = new HeldBytes(at === 0 ? bytes : bytes.subarray(at));
    this.#connection.waitIdle();
    this.#sender.pause();
  }

  #holdNothing(): void {
    this.#held = null;
    if (!isBetweenMessages(this.#connection.state)) this.#connection.waitIdle();
  }

  /** A held message is complete. The bytes behind it are read from the start. */
  #heldIsOver(): void {
    this.#isFresh = false;
    if (this.#held === null) return;
    this.#held = null;
    if (!isBetweenMessages(this.#connection.state)) this.#connection.waitIdle();
  }

  /** The rest of the held message did not come in time. */
  refuseLate(): void {
    if (this.#held === null) return;
    const bytes = this.#held.view();
    if (this.#speaksHttp) return void this.#refuseRequest(TOO_SLOW, bytes, 0);
    const route = this.#dispatch.routing.table.matchBytes(bytes, 0, true);
    this.#dispatch.counters.errors++;
    const why = `message incomplete after ${this.#dispatch.timeouts.requestMs} ms`;
    this.#refuseMessage(route === NO_MATCH || route === NEED_MORE ? noModuleError(bytes) : refusal(route, why));
  }

  /** The wait is over. The bytes so far choose the route now; later bytes cannot make a longer key fit. */
  settle(): void {
    const held = this.#held;
    if (held === null) return;
    held.settledBytes = held.length;
    this.#connection.enter("settled");
    this.#route(held.view(), true);
  }
}

function refusal(route: BoundRoute, why: string): string {
  return route.refusal?.(why) ?? `ERR ${why}\n`;
}
