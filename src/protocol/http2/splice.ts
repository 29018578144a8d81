/**
 * One HTTP/2 connection: its bytes, untouched, to the engine and back. It pauses either side while the other does not
 * read, keeps deadlines, and cuts floods.
 */
import type { Socket } from "bun";
import type { Http2Options } from "../../config/options";
import type { Protocol, Wire } from "../wire";
import type { Exchange, ExchangeOwner } from "./exchange";
import type { Engine } from "./engine";
import { ReceivedFrames } from "./floods";
import { EMPTY_SETTINGS, ErrorCode, goawayFrame, SentFrames } from "./frames";

/** The parts of the front that a splice needs. */
export interface SpliceHome {
  readonly settings: Http2Options;
  /** Ends the engine: with GOAWAY, after its open streams. */
  drain(): void;
  spliceClosed(splice: Splice): void;
  /** Our own code threw. */
  spliceBroke(splice: Splice, error: Error): void;
  /** A client was cut for a flood. */
  floodCut(splice: Splice, what: string): void;
}

/** How long a client that is cut for a flood has to read our GOAWAY. It is not read meanwhile. */
const GOODBYE_MS = 200;

export class Splice implements Protocol, ExchangeOwner {
  readonly speaks = "http2";
  /** Chosen by the front, before it connects. */
  engine: Engine | null = null;
  /** The local port of the connection to the engine. 0: there is none yet, or it has no ports. */
  port = 0;
  isOver = false;
  readonly wire: Wire;
  private readonly home: SpliceHome;
  private readonly sent = new SentFrames();
  private readonly received: ReceivedFrames;
  private readonly exchanges = new Set<Exchange>();
  private socket: Socket<Splice> | null = null;
  /** Bytes that the engine's socket has not taken yet; all bytes, before it is connected. */
  private unsent: Uint8Array[];
  private isEnginePaused = false;
  private lastActiveAt = performance.now();
  /** When the wire's deadline is armed for, by performance.now(). 0: it is not. */
  private armedFor = 0;

  /** @param bytes  what has arrived, from the preface on */
  constructor(home: SpliceHome, wire: Wire, bytes: Uint8Array) {
    this.home = home;
    this.wire = wire;
    this.received = new ReceivedFrames(home.settings, this.sent);
    this.unsent = [bytes];
    wire.take(this);
    // Later bytes wait in the kernel until the engine is connected.
    wire.pause();
    this.arm(this.idleDeadline());
    const excess = this.received.excess(bytes, this.lastActiveAt);
    if (excess !== null) this.cutFlood(excess);
  }

  // ---- the engine's side ----

  /** The connection to the engine is open. */
  connected(socket: Socket<Splice>): void {
    if (this.isOver) return void socket.end();
    this.socket = socket;
    this.port = socket.localPort ?? 0;
    this.engine?.connected(this, this.port);
    this.flush();
  }

  broke(error: Error): void {
    this.home.spliceBroke(this, error);
    this.leave();
    this.wire.abort();
  }

  /** No engine can be reached. */
  failed(): void {
    this.sayGoodbye(ErrorCode.internal);
    this.end();
  }

  /** Bytes from the engine. */
  fromEngine(bytes: Uint8Array): void {
    if (this.isOver) return;
    this.sent.read(bytes);
    if (this.wire.write(bytes) || this.socket === null) return;
    this.isEnginePaused = true;
    this.socket.pause();
  }

  /** The engine's socket has room again. */
  flush(): void {
    const { socket, unsent } = this;
    if (socket === null || this.isOver) return;
    let at = 0;
    for (; at < unsent.length; at++) {
      const bytes = unsent[at] as Uint8Array;
      const taken = socket.write(bytes);
      if (taken < 0) return;
      if (taken < bytes.length) {
        unsent[at] = bytes.subarray(taken);
        break;
      }
    }
    if (at > 0) unsent.splice(0, at);
    if (unsent.length > 0) return;
    this.wire.resume();
    if (this.wire.hasEnded) socket.shutdown();
  }

  /** The engine has closed the connection: behind a GOAWAY, or since the client did. */
  engineEnded(): void {
    if (!this.isOver) this.end();
  }

  // ---- Protocol ----

  receive(bytes: Uint8Array): void {
    if (this.isOver) return;
    const now = performance.now();
    this.lastActiveAt = now;
    const excess = this.received.excess(bytes, now);
    if (excess !== null) return this.cutFlood(excess);
    const { socket, unsent } = this;
    if (socket !== null && unsent.length === 0) {
      const taken = socket.write(bytes);
      if (taken === bytes.length || taken < 0) return;
      unsent.push(bytes.subarray(taken));
    } else unsent.push(bytes);
    this.wire.pause();
  }

  /**
   * The engine takes it as the end of the connection, even with open streams: a client that has gone looks the same.
   */
  ended(): void {
    if (!this.isOver && this.unsent.length === 0) this.socket?.shutdown();
  }

  drained(): void {
    if (!this.isEnginePaused) return;
    this.isEnginePaused = false;
    this.socket?.resume();
  }

  closed(): void {
    this.leave();
  }

  expired(): void {
    if (this.isOver) return;
    this.armedFor = 0;
    const now = performance.now();
    const idleAt = this.idleDeadline();
    // The wheel fires on whole milliseconds.
    if (this.exchanges.size === 0 && idleAt !== 0 && idleAt <= now + 1) {
      this.sayGoodbye(ErrorCode.none);
      return this.end();
    }
    // As long as there are exchanges the connection is not idle.
    this.arm(this.exchanges.size === 0 || idleAt === 0 ? idleAt : now + this.wire.dispatch.timeouts.idleMs);
  }

  draining(): void {
    // A splice that is not connected has no open streams.
    if (this.socket === null) {
      this.sayGoodbye(ErrorCode.none);
      this.end();
      return;
    }
    this.home.drain();
    for (const exchange of Array.from(this.exchanges)) exchange.draining();
  }

  // ---- ExchangeOwner ----

  exchangeBegan(exchange: Exchange): void {
    this.exchanges.add(exchange);
  }

  exchangeEnded(exchange: Exchange): void {
    this.exchanges.delete(exchange);
    this.lastActiveAt = performance.now();
  }

  // ---- ending ----

  private idleDeadline(): number {
    const { idleMs } = this.wire.dispatch.timeouts;
    return idleMs === 0 ? 0 : this.lastActiveAt + idleMs;
  }

  /** Makes sure that `expired` is called at `at` at the latest. For most requests it is one comparison. */
  private arm(at: number): void {
    if (at === 0 || (this.armedFor !== 0 && this.armedFor <= at)) return;
    this.armedFor = at;
    this.wire.armDeadline(Math.max(1, Math.ceil(at - performance.now())));
  }

  private cutFlood(excess: string): void {
    this.home.floodCut(this, excess);
    this.sayGoodbye(ErrorCode.calm);
    this.end();
    const { wire } = this;
    // A client that sends without end is not read any more, and gets little time.
    queueMicrotask(() => wire.pause());
    setTimeout(() => wire.abort(), GOODBYE_MS);
  }

  /** Sends GOAWAY if the bytes so far end with a whole frame. */
  private sayGoodbye(code: number): void {
    if (!this.sent.isBetweenFrames) return;
    if (!this.sent.hasBegun) this.wire.write(EMPTY_SETTINGS);
    this.wire.write(goawayFrame(this.received.lastStream, code));
  }

  private end(): void {
    this.leave();
    this.wire.finish();
  }

  private leave(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.unsent = [];
    this.socket?.end();
    for (const exchange of this.exchanges) exchange.dropped();
    this.home.spliceClosed(this);
  }
}
