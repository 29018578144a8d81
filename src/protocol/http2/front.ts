/**
 * HTTP/2 for all connections of a server. Bun's own engine speaks it, in this process; a connection's bytes are passed
 * to it, and its requests go through the same routing table as those of HTTP/1.1.
 *
 *   front -> splice -> (engine) -> answer -> exchange
 */
import type { SocketHandler } from "bun";
import type { Http2Options } from "../../config/options";
import type { Wire } from "../wire";
import { type Engine, type EngineHost, Engines } from "./engine";
import { Splice, type SpliceHome } from "./splice";

/** The parts of the server that the front needs. */
interface Http2Host extends EngineHost {
  /** Whether these many more descriptors can be spared. */
  mayOpen(descriptors: number): boolean;
}

/** Connections with an engine of their own. */
const MAX_OWN_ENGINES = 64;
/** An engine's backlog is 512, and it accepts nothing before the current tick ends. */
const MAX_CONNECTING = 128;
/** A refused connect is tried again after this time, plus a random time of up to the same length. In milliseconds. */
const RETRY_MS = 10;
const MAX_ATTEMPTS = 200;
/**
 * A spliced connection's descriptors, beside the client's: both ends of the connection to the engine, and the engine's
 * listening socket.
 */
const EXTRA_DESCRIPTORS = 3;

const ENGINE_SOCKET: SocketHandler<Splice> = {
  open: (socket) => socket.data.connected(socket),
  data: (socket, bytes) => socket.data.fromEngine(bytes),
  drain: (socket) => socket.data.flush(),
  end: (socket) => socket.data.engineEnded(),
  close: (socket) => socket.data.engineEnded(),
  error: (socket, error) => socket.data.broke(error),
};

export class Http2Front implements SpliceHome {
  readonly settings: Http2Options;
  /** Connections that speak HTTP/2. */
  openSplices = 0;
  private readonly host: Http2Host;
  private readonly engines: Engines;
  private readonly waiting: Splice[] = [];
  private connecting = 0;
  private isDraining = false;

  constructor(settings: Http2Options, host: Http2Host) {
    this.settings = settings;
    this.host = host;
    this.engines = new Engines(host, MAX_OWN_ENGINES);
  }

  /**
   * Takes a connection over.
   *
   * @param bytes  what has arrived, beginning with the whole preface; kept
   */
  begin(wire: Wire, bytes: Uint8Array): void {
    const mayOpen = !this.isDraining && this.host.mayOpen(EXTRA_DESCRIPTORS);
    this.openSplices++;
    const splice = new Splice(this, wire, bytes);
    if (splice.isOver) return;
    if (!mayOpen) return splice.failed();
    this.waiting.push(splice);
    this.connectNext();
  }

  /** Sends GOAWAY to every client, and ends each connection behind the streams that are under way. Idempotent. */
  drain(): void {
    if (this.isDraining) return;
    this.isDraining = true;
    for (const splice of this.waiting.splice(0)) splice.draining();
    this.engines.drain();
  }

  /** Closes all connections and engines. */
  async close(): Promise<void> {
    this.isDraining = true;
    for (const splice of this.waiting.splice(0)) splice.failed();
    await this.engines.close();
  }

  // ---- SpliceHome ----

  spliceClosed(splice: Splice): void {
    this.openSplices--;
    if (splice.engine !== null) this.engines.left(splice.engine, splice, splice.port);
  }

  floodCut(splice: Splice, what: string): void {
    const { address, connection } = splice.wire.client;
    this.host.warn(`HTTP/2 clients were cut: ${what}`, `${address}: this HTTP/2 client was cut: ${what}`, connection);
  }

  spliceBroke(splice: Splice, error: Error): void {
    const { connection } = splice.wire.client;
    const text = "a bug in hrmr cut this connection; please report it";
    this.host.warn(text, `${text}: ${error.stack ?? error.message}`, connection);
  }

  // ---- connecting ----

  private connectNext(): void {
    while (this.connecting < MAX_CONNECTING) {
      const splice = this.waiting.shift();
      if (splice === undefined) return;
      if (!splice.isOver) void this.connect(splice);
    }
  }

  private async connect(splice: Splice): Promise<void> {
    this.connecting++;
    const isConnected = await this.tryConnecting(splice);
    this.connecting--;
    if (!isConnected && !splice.isOver) splice.failed();
    this.connectNext();
  }

  private async tryConnecting(splice: Splice): Promise<boolean> {
    try {
      const engine = this.engines.engineFor(splice);
      splice.engine = engine;
      for (let count = 0; count < MAX_ATTEMPTS; count++) {
        if (await connectTo(engine, splice)) return true;
        // ECONNREFUSED: the backlog is full, or no descriptor is left, which gives the same error.
        await Bun.sleep(RETRY_MS * (1 + Math.random()));
        if (splice.isOver || this.isDraining) return false;
      }
      this.host.warn("HTTP/2: no connections", "HTTP/2: the engine accepts no connections.");
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.host.warn("HTTP/2 cannot be served", `HTTP/2 cannot be served: its engine does not start (${why}).`);
    }
    return false;
  }
}

async function connectTo({ address }: Engine, splice: Splice): Promise<boolean> {
  const options = { data: splice, allowHalfOpen: true, socket: ENGINE_SOCKET };
  try {
    if ("unix" in address) await Bun.connect<Splice>({ ...options, unix: address.unix });
    else await Bun.connect<Splice>({ ...options, ...address });
    return true;
  } catch {
    return false;
  }
}
