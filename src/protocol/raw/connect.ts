/**
 * `connect`: a handler owns the connection, as sequential code (docs/modules.md). Waiting costs a few objects and no
 * thread. The connection outlives the module's version: a reload asks the handler to hand over.
 */
import type { Client, Connection, Session } from "../../module/contract";
import type { BoundRoute } from "../../module/route";
import { Call, type CallOwner } from "../../host/call";
import { NOT_TIMED, runInline } from "../../host/inline";
import { HeldBytes } from "./held";
import { nextTurn, takeInTurn, type TurnTaker, WriteTurns } from "../turns";
import { asBuffer, type Protocol, type Wire } from "../wire";

/** The most unread bytes. At this number the server stops reading the peer. */
const MAX_UNREAD_BYTES = 262_144;
const LF = 10;
const CR = 13;

/** A pending read: how many bytes it takes now, or -1 while it needs more. */
interface Waiter {
  measure(unread: Buffer): number;
  resolve(bytes: Buffer | null): void;
  reject(error: Error): void;
}

/** The host's side: stays with the connection over reloads. One author-facing `Connection` is made per handler call. */
export class HandedConnection implements Protocol, CallOwner, TurnTaker {
  readonly speaks = "connect";
  readonly wire: Wire;
  data: unknown = undefined;
  isReplaced = false;
  /** The handler that has the connection. */
  #call: Call | null = null;
  #unread: HeldBytes | null;
  #waiter: Waiter | null = null;
  #controller: AbortController | null = null;
  #isGone = false;
  readonly #turns = new WriteTurns();
  /** In its turn, the waiter will learn that no more bytes come. */
  #isEndingWaiter = false;
  /** The connection will be reset in its turn. */
  #isCut = false;
  /** The handler has returned, and the next step waits for this connection's turn. */
  #returned: Call | null = null;

  private constructor(wire: Wire, bytes: Uint8Array) {
    this.wire = wire;
    this.#unread = bytes.length > 0 ? new HeldBytes(bytes) : null;
  }

  /** Takes the connection and starts the handler. @param bytes the bytes so far, the route's key first */
  static begin(wire: Wire, route: BoundRoute, bytes: Uint8Array): void {
    const handed = new HandedConnection(wire, bytes);
    wire.take(handed);
    // Its handler may wait for ever. Only the kernel notices that the client is gone.
    wire.probePeer();
    handed.#start(route);
  }

  get hasEnded(): boolean {
    return this.wire.hasEnded;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#isGone) this.#controller.abort();
    return this.#controller.signal;
  }

  // ---- reading ----

  read(count?: number): Promise<Buffer | null> {
    if (count === undefined) return this.#wait((unread) => (unread.length > 0 ? unread.length : -1));
    if (!Number.isInteger(count) || count < 1)
      return Promise.reject(new RangeError(`read(count) takes a whole number of at least 1, not ${count}.`));
    return this.#wait((unread) => (unread.length >= count ? count : -1));
  }

  readUntil(delimiter: Uint8Array): Promise<Buffer | null> {
    let scanned = 0;
    return this.#wait((unread) => {
      const at = unread.indexOf(delimiter, scanned);
      scanned = Math.max(0, unread.length - delimiter.length + 1);
      return at === -1 ? -1 : at + delimiter.length;
    });
  }

  /** The bytes without a delimiter at the client's end; null: none. */
  readRest(): Buffer | null {
    if (this.isReplaced || this.#unread === null) return null;
    return this.#consume(this.#unread.length);
  }

  #wait(measure: Waiter["measure"]): Promise<Buffer | null> {
    if (this.#waiter !== null)
      return Promise.reject(new Error("Another read of this connection is still waiting: await one before the next."));
    if (this.isReplaced || this.#isGone) return Promise.resolve(null);
    const count = this.#unread === null ? -1 : measure(asBuffer(this.#unread.view()));
    if (count >= 0) return Promise.resolve(this.#consume(count));
    if (this.hasEnded) return Promise.resolve(null);
    const { maxMessageBytes } = this.wire.dispatch.limits;
    if (this.#unreadBytes > maxMessageBytes) return Promise.reject(tooLong(maxMessageBytes));
    return new Promise((resolve, reject) => {
      this.#waiter = { measure, resolve, reject };
      this.wire.resume();
    });
  }

  get #unreadBytes(): number {
    return this.#unread === null ? 0 : this.#unread.length;
  }

  /** Takes `count` of the unread bytes, of which there are that many. */
  #consume(count: number): Buffer {
    const all = this.#unread === null ? Buffer.alloc(0) : asBuffer(this.#unread.view());
    this.#unread = count < all.length ? new HeldBytes(all.subarray(count)) : null;
    return all.subarray(0, count);
  }

  #serveWaiter(): void {
    const waiter = this.#waiter;
    if (waiter === null || this.#unread === null) return;
    const count = waiter.measure(asBuffer(this.#unread.view()));
    if (count < 0) {
      const { maxMessageBytes } = this.wire.dispatch.limits;
      if (this.#unread.length <= maxMessageBytes) return;
      this.#waiter = null;
      return waiter.reject(tooLong(maxMessageBytes));
    }
    this.#waiter = null;
    waiter.resolve(this.#consume(count));
  }

  /**
   * Makes a waiting read return null, in this connection's turn: many clients may leave, or be handed over, at once.
   */
  #endWaiter(): void {
    if (this.#waiter === null || this.#isEndingWaiter) return;
    this.#isEndingWaiter = true;
    takeInTurn(this);
  }

  #resolveWaiter(): void {
    this.#isEndingWaiter = false;
    const waiter = this.#waiter;
    this.#waiter = null;
    waiter?.resolve(null);
  }

  takeTurn(): void {
    if (this.#isEndingWaiter) return this.#resolveWaiter();
    if (this.#isCut) {
      this.#isCut = false;
      return this.wire.abort();
    }
    const call = this.#returned;
    this.#returned = null;
    if (call !== null) this.#goOn(call);
  }

  // ---- writing ----

  async write(data: string | Uint8Array): Promise<void> {
    if (this.#isGone) throw new Error("The client is gone.");
    const isRoom = this.wire.write(data);
    const isTurnOver = this.#turns.count(data.length);
    if (isRoom && !isTurnOver) return;
    if (!isRoom) await this.wire.waitForDrain();
    if (isTurnOver) await nextTurn();
    if (this.#isGone) throw new Error("The client is gone.");
  }

  async end(data?: string | Uint8Array): Promise<void> {
    if (data !== undefined) await this.write(data);
    this.wire.finish();
  }

  // ---- Protocol: what the wire tells ----

  receive(bytes: Uint8Array): void {
    if (this.#isGone) return;
    // The connection is being handed over but has not had its turn: these bytes belong to the next version.
    if (this.#isEndingWaiter) this.#resolveWaiter();
    if (this.#unread === null) this.#unread = new HeldBytes(bytes);
    else this.#unread.append(bytes);
    this.#serveWaiter();
    if (this.#unreadBytes > MAX_UNREAD_BYTES && this.#waiter === null) this.wire.pause();
  }

  ended(): void {
    this.#serveWaiter();
    this.#endWaiter();
  }

  drained(): void {}

  closed(): void {
    this.#isGone = true;
    this.#controller?.abort(new Error("The client closed the connection."));
    this.#endWaiter();
  }

  expired(): void {}

  draining(): void {
    this.#controller?.abort(new Error("The server shuts down."));
    this.isReplaced = true;
    this.#endWaiter();
  }

  // ---- the generation's side ----

  replaced(): void {
    this.isReplaced = true;
    this.#endWaiter();
  }

  cut(reason: string): void {
    this.#controller?.abort(new Error(reason));
    this.#call?.over();
    this.#isGone = true;
    this.#isCut = true;
    takeInTurn(this);
  }

  #start(route: BoundRoute): void {
    this.isReplaced = false;
    const call = new Call(this.wire.dispatch, route, this.wire, NOT_TIMED, this);
    this.#call = call;
    call.kind = "connection";
    call.enter();
    let running: unknown;
    try {
      running = runInline(
        route,
        route.handler as (...args: unknown[]) => unknown,
        new AuthorConnection(this),
        route.generation.context,
      );
    } catch (error) {
      return this.#failed(call, error);
    }
    Promise.resolve(running).then(
      () => {
        this.#returned = call;
        takeInTurn(this);
      },
      (error: unknown) => this.#failed(call, error),
    );
  }

  /** The handler has returned: the next version takes over, or the connection ends. */
  #goOn(call: Call): void {
    call.over();
    if (this.wire.isClosed) return;
    const next = this.isReplaced && !this.wire.dispatch.isDraining ? this.#successor(call.route) : null;
    if (next === null) return this.wire.finish();
    this.#start(next);
  }

  #failed(call: Call, error: unknown): void {
    call.over();
    // A write that fails because the client left is the end of most handlers, not an error of the module.
    if (this.wire.isClosed) return;
    this.wire.dispatch.counters.errors++;
    call.failed(error);
    this.wire.finish();
  }

  /** The same key of the same module in the present table, if it is still a `connect` route. */
  #successor(route: BoundRoute): BoundRoute | null {
    for (const { value } of this.wire.dispatch.routing.table.entries) {
      if (value.module === route.module && value.key === route.key && value.kind === "connect" && !value.isUnavailable)
        return value;
    }
    return null;
  }
}

/** The object that the handler gets. */
class AuthorConnection implements Connection {
  readonly #handed: HandedConnection;

  constructor(handed: HandedConnection) {
    this.#handed = handed;
  }

  get client(): Client {
    return this.#handed.wire.client;
  }
  get session(): Session {
    return this.#handed.wire.session;
  }
  get data(): unknown {
    return this.#handed.data;
  }
  set data(value: unknown) {
    this.#handed.data = value;
  }
  get replaced(): boolean {
    return this.#handed.isReplaced;
  }
  get signal(): AbortSignal {
    return this.#handed.signal;
  }

  read(count?: number): Promise<Uint8Array | null> {
    return this.#handed.read(count);
  }

  readUntil(delimiter: string | Uint8Array): Promise<Uint8Array | null> {
    const bytes = typeof delimiter === "string" ? Buffer.from(delimiter) : delimiter;
    if (bytes.length === 0) return Promise.reject(new RangeError("readUntil takes a delimiter of at least one byte."));
    return this.#handed.readUntil(bytes);
  }

  async *lines(): AsyncIterableIterator<string> {
    const lineEnd = Buffer.from([LF]);
    for (;;) {
      const line = await this.#handed.readUntil(lineEnd);
      if (line === null) break;
      yield line.utf8Slice(0, line.length - (line.length > 1 && line[line.length - 2] === CR ? 2 : 1));
    }
    // A last line without LF counts too.
    const rest = this.#handed.hasEnded ? this.#handed.readRest() : null;
    if (rest !== null) yield rest.toString();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    for (;;) {
      const bytes = await this.#handed.read();
      if (bytes === null) return;
      yield bytes;
    }
  }

  write(data: string | Uint8Array): Promise<void> {
    return this.#handed.write(data);
  }

  end(data?: string | Uint8Array): Promise<void> {
    return this.#handed.end(data);
  }
}

function tooLong(maxBytes: number): RangeError {
  return new RangeError(`The client sent over ${maxBytes} bytes (maxMessageBytes) before the read was complete.`);
}
