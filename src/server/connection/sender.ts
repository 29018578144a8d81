/**
 * The sending half of a connection: collects writes into one system call, keeps the bytes that the kernel did not take
 * in an outbox, and stops reading a peer that does not read.
 */
import type { Socket } from "bun";
import { readSync } from "node:fs";
import { asHost } from "../../system/leave-graph";
import type { Dispatch, Encode, Wire } from "../../protocol/wire";
import { Outbox } from "./outbox";
import { sendFileTo, sendMore } from "../../system/sockets";

const KEEP_ALIVE_DELAY_MS = 60_000;
/** How much of a file is sent before other connections get their turn. In bytes. */
const FILE_TURN_BYTES = 1_048_576;
/** A file's last bytes are read and checked before they are sent: a complete reply has only one version of the file. */
const FILE_TAIL_BYTES = 65_536;
/** Enough to fill a socket that was just full: after the short write, Bun reports when there is room. */
const FILE_WAKE_BYTES = 16_384;
/** Beyond this, one more system call costs less than the memory. */
const MAX_CORKED_BYTES = 262_144;

// Writes of the connection that is being read are collected and leave in one system call. Reading is synchronous, so
// there is one at a time, and idle connections need no list of their own.
const cork: {
  owner: Sender | null;
  /** Texts that come one after another are one: joining them later would copy each twice. */
  readonly parts: (string | Uint8Array)[];
  bytes: number;
  inPlace: number;
} = {
  owner: null,
  parts: [],
  bytes: 0,
  inPlace: 0,
};

/**
 * Memory for messages that are made where they are sent from: one piece, used again for every read. A buffer of its own
 * for each message of 16 KB makes the collector run every hundred messages, which is a third of an echo's time. Its
 * first `cork.inPlace` bytes are the collected ones; they come before all `cork.parts`.
 */
const ARENA = Buffer.allocUnsafeSlow(MAX_CORKED_BYTES);
/** So little of it is copied, to leave in one system call with a message that is not made there. In bytes. */
const MAX_COPIED_BYTES = 16_384;

export class Sender {
  isClosed = false;
  /** Whether bytes are encrypted on their way to the socket. */
  isSecure = false;
  /** A protocol has the connection, and decides itself when to stop reading. */
  isTaken = false;
  socket: Socket<unknown>;
  readonly #dispatch: Dispatch;
  readonly #connection: Pick<Wire, "abort">;
  #outbox: Outbox | null = null;
  #isPaused = false;
  /** The kernel takes no more bytes: the peer has reset the connection, or `leave` was called. */
  #isLost = false;
  #drainWaiters: (() => void)[] | null = null;
  #emptyWaiters: (() => void)[] | null = null;

  /** @param connection is cut if its peer takes nothing for `writeMs`, or has reset it */
  constructor(dispatch: Dispatch, connection: Pick<Wire, "abort">, socket: Socket<unknown>) {
    this.#dispatch = dispatch;
    this.#connection = connection;
    this.socket = socket;
  }

  /** The TLS socket replaces the raw one. */
  secure(socket: Socket<unknown>): void {
    this.socket = socket;
    this.isSecure = true;
  }

  get queuedBytes(): number {
    return this.#outbox === null ? 0 : this.#outbox.bytes;
  }

  /** Whether more is queued than the peer may leave unread. */
  get isOverfull(): boolean {
    return this.#outbox !== null && this.#outbox.bytes > this.#dispatch.limits.maxWriteBufferBytes;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  write(data: string | Uint8Array): boolean {
    if (this.isClosed) return true;
    if (cork.owner !== this) return this.#send(data);
    if (cork.inPlace > 0) this.#moveInPlace();
    const { parts } = cork;
    const last = parts.length - 1;
    if (last >= 0 && typeof data === "string" && typeof parts[last] === "string") parts[last] += data;
    else parts.push(data);
    cork.bytes += data.length;
    if (cork.bytes > MAX_CORKED_BYTES) this.#sendCorked();
    return !this.isOverfull && !this.#isLost;
  }

  writeShared(bytes: Uint8Array): boolean {
    if (this.isClosed) return true;
    if (this.isCorked) this.#sendAll();
    if (this.#isLost) return false;
    const taken = this.#outbox === null ? this.socket.write(bytes) : 0;
    if (taken === bytes.length) return true;
    if (taken < 0) return this.#lose();
    const rest = Buffer.from(bytes.subarray(taken));
    if (this.#outbox === null) return this.#queue(rest);
    this.#outbox.push(rest);
    return this.#checkQueue();
  }

  writeInPlace<T>(maxBytes: number, encode: Encode<T>, value: T): number {
    if (this.isClosed || this.#isLost || this.#outbox !== null || maxBytes > ARENA.length) return 0;
    const isCorked = cork.owner === this;
    if (isCorked && cork.parts.length > 0) return 0;
    if (cork.inPlace + maxBytes > ARENA.length) {
      // The bytes of another connection must stay.
      if (!isCorked) return 0;
      this.#sendInPlace();
      if (this.#outbox !== null || this.#isLost) return 0;
    }
    const from = cork.inPlace;
    const end = encode(ARENA, from, value);
    if (isCorked) cork.inPlace = end;
    else this.#sendArena(from, end);
    return end - from;
  }

  /** sendfile(2) needs the bare socket, so a connection with TLS cannot use it. */
  get canSendFile(): boolean {
    return sendFileTo !== null && !this.isSecure;
  }

  writeFile(message: Buffer, headBytes: number, fd: number): boolean {
    if (this.isClosed) return true;
    if (this.isCorked) this.#sendAll();
    const sent =
      this.#outbox === null && !this.#isLost && this.canSendFile
        ? sendHeadAndFile(this.socket, message, headBytes, fd)
        : 0;
    return sent === message.length || this.#send(sent === 0 ? message : message.subarray(sent));
  }

  /**
   * Sends bytes `start` to before `end` of an open file, at the peer's pace. Resolves when the last was accepted, or
   * the socket is gone.
   *
   * @param check called before the last bytes go out; throws if the file has changed
   */
  async sendFile(fd: number, start: number, end: number, check: () => void): Promise<void> {
    // The head must go out first.
    if (this.isCorked) this.#sendAll();
    const offset = new BigInt64Array([BigInt(start)]);
    const tail = Math.max(start, end - FILE_TAIL_BYTES);
    let position = start;
    let turn = 0;
    while (position < tail && !this.isClosed) {
      if (this.#outbox !== null || this.#isLost) {
        await this.#waitUntilEmpty();
        continue;
      }
      const count = Math.min(tail - position, FILE_TURN_BYTES);
      const sent =
        sendFileTo === null ? -1 : sendFileTo((this.socket as unknown as { fd: number }).fd, fd, offset, count);
      if (sent > 0) {
        position += sent;
        turn += sent;
        if (turn >= FILE_TURN_BYTES) {
          turn = 0;
          await new Promise<void>((resolve) => setImmediate(resolve));
        }
        if (sent === count) continue;
        // Less than asked for: the socket is full. Further attempts at once would move only a few pages each.
      }
      if (position >= tail) break;
      turn = 0;
      position += this.#sendRead(check, fd, position, Math.min(FILE_WAKE_BYTES, tail - position));
      offset[0] = BigInt(position);
    }
    if (this.isClosed) return;
    await this.#waitUntilEmpty();
    const last = Buffer.allocUnsafe(end - position);
    const count = readSync(fd, last, 0, last.length, position);
    check();
    if (count < last.length) throw new CutShortError();
    this.write(last);
  }

  #sendRead(check: () => void, fd: number, position: number, length: number): number {
    const bytes = Buffer.allocUnsafe(length);
    const count = readSync(fd, bytes, 0, length, position);
    if (count === 0) check();
    if (count === 0) throw new CutShortError();
    this.write(bytes.subarray(0, count));
    return count;
  }

  #waitUntilEmpty(): Promise<void> {
    if (this.isClosed || (this.#outbox === null && !this.#isLost)) return Promise.resolve();
    return new Promise((resolve) => (this.#emptyWaiters ??= []).push(resolve));
  }

  waitForDrain(): Promise<void> {
    if (this.isClosed || !(this.isOverfull || this.#isLost)) return Promise.resolve();
    return new Promise((resolve) => (this.#drainWaiters ??= []).push(resolve));
  }

  pause(): void {
    if (this.#isPaused || this.isClosed) return;
    this.#isPaused = true;
    this.socket.pause();
  }

  resume(): void {
    if (!this.#isPaused || this.isClosed) return;
    this.#isPaused = false;
    this.socket.resume();
  }

  /** TCP keep-alive (RFC 9293 section 3.8.4); a unix socket's peer cannot vanish unnoticed, and has none. */
  probePeer(): void {
    if (!this.isClosed) this.socket.setKeepAlive(true, KEEP_ALIVE_DELAY_MS);
  }

  /**
   * From here to `uncork`, writes are collected. @returns false if another connection collects: this one then writes at
   * once, and must not call `uncork`
   */
  cork(): boolean {
    if (cork.owner !== null) return false;
    cork.owner = this;
    return true;
  }

  /** Passes the collected bytes to the kernel, or to the outbox. */
  uncork(): void {
    cork.owner = null;
    this.#sendAll();
  }

  get isCorked(): boolean {
    return cork.owner === this;
  }

  /** The kernel has room again. @returns whether protocols and handlers may continue to write */
  flush(): boolean {
    const outbox = this.#outbox;
    if (this.#isLost) return false;
    if (outbox === null) return true;
    const taken = outbox.flush(this.socket);
    if (taken < 0) return this.#lose();
    if (taken > 0) this.#dispatch.wheel.arm(outbox, this.#dispatch.timeouts.writeMs);
    if (outbox.bytes === 0) this.#dropUnsent();
    if (this.isOverfull) return false;
    this.#wakeWriters();
    return true;
  }

  /** Drops unsent bytes. */
  #dropUnsent(): void {
    if (this.isCorked) {
      cork.parts.length = 0;
      cork.bytes = cork.inPlace = 0;
    }
    if (this.#outbox !== null) this.#dispatch.wheel.disarm(this.#outbox);
    this.#outbox = null;
    const waiters = this.#emptyWaiters;
    this.#emptyWaiters = null;
    if (waiters !== null) for (const wake of waiters) wake();
  }

  /** Sends FIN. @param isLast  closes the socket too: the peer has sent its FIN */
  leave(isLast: boolean): void {
    // Later writes must not cut bytes that the kernel still holds for the client.
    this.#isLost = true;
    if (isLast) this.socket.end();
    else this.socket.shutdown();
  }

  /** The socket is gone: nobody need wait for room. */
  close(): void {
    this.isClosed = true;
    this.#dropUnsent();
    this.#wakeWriters();
  }

  #send(data: string | Uint8Array): boolean {
    if (this.#isLost) return false;
    if (this.#outbox !== null) {
      this.#outbox.push(data);
      return this.#checkQueue();
    }
    const length = typeof data === "string" ? Buffer.byteLength(data) : data.length;
    const taken = this.socket.write(data);
    if (taken === length) return true;
    if (taken < 0) return this.#lose();
    return this.#queue(taken === 0 ? data : (typeof data === "string" ? Buffer.from(data) : data).subarray(taken));
  }

  /** Sends a part of the arena, which is free again behind this. Only while nothing is queued. */
  #sendArena(from: number, to: number): void {
    if (this.isClosed || this.#isLost) return;
    const taken = this.socket.write(ARENA, from, to - from);
    if (taken === to - from) return;
    if (taken < 0) this.#lose();
    else this.#queue(Buffer.from(ARENA.subarray(from + taken, to)));
  }

  /** @param data  kept. @returns as `write` does */
  #queue(data: string | Uint8Array): boolean {
    this.#outbox = new Outbox(() => this.#connection.abort());
    this.#outbox.push(data);
    this.#dispatch.wheel.arm(this.#outbox, this.#dispatch.timeouts.writeMs);
    return this.#checkQueue();
  }

  #checkQueue(): boolean {
    if (!this.isOverfull) return true;
    // A client that does not read its replies is not read either.
    if (!this.isTaken) this.pause();
    return false;
  }

  /**
   * The socket is closed. Writers wait until the connection is told, in a later turn: a reply without end would leave
   * no turn for it. Bun has a close event for that, but none for a paused socket whose error this write has consumed.
   *
   * @returns false: nobody may write
   */
  #lose(): false {
    this.#isLost = true;
    asHost(() => setImmediate(() => this.#connection.abort()));
    return false;
  }

  #sendAll(): void {
    if (cork.inPlace > 0) this.#sendInPlace();
    if (cork.parts.length > 0) this.#sendCorked();
  }

  #sendInPlace(): void {
    const end = cork.inPlace;
    cork.inPlace = 0;
    this.#sendArena(0, end);
  }

  /** A message that is not made in place follows those that are. */
  #moveInPlace(): void {
    if (cork.inPlace > MAX_COPIED_BYTES) return this.#sendInPlace();
    cork.parts.push(Buffer.from(ARENA.subarray(0, cork.inPlace)));
    cork.bytes += cork.inPlace;
    cork.inPlace = 0;
  }

  #sendCorked(): void {
    const { parts } = cork;
    const data = parts.length === 1 ? (parts[0] as string | Uint8Array) : joinParts(parts);
    parts.length = 0;
    cork.bytes = 0;
    if (!this.isClosed) this.#send(data);
  }

  #wakeWriters(): void {
    const waiters = this.#drainWaiters;
    this.#drainWaiters = null;
    if (waiters !== null) for (const wake of waiters) wake();
  }
}

/** From the first byte on, for `sendHeadAndFile`. */
const OFFSET = new BigInt64Array(1);

/** @returns how many bytes of the message the kernel has taken */
function sendHeadAndFile(socket: Socket<unknown>, message: Buffer, headBytes: number, fd: number): number {
  if (sendFileTo === null || sendMore === null) return 0;
  const to = (socket as unknown as { fd: number }).fd;
  const head = sendMore(to, message, headBytes);
  if (head < headBytes) return Math.max(0, head);
  OFFSET[0] = 0n;
  return head + Math.max(0, sendFileTo(to, fd, OFFSET, message.length - headBytes));
}

class CutShortError extends Error {
  constructor() {
    super("The file was cut short while it was being sent.");
  }
}

function joinParts(parts: (string | Uint8Array)[]): Uint8Array {
  return Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));
}
