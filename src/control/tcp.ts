/**
 * The control API on a separate TCP port (`control.listen`), for remote clients that have the token. Off by default.
 * The same code serves its connections and those of the ordinary listeners; every request goes to `answerControl`.
 */
import { setImmediate as immediate } from "node:timers/promises";
import type { Socket } from "bun";
import { formatListen, parseListen } from "../config/listen";
import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS, type TlsOptions } from "../config/options";
import { UserError } from "../config/user-error";
import type { RequestContext } from "../module/contract";
import type { BoundRoute } from "../module/route";
import type { ServerLog } from "../observe/log/log";
import { GraphResponse } from "../protocol/web/response";
import { NO_ROUTES } from "../protocol/routing";
import { newCounters, type Dispatch } from "../protocol/wire";
import { isLoopback, plainAddress } from "../system/address";
import type { Transport } from "../server/connection/client";
import { ownFetchRoute } from "../module/own-routes";
import { type ConnectionOwner, ServerConnection } from "../server/connection/connection";
import { OpenConnections } from "../server/connection/open-connections";
import { DeadlineWheel } from "../host/deadlines";
import { descriptorLimit } from "../system/descriptors";
import { renewDate } from "../protocol/web/http-date";
import { listenError } from "../system/listen-error";
import { type Acceptor, socketHandlers } from "../server/listen/listeners";
import { passArrivalsOn } from "../system/bind";
import { TlsContexts } from "../server/tls/contexts";
import { answerControl, type ControlApi } from "./api";
import { Bearer, mustNotBeBrowser } from "./bearer";
import { Refused, replyRefused } from "./reply";
import { NO_BODY_LIMIT } from "./server";
import { STRANGER_MS, Strangers } from "./strangers";

interface ControlPortOptions {
  /** `control.listen`. */
  readonly url: string;
  /** `control.tokenFile`. */
  readonly tokenFile: string;
  /** Read at each `refresh`. */
  readonly tls: TlsOptions;
  /** Another process of this server may still listen there. It will end soon. */
  readonly isTakeover: boolean;
  readonly api: ControlApi;
  readonly log: Pick<ServerLog, "warn" | "error">;
}

/** How long open requests may take when the port closes. In milliseconds. */
const CLOSE_DEADLINE_MS = 1000;
/** The same if another server already has the port: nothing waits for this one's end. In milliseconds. */
const HAND_ON_DEADLINE_MS = 30_000;
/** How long a server still accepts after another one took over, for handshakes that began here. In milliseconds. */
const LAST_ARRIVALS_MS = 1000;
/** Turns of the event loop: each accepts all waiting clients, but the first turn may be half over. */
const ACCEPTING_TURNS = 2;
/**
 * An operation may take as long as it needs, and the code that reads a body has its own deadlines. `Strangers` limits
 * all other clients.
 */
const TIMEOUTS = {
  ...DEFAULT_TIMEOUTS,
  idleMs: 0,
  headMs: STRANGER_MS,
  requestMs: STRANGER_MS,
  bodyMs: 0,
  handlerMs: 0,
};

/** The types of Bun.listen lack `fd`. */
type Listener = Bun.TCPSocketListener<ServerConnection> & { readonly fd: number };
/** A successor binds the port before this server closes it. The types of Bun.listen lack the option. */
const SHARED: object = { reusePort: true };

export class ControlPort implements ConnectionOwner, Acceptor {
  readonly http2 = null;
  readonly trace = null;
  readonly hosts: ConnectionOwner["hosts"] = { call: () => unreachable() };
  readonly dispatch: Dispatch;
  tls: TlsContexts | null;
  readonly #options: ControlPortOptions;
  readonly #bearer: Bearer;
  readonly #host: string;
  readonly #listener: Listener;
  readonly #open = new OpenConnections();
  readonly #strangers = new Strangers(descriptorLimit());
  #isTrimming = false;
  #lastNumber = 0;
  #ended: Promise<void> | null = null;

  /**
   * Reads the token and the certificate, and listens.
   *
   * @throws UserError TOKEN_FILE, LISTEN_FAILED, and as `TlsContexts.load`
   */
  static async open(options: ControlPortOptions): Promise<ControlPort> {
    const bearer = new Bearer(options.tokenFile, options.log);
    const { transport } = addressOf(options.url);
    return new ControlPort(options, bearer, transport === "tls" ? await loadTls(options.tls) : null);
  }

  private constructor(options: ControlPortOptions, bearer: Bearer, tls: TlsContexts | null) {
    const address = addressOf(options.url);
    this.#options = options;
    this.#host = address.host;
    this.#bearer = bearer;
    this.tls = tls;
    if (!options.isTakeover) mustBeFree(options.url);
    this.#listener = this.#listen(address.port);
    this.dispatch = {
      routing: { ...NO_ROUTES, unmatched: routeOf((request, context) => this.#answer(request, context)) },
      limits: { ...DEFAULT_LIMITS, maxBodyBytes: NO_BODY_LIMIT },
      timeouts: TIMEOUTS,
      wheel: new DeadlineWheel(() => this.#onSecond()),
      isDraining: false,
      httpDate: "",
      counters: newCounters(),
      access: null,
      handlerFailed: (_route, _client, error, hasLeft = false) => (hasLeft ? undefined : options.api.report(error)),
    };
    renewDate(this.dispatch);
  }

  /** With the port that the kernel chose for 0. */
  get url(): string {
    return formatListen({ transport: this.tls === null ? "tcp" : "tls", host: this.#host, port: this.#listener.port });
  }

  /** Whether the token crosses a network unencrypted: a person should know. */
  get isRisky(): boolean {
    return this.tls === null && this.#host !== "localhost" && !isLoopback(this.#host);
  }

  /** Reads the token, the certificates and the other `tls` settings again. Logs a failure and keeps the old ones. */
  async refresh(): Promise<void> {
    try {
      this.#bearer.refresh();
      if (this.tls === null) return;
      if (Bun.deepEquals(this.#options.tls, this.tls.settings)) this.tls.reload();
      else this.tls = await loadTls(this.#options.tls);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      this.#options.log.error(
        `control.listen: ${error.message} The old one stays in use. ${error.hint ?? ""}`.trimEnd(),
      );
    }
  }

  /** Takes no more requests, and waits for the open ones, for a second at most. */
  close(): Promise<void> {
    this.#bearer.close();
    return (this.#ended ??= this.#end(CLOSE_DEADLINE_MS));
  }

  /**
   * Called when another process listens on the port too. New clients go there; clients that are here get their replies.
   * Idempotent.
   */
  handOn(): Promise<void> {
    return (this.#ended ??= this.#handOn());
  }

  /** Closing a socket cuts the clients in its queue, so the queue must be empty first. */
  async #handOn(): Promise<void> {
    passArrivalsOn(this.#listener.fd);
    await Bun.sleep(LAST_ARRIVALS_MS);
    // On a busy loop the timer may fire before clients that have waited as long.
    await turns();
    await this.#end(HAND_ON_DEADLINE_MS);
  }

  async #end(deadlineMs: number): Promise<void> {
    this.#listener.stop(false);
    this.dispatch.isDraining = true;
    await this.#open.drain(deadlineMs);
    this.#open.cut();
    this.dispatch.wheel.close();
  }

  #listen(port: number): Listener {
    const socket = socketHandlers(this, "tcp", this.tls !== null);
    try {
      return Bun.listen<ServerConnection>({
        hostname: this.#host,
        port,
        socket,
        allowHalfOpen: true,
        ...SHARED,
      }) as Listener;
    } catch (cause) {
      throw listenError(addressOf(this.#options.url), cause);
    }
  }

  // ---- ConnectionOwner and Acceptor ----

  accept(socket: Socket<ServerConnection>, transport: Transport): ServerConnection | null {
    const address = plainAddress(socket.remoteAddress);
    if (this.#strangers.isFull(address)) return null;
    const connection = new ServerConnection(this, socket, transport, ++this.#lastNumber);
    connection.expectHttp();
    this.#open.add(connection);
    this.#strangers.enter(connection.number, address, performance.now(), () => connection.abort());
    if (!this.#isTrimming) void this.#trimSoon();
    return connection;
  }

  /**
   * Waits until the first bytes of new connections are read: a connection that sent the token at once must not be
   * closed.
   */
  async #trimSoon(): Promise<void> {
    this.#isTrimming = true;
    await turns();
    this.#isTrimming = false;
    this.#strangers.trim();
  }

  connectionClosed(connection: ServerConnection): void {
    this.#strangers.leave(connection.number);
    this.#open.delete(connection);
  }

  connectionBroke(connection: ServerConnection, error: unknown): void {
    this.#options.api.report(error);
    connection.abort();
  }

  #onSecond(): void {
    const now = performance.now();
    renewDate(this.dispatch);
    this.#strangers.expire(now);
    const line = this.#strangers.told(now);
    if (line !== null) this.#options.log.warn(line);
  }

  // ---- answering ----

  async #answer(request: Request, { client }: RequestContext): Promise<Response> {
    const { api } = this.#options;
    try {
      mustNotBeBrowser(request, this.#host, this.tls !== null);
      await this.#bearer.check(request, client.address);
    } catch (error) {
      if (error instanceof Refused) return replyRefused(error);
      api.report(error);
      return replyRefused(
        new Refused(500, "This is a bug in hrmr.", "Please report it with the lines in the server's log."),
      );
    }
    this.#strangers.leave(client.connection);
    return await answerControl(request, client.address, api);
  }
}

/** The route for every request: the routing table is empty. */
function routeOf(answer: (request: Request, context: RequestContext) => Promise<Response>): BoundRoute {
  const handler = async (request: Request, context: RequestContext): Promise<Response> => {
    const reply = await answer(request, context);
    // A text has a known length, so the reply needs no chunks.
    return new GraphResponse(await reply.text(), { status: reply.status, headers: reply.headers });
  };
  return ownFetchRoute("", 0, handler);
}

function unreachable(): never {
  throw new Error("The control port has no route that runs elsewhere.");
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < ACCEPTING_TURNS; turn++) await immediate();
}

/** Copies the settings, because a reload changes them in place. */
async function loadTls(settings: TlsOptions): Promise<TlsContexts> {
  const contexts = await TlsContexts.load(structuredClone(settings));
  if (contexts !== null) return contexts;
  throw new UserError("control.listen is a tls:// URL, and tls.certFile is not set.", {
    code: "TLS_CONFIG",
    hint: "Name the certificate in tls.certFile and its key in tls.keyFile.",
  });
}

function addressOf(url: string): { transport: "tcp" | "tls"; host: string; port: number } {
  const address = parseListen(url);
  if (address?.transport === "tcp" || address?.transport === "tls") return { ...address, transport: address.transport };
  throw new Error(`${url} is no tcp:// or tls:// URL.`);
}

/**
 * The port could be bound beside another socket that shares it. This finds out first whether another program has it.
 */
function mustBeFree(url: string): void {
  const address = addressOf(url);
  try {
    Bun.listen({ hostname: address.host, port: address.port, socket: { data: () => {} } }).stop(true);
  } catch (cause) {
    throw listenError(address, cause);
  }
}
