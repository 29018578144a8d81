/**
 * An HTTP/2 stream as the connection of another protocol (RFC 8441): the payload of DATA both ways, at the pace of the
 * windows. A WebSocket is told nothing of HTTP/2.
 */
import type { Deadline } from "../../host/deadlines";
import type { Client, Session } from "../../module/contract";
import type { Dispatch, Protocol, Wire } from "../wire";
import { ErrorCode } from "./frames/codes";
import type { Http2Stream, StreamUser } from "./stream";

/** The part of the connection that a tunnel needs. */
interface TunnelOwner {
  readonly wire: Wire;
  giveBack(stream: Http2Stream, bytes: number): void;
  resetStream(stream: Http2Stream, code: number, isFault: boolean): void;
  replied(stream: Http2Stream): void;
  exchangeEnded(): void;
}

const NOTHING = Buffer.alloc(0);

export class Tunnel implements Wire, StreamUser, Deadline {
  /** The wheel's. */
  deadlineAt = 0;
  hasEnded = false;
  isClosed = false;
  readonly canSendFile = false;
  readonly #owner: TunnelOwner;
  readonly #stream: Http2Stream;
  #protocol: Protocol | null = null;
  /** Bytes behind the piece that waits for the client's window. */
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #isSending = false;
  #isFinishing = false;
  #isPaused = false;
  /** Received while paused: their window is not given back, so that they are few. */
  #held: Buffer[] = [];
  #waiters: (() => void)[] = [];

  constructor(owner: TunnelOwner, stream: Http2Stream) {
    this.#owner = owner;
    this.#stream = stream;
    stream.isTunnel = true;
    stream.user = this;
  }

  // ---- StreamUser ----

  received(content: Buffer, paddingBytes: number, endsStream: boolean): void {
    // The protocol may keep the bytes, or free their memory, which is the connection's read.
    if (content.length > 0) this.#held.push(Buffer.from(new Uint8Array(content).buffer));
    if (paddingBytes > 0) this.#owner.giveBack(this.#stream, paddingBytes);
    if (endsStream) this.hasEnded = true;
    this.#deliver();
  }

  trailers(): void {
    this.hasEnded = true;
    this.#deliver();
  }

  gone(): void {
    this.#close();
  }

  draining(): void {
    this.#protocol?.draining();
  }

  #deliver(): void {
    while (!this.#isPaused && this.#held.length > 0 && this.#protocol !== null) {
      const bytes = this.#held.shift() as Buffer;
      // Before: the protocol may free the bytes.
      this.#owner.giveBack(this.#stream, bytes.length);
      this.#protocol.receive(bytes);
    }
    if (this.hasEnded && this.#held.length === 0 && !this.isClosed) this.#protocol?.ended();
  }

  // ---- Wire ----

  get client(): Client {
    return this.#owner.wire.client;
  }
  get session(): Session {
    return this.#owner.wire.session;
  }

  get dispatch(): Dispatch {
    return this.#owner.wire.dispatch;
  }

  get isSecure(): boolean {
    return this.#owner.wire.isSecure;
  }

  get queuedBytes(): number {
    return this.#queuedBytes + this.#stream.pendingBytes;
  }

  write(data: string | Uint8Array): boolean {
    if (this.isClosed || this.#isFinishing) return true;
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    if (this.#isSending) {
      this.#queue.push(bytes);
      this.#queuedBytes += bytes.length;
    } else if (bytes.length > 0) {
      this.#stream.send(bytes, false);
      if (this.#stream.isPending) void this.#sendQueue();
    }
    return this.queuedBytes <= this.dispatch.limits.maxWriteBufferBytes;
  }

  writeShared(bytes: Uint8Array): boolean {
    return this.write(Buffer.from(bytes));
  }

  writeInPlace(): number {
    return 0;
  }

  writeFile(message: Buffer): boolean {
    return this.write(message);
  }

  sendFile(): Promise<void> {
    return Promise.reject(new Error("A tunnel through HTTP/2 sends no files."));
  }

  waitForDrain(): Promise<void> {
    if (this.isClosed || this.queuedBytes <= this.dispatch.limits.maxWriteBufferBytes) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#deliver();
  }

  probePeer(): void {
    this.#owner.wire.probePeer();
  }

  take(protocol: Protocol): void {
    this.#protocol = protocol;
  }

  /** A stream carries one protocol to its end. */
  release(): void {
    this.finish();
  }

  armDeadline(ms: number): void {
    if (!this.isClosed) this.dispatch.wheel.arm(this, ms);
  }

  expired(): void {
    if (!this.isClosed) this.#protocol?.expired();
  }

  finish(): void {
    if (this.isClosed || this.#isFinishing) return;
    this.#isFinishing = true;
    if (!this.#isSending) this.#sendEnd();
  }

  abort(): void {
    if (this.isClosed) return;
    this.#owner.resetStream(this.#stream, ErrorCode.cancel, false);
    this.#close();
  }

  // ---- sending ----

  /** Sends what was written while a piece waited for the client's window. */
  async #sendQueue(): Promise<void> {
    this.#isSending = true;
    for (;;) {
      await this.#stream.waitForRoom();
      if (this.isClosed) return;
      if (this.#queue.length === 0) break;
      const bytes = this.#queue.length === 1 ? (this.#queue[0] as Uint8Array) : Buffer.concat(this.#queue);
      this.#queue = [];
      this.#queuedBytes = 0;
      this.#stream.send(bytes, false);
    }
    this.#isSending = false;
    if (this.#isFinishing) return this.#sendEnd();
    this.#wakeWriters();
    this.#protocol?.drained();
  }

  #sendEnd(): void {
    const stream = this.#stream;
    const protocol = this.#protocol;
    this.#leave();
    stream.send(NOTHING, true);
    this.#owner.replied(stream);
    protocol?.closed();
    this.#owner.exchangeEnded();
  }

  #close(): void {
    if (this.isClosed) return;
    const protocol = this.#protocol;
    this.#leave();
    protocol?.closed();
    this.#owner.exchangeEnded();
  }

  #leave(): void {
    this.isClosed = true;
    this.#protocol = null;
    this.#held = [];
    this.#queue = [];
    this.#queuedBytes = 0;
    this.dispatch.wheel.disarm(this);
    this.#wakeWriters();
  }

  #wakeWriters(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}
