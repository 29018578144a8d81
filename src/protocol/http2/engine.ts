/**
 * The engines: Bun's own HTTP/2 on sockets that only this process connects to.
 *
 * Asking for the connection of a request (`requestIP`) costs a third of a request. The first connections therefore get
 * an engine each, which has one client and need not ask. The others share one.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Server } from "bun";
import type { Dispatch } from "../wire";
import { answer } from "./answer";
import type { ExchangeOwner } from "./exchange";

/** The address of an engine. */
type EngineAddress = { unix: string } | { hostname: string; port: number };

export interface Engine {
  readonly address: EngineAddress;
  /** Call it before the first byte is written. @param port the local port of the connection to it, where it has one */
  connected(owner: ExchangeOwner, port: number): void;
  /** The connection is closed, or was never open. */
  left(owner: ExchangeOwner, port: number): void;
  /** Sends GOAWAY, and ends each connection after its open streams. */
  drain(): void;
  close(): Promise<void>;
}

/** The parts of the server that engines need. */
export interface EngineHost {
  readonly dispatch: Dispatch;
  /**
   * One line for the log.
   *
   * @param kind       events of one kind share a limit, and not all are logged
   * @param connection number of the connection that the event is about
   */
  warn(kind: string, text: string, connection?: number): void;
}

type Fetch = (request: Request, server: Server<undefined>) => Response | Promise<Response>;

function serve(
  host: EngineHost,
  where: { unix: string } | { hostname: string; port: number },
  fetch: Fetch,
): Server<undefined> {
  return Bun.serve({
    ...where,
    http2: true,
    // The splice keeps the deadlines.
    idleTimeout: 0,
    maxRequestBodySize: host.dispatch.limits.maxBodyBytes,
    development: false,
    fetch,
    error: (error) => {
      host.warn(
        "An HTTP/2 reply could not be sent",
        `An HTTP/2 reply could not be sent: ${error.stack ?? error.message}`,
      );
      return new Response("Internal Server Error\n", { status: 500 });
    },
  } as Parameters<typeof Bun.serve<undefined>>[0]);
}

/** For one connection. Its socket lies in this process's own folder, and is removed as soon as it is connected. */
class OwnEngine implements Engine {
  private readonly server: Server<undefined>;

  constructor(
    host: EngineHost,
    owner: ExchangeOwner,
    private readonly path: string,
  ) {
    this.server = serve(host, { unix: path }, (request) => answer(owner, request));
  }

  get address(): EngineAddress {
    return { unix: this.path };
  }

  connected(): void {
    rmSync(this.path, { force: true });
  }

  left(): void {
    void this.close();
  }

  drain(): void {
    void this.server.stop();
  }

  async close(): Promise<void> {
    await this.server.stop(true);
    rmSync(this.path, { force: true });
  }
}

/** For many connections, told apart by their ports. */
class SharedEngine implements Engine {
  readonly address: EngineAddress;
  private readonly server: Server<undefined>;
  private readonly owners = new Map<number, ExchangeOwner>();

  constructor(host: EngineHost) {
    this.server = serve(host, { hostname: "127.0.0.1", port: 0 }, (request, server) => {
      const owner = this.owners.get(server.requestIP(request)?.port ?? 0);
      // Any program of this machine can connect to a loopback port.
      return owner === undefined ? new Response(null, { status: 403 }) : answer(owner, request);
    });
    this.address = { hostname: "127.0.0.1", port: this.server.port as number };
  }

  connected(owner: ExchangeOwner, port: number): void {
    this.owners.set(port, owner);
  }

  left(owner: ExchangeOwner, port: number): void {
    if (this.owners.get(port) === owner) this.owners.delete(port);
  }

  drain(): void {
    void this.server.stop();
  }

  async close(): Promise<void> {
    await this.server.stop(true);
  }
}

/** All engines of a server. They start with the first client. */
export class Engines {
  private readonly own = new Map<ExchangeOwner, OwnEngine>();
  private shared: SharedEngine | null = null;
  private dir: string | null = null;
  private lastNumber = 0;

  /** @param maxOwn  how many connections get an engine each */
  constructor(
    private readonly host: EngineHost,
    private readonly maxOwn: number,
  ) {}

  /** @throws if no port or descriptor is left */
  engineFor(owner: ExchangeOwner): Engine {
    if (this.own.size < this.maxOwn) {
      const engine = this.tryOwn(owner);
      if (engine !== null) return engine;
    }
    return (this.shared ??= new SharedEngine(this.host));
  }

  left(engine: Engine, owner: ExchangeOwner, port: number): void {
    this.own.delete(owner);
    engine.left(owner, port);
  }

  drain(): void {
    for (const engine of this.own.values()) engine.drain();
    this.shared?.drain();
  }

  async close(): Promise<void> {
    await Promise.all(
      [...this.own.values(), ...(this.shared === null ? [] : [this.shared])].map((engine) => engine.close()),
    );
    if (this.dir !== null) rmSync(this.dir, { recursive: true, force: true });
    this.dir = null;
  }

  private tryOwn(owner: ExchangeOwner): OwnEngine | null {
    try {
      // mkdtemp makes folders that are closed to other users.
      this.dir ??= mkdtempSync(join(tmpdir(), "hrmr-h2-"));
      const engine = new OwnEngine(this.host, owner, join(this.dir, String(++this.lastNumber)));
      this.own.set(owner, engine);
      return engine;
    } catch {
      // The folder is missing, or the path is too long for a socket: use the shared engine.
      return null;
    }
  }
}
