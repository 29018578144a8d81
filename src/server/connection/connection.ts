/**
 * One client's connection: its socket's events, its state and its end. It has an intake, which makes messages of bytes,
 * replies, and a sender. A protocol may take it from the intake for a while. Start reading at `receive`.
 */
import type { Socket } from "bun";
import type { Hosts } from "../../host/hosts";
import type { Client, Session } from "../../module/contract";
import { ANONYMOUS, withSession } from "../../module/session";
import type { Http2Owner } from "../../protocol/http2/connection";
import type { Talk, Talker } from "../../protocol/raw/talk";
import { takeInTurn, type TurnTaker } from "../../protocol/turns";
import type { ConnectionKind, Dispatch, Encode, Protocol } from "../../protocol/wire";
import { Intake, type IntakeConnection } from "./intake";
import { clientOf, type Transport } from "./client";
import { Replies } from "./replies";
import { Sender } from "./sender";
import { type ConnectionState } from "./states";
import type { Deadline } from "../../host/deadlines";
import { tlsOf } from "../tls/client";
import type { TlsContexts } from "../tls/contexts";
import { TlsOpening } from "../tls/upgrade";

/** Shared by all connections of a server. */
export interface ConnectionOwner {
  readonly dispatch: Dispatch;
  /** null: HTTP/2 is off. */
  readonly http2: Http2Owner | null;
  readonly hosts: Pick<Hosts, "call">;
  /** null: TLS is off. */
  readonly tls: TlsContexts | null;
  /** Gets a connection's changes of state. null: no trace. */
  readonly trace: ((connection: ServerConnection, change: string) => void) | null;
  connectionClosed(connection: ServerConnection): void;
  /** The server's own code threw: logged as our bug, and the connection is cut. */
  connectionBroke(connection: ServerConnection, error: unknown): void;
}

/**
 * A client that cannot know about the shutdown gets this time for a message on its way: closing at once would lose it.
 */
const LAST_CALL_MS = 300;
/** The same for a client right after its TLS handshake: its first message needs a round trip. */
const FIRST_CALL_MS = 2000;
/** How long a peer may send after our FIN. */
const LINGER_MS = 5000;
/** The same while the server shuts down: a silent peer must not delay it. */
const DRAIN_LINGER_MS = 300;
const NOTHING = new Uint8Array(0);

export class ServerConnection implements IntakeConnection, Deadline, TurnTaker {
  /** The wheel's. */
  deadlineAt = 0;
  hasEnded = false;
  /** The remote address that this connection is counted under; "" if it is not. */
  countedAddress = "";
  readonly number: number;
  readonly dispatch: Dispatch;
  readonly owner: ConnectionOwner;
  readonly #sender: Sender;
  readonly #replies: Replies;
  readonly #intake: Intake;
  readonly #transport: Transport;
  #protocol: Protocol | null = null;
  kind: ConnectionKind = "new";
  #client: Client | null = null;
  /** null: the client has shown no token. */
  #session: Session | null = null;
  state: ConnectionState = "idle";
  lastActiveAt = 0;
  isFinishing = false;
  /** Whether it waits for its turn: to take the peer's FIN, to send its own, or to close. */
  #isWaiting = false;
  /** The peer has sent its FIN, and what the connection carries has not been told. */
  #isEndUntold = false;

  constructor(owner: ConnectionOwner, socket: Socket<ServerConnection>, transport: Transport, number: number) {
    const { dispatch } = owner;
    this.owner = owner;
    this.dispatch = dispatch;
    this.#sender = new Sender(dispatch, this, socket);
    this.#replies = new Replies(this, this.#sender, owner.hosts);
    this.#intake = new Intake(this, this.#sender, this.#replies);
    this.#transport = transport;
    this.number = number;
    dispatch.counters.open.new++;
    this.lastActiveAt = dispatch.wheel.now;
    dispatch.wheel.arm(this, dispatch.timeouts.idleMs);
    owner.trace?.(this, `was accepted over ${transport}`);
  }

  get client(): Client {
    // Other hosts know a client by its Client, which has a session: it must be the present one.
    if (this.#session !== null) this.#renewSession(this.#session);
    return (this.#client ??= clientOf(
      this.#sender.socket,
      this.#transport,
      this.number,
      this.isSecure ? tlsOf(this.#sender.socket) : null,
    ));
  }

  get session(): Session {
    return this.#session === null ? ANONYMOUS : this.#renewSession(this.#session);
  }

  set session(session: Session) {
    this.#session = session;
    this.#client = withSession(this.client, session);
  }

  /** The token may have been revoked since. */
  #renewSession(session: Session): Session {
    const current = this.dispatch.sessions?.current(session) ?? session;
    if (current !== session) {
      this.#session = current;
      this.#client = this.#client && withSession(this.#client, current);
    }
    return current;
  }

  // ---- what the socket tells ----

  /** Bytes from the socket. */
  receive(bytes: Uint8Array): void {
    if (this.isFinishing) return;
    const isOurs = this.#sender.cork();
    try {
      if (this.#protocol !== null) {
        this.lastActiveAt = this.dispatch.wheel.now;
        this.#protocol.receive(bytes);
      } else this.#intake.receive(bytes);
    } catch (error) {
      this.owner.connectionBroke(this, error);
    }
    if (isOurs) this.#uncork();
  }

  /** The peer's FIN: no more messages, but replies still go out. A crowd may leave at once: each takes its turn. */
  ended(): void {
    this.hasEnded = true;
    this.owner.trace?.(this, "has ended its side");
    this.#isEndUntold = true;
    this.#awaitTurn();
  }

  /** The kernel has room again. */
  drained(): void {
    if (!this.#sender.flush()) return;
    this.#protocol?.drained();
    this.#resumeRouting();
    this.#endIfDone();
  }

  /** The socket is gone. */
  closed(): void {
    if (this.isClosed) return;
    this.#sender.close();
    this.owner.trace?.(this, `is closed, after ${this.kind}`);
    this.dispatch.wheel.disarm(this);
    this.dispatch.counters.open[this.kind]--;
    this.#intake.drop();
    this.#replies.drop();
    const protocol = this.#protocol;
    this.#protocol = null;
    protocol?.closed();
    this.owner.connectionClosed(this);
  }

  /** A handler of the socket threw: our own bug. */
  broke(error: unknown): void {
    this.owner.connectionBroke(this, error);
  }

  /** The server shuts down: finishes open work, begins nothing new. */
  draining(): void {
    if (this.state === "lingering") this.wait("lingering", DRAIN_LINGER_MS);
    else if (this.#protocol !== null) this.#protocol.draining();
    else {
      if (this.state === "throttled") this.#goOn();
      if (!this.#replies.areOwed && this.#protocol === null) this.waitIdle();
    }
  }

  /** This client must speak HTTP from its first byte on. */
  expectHttp(): void {
    this.#intake.expectHttp();
  }

  // ---- TLS ----

  /** A client that must speak TLS, from its first byte on. */
  expectTls(): void {
    if (this.owner.tls !== null) TlsOpening.begin(this, this.owner.tls, NOTHING);
  }

  upgrade(start: (raw: Socket<ServerConnection>) => void): void {
    start(this.#sender.socket as Socket<ServerConnection>);
  }

  secured(socket: Socket<ServerConnection>): void {
    this.#sender.secure(socket);
    this.#intake.secured();
  }

  shook(socket: Socket<ServerConnection>, isGood: boolean): void {
    this.owner.trace?.(this, isGood ? "has finished its TLS handshake" : "has failed its TLS handshake");
    if (this.#protocol instanceof TlsOpening) this.#protocol.shook(socket, isGood);
  }

  // ---- states ----

  become(kind: ConnectionKind): void {
    const { open } = this.dispatch.counters;
    open[this.kind]--;
    open[kind]++;
    this.owner.trace?.(this, `goes from ${this.kind} to ${kind}`);
    const isFirstCall = this.kind === "tls" && this.state === "last-call";
    this.kind = kind;
    if (isFirstCall) this.waitIdle();
  }

  wait(state: ConnectionState, ms: number): void {
    this.enter(state);
    this.dispatch.wheel.arm(this, ms);
  }

  enter(state: ConnectionState): void {
    if (state === this.state) return;
    this.owner.trace?.(this, `turns from ${this.state} to ${state}`);
    this.state = state;
  }

  #resumeRouting(): void {
    if (this.isClosed || this.#protocol !== null || this.isFinishing) return;
    if (this.#sender.isOverfull) return;
    if (this.#sender.isPaused) {
      this.resume();
      if (this.#intake.isHolding) this.#corkedly(() => this.#intake.goOn());
    }
  }

  /** The connection's deadline has passed. */
  expired(): void {
    this.#corkedly(() => {
      switch (this.state) {
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
          return this.#intake.refuseLate();
        default:
          return this.#intake.settle();
      }
    });
  }

  /** The second in which too many messages came is over. */
  #goOn(): void {
    this.waitIdle();
    this.#resumeRouting();
    this.#endIfDone();
  }

  /**
   * No open work: waits for the next message; during a shutdown, only for one that the client may have sent already.
   */
  waitIdle(): void {
    if (this.dispatch.isDraining) this.wait("last-call", this.#lastCallMs);
    else this.wait("idle", this.dispatch.timeouts.idleMs);
  }

  get #lastCallMs(): number {
    // The kind is that of the handshake until the first message.
    if (this.kind !== "tls") return LAST_CALL_MS;
    return Math.max(LAST_CALL_MS, this.lastActiveAt + FIRST_CALL_MS - this.dispatch.wheel.now);
  }

  #expiredLastCall(): void {
    if (this.#replies.areOwed || this.queuedBytes > 0) this.waitIdle();
    else this.finish();
  }

  #expiredIdle(): void {
    const { idleMs } = this.dispatch.timeouts;
    const remainingMs = this.lastActiveAt + idleMs - this.dispatch.wheel.now;
    if (this.#replies.areOwed || this.#intake.isHolding || this.queuedBytes > 0) this.wait("idle", idleMs);
    else if (remainingMs > 0) this.wait("idle", remainingMs);
    else this.finish();
  }

  // ---- Wire: what protocols use ----

  get isSecure(): boolean {
    return this.#sender.isSecure;
  }
  get isClosed(): boolean {
    return this.#sender.isClosed;
  }
  get queuedBytes(): number {
    return this.#sender.queuedBytes;
  }
  get isOverfull(): boolean {
    return this.#sender.isOverfull;
  }
  get canSendFile(): boolean {
    return this.#sender.canSendFile;
  }

  write(data: string | Uint8Array): boolean {
    return this.#sender.write(data);
  }

  talk<T extends Talk>(talker: Talker<T>): T {
    return this.#replies.talk((line) => talker.begin(line));
  }

  writeShared(bytes: Uint8Array): boolean {
    return this.#sender.writeShared(bytes);
  }

  writeInPlace<T>(maxBytes: number, encode: Encode<T>, value: T): number {
    return this.#sender.writeInPlace(maxBytes, encode, value);
  }

  writeFile(message: Buffer, headBytes: number, fd: number): boolean {
    return this.#sender.writeFile(message, headBytes, fd);
  }

  sendFile(fd: number, start: number, end: number, check: () => void): Promise<void> {
    return this.#sender.sendFile(fd, start, end, check);
  }

  waitForDrain(): Promise<void> {
    return this.#sender.waitForDrain();
  }

  pause(): void {
    this.#sender.pause();
  }

  resume(): void {
    this.#sender.resume();
  }

  probePeer(): void {
    this.#sender.probePeer();
  }

  take(protocol: Protocol): void {
    if (this.kind !== protocol.speaks) this.become(protocol.speaks);
    this.#protocol = protocol;
    this.#sender.isTaken = true;
    this.#intake.drop();
    this.wait("protocol", 0);
  }

  release(rest: Uint8Array): void {
    this.#protocol = null;
    this.#sender.isTaken = false;
    if (this.isClosed || this.isFinishing) return;
    this.waitIdle();
    if (rest.length > 0) {
      this.#intake.keep(rest);
      this.#corkedly(() => this.#intake.goOn());
    }
    if (this.#protocol === null && !this.#intake.isHolding) this.resume();
    this.#endIfDone();
  }

  armDeadline(ms: number): void {
    if (this.isClosed) return;
    this.wait("protocol", ms);
  }

  finish(): void {
    if (this.isFinishing || this.isClosed) return;
    this.isFinishing = true;
    this.#intake.drop();
    this.#endIfDone();
  }

  abort(): void {
    if (this.isClosed) return;
    this.#sender.socket.terminate();
    this.closed();
  }

  // ---- ending ----

  /** A reply is ready, or has sent its last byte. */
  advance(): void {
    if (this.#replies.sendReady()) this.settled();
  }

  /** Fewer answers are owed than before. */
  settled(): void {
    if (this.dispatch.isDraining && !this.#replies.areOwed) this.waitIdle();
    this.#resumeRouting();
    this.#endIfDone();
  }

  #uncork(): void {
    this.#sender.uncork();
    if (this.isFinishing) this.#endIfDone();
  }

  #corkedly(action: () => void): void {
    const isOurs = this.#sender.cork();
    try {
      action();
    } catch (error) {
      this.owner.connectionBroke(this, error);
    }
    if (isOurs) this.#uncork();
  }

  /** Sends FIN once nothing is owed: after `finish`, or when the peer has ended and all its messages are answered. */
  #endIfDone(): void {
    if (this.#mayEnd()) this.#awaitTurn();
  }

  #awaitTurn(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    takeInTurn(this);
  }

  #mayEnd(): boolean {
    if (this.isClosed || this.#sender.isCorked || this.queuedBytes > 0) return false;
    if (this.state === "lingering" && !this.hasEnded) return false;
    return (
      this.isFinishing ||
      (this.hasEnded && !this.#replies.areOwed && this.#protocol === null && !this.#intake.isHolding)
    );
  }

  /** Passes the peer's FIN on, and ends the connection, if that is still right. */
  takeTurn(): void {
    try {
      if (this.#isEndUntold) this.#tellEnd();
      this.#isWaiting = false;
      if (this.#mayEnd()) this.#leave();
    } catch (error) {
      this.owner.connectionBroke(this, error);
    }
  }

  #tellEnd(): void {
    this.#isEndUntold = false;
    if (this.isClosed) return;
    this.#corkedly(() => {
      if (this.#protocol !== null) this.#protocol.ended();
      else if (!this.isFinishing) this.#intake.goOn();
    });
  }

  #leave(): void {
    // end() is a close(2): with unread data in the kernel it would reset the connection and lose the reply.
    if (this.hasEnded) return this.#sender.leave(true);
    this.isFinishing = true;
    this.owner.trace?.(this, "has had its last reply");
    this.resume();
    this.#sender.leave(false);
    this.wait("lingering", this.dispatch.isDraining ? DRAIN_LINGER_MS : LINGER_MS);
  }
}
