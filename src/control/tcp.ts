/**
 * The control API on a TCP port of its own (`control.listen`), for clients elsewhere that have the token. Off by default.
 */
import { readFileSync } from "node:fs";
import { setImmediate as immediate } from "node:timers/promises";
import { formatListen, parseListen } from "../config/listen";
import type { TlsOptions } from "../config/options";
import { UserError } from "../config/user-error";
import type { ServerLog } from "../observe/log";
import { isLoopback, plainAddress } from "../server/address";
import { listenError } from "../server/listen-error";
import { listenersOn, passArrivalsOn } from "../server/reuse-port";
import { answerControl, type ControlApi } from "./api";
import { Bearer, mustNotBeBrowser } from "./bearer";
import { Refused, replyRefused } from "./reply";
import { NO_BODY_LIMIT } from "./server";

export interface ControlPortOptions {
  /** `control.listen`. */
  readonly url: string;
  /** `control.tokenFile`. */
  readonly tokenFile: string;
  /** Read at each `refresh`. */
  readonly tls: TlsOptions;
  /** Another process of this server may still listen there, and is about to end. */
  readonly isTakeover: boolean;
  readonly api: ControlApi;
  readonly log: Pick<ServerLog, "warn" | "error">;
}

/** How long a connection may be open without a token. In seconds. */
const IDLE_S = 10;
/** How long open requests may take when the port closes. In milliseconds. */
const CLOSE_DEADLINE_MS = 1000;
/** The same when another server already has the port, so that nothing waits for this one's end. In milliseconds. */
const HAND_ON_DEADLINE_MS = 30_000;
/** How long a server goes on accepting after another one took over: for handshakes that began here. In milliseconds. */
const LAST_ARRIVALS_MS = 1000;
/** Turns of the event loop: each accepts all waiting clients, but the first turn may be half over. */
const ACCEPTING_TURNS = 2;

interface Server {
  readonly http: Bun.Server<undefined>;
  /** The descriptor of the listening socket; null: not known. */
  readonly fd: number | null;
}

/** The part of `tls` that holds here, as Bun.serve takes it. Certificates by name are only for the ordinary listeners. */
interface ServeTls {
  readonly cert: string;
  readonly key: string;
  readonly minVersion: number;
  readonly ciphers?: string;
  readonly ca?: string;
  readonly requestCert: boolean;
  readonly rejectUnauthorized: boolean;
}

/** Version numbers of the protocol (RFC 8446 section 4.2.1): Bun.serve takes no names. */
const PROTOCOL_NUMBERS = { "1.2": 0x0303, "1.3": 0x0304 } as const;

export class ControlPort {
  readonly #options: ControlPortOptions;
  readonly #bearer: Bearer;
  readonly #host: string;
  readonly #isTls: boolean;
  #tls: ServeTls | null;
  #server: Server;
  #handedOn: Promise<void> | null = null;

  /**
   * Reads the token, and listens.
   *
   * @throws UserError TOKEN_FILE, TLS_FILE or LISTEN_FAILED
   */
  constructor(options: ControlPortOptions) {
    const address = addressOf(options.url);
    this.#options = options;
    this.#host = address.host;
    this.#isTls = address.transport === "tls";
    this.#bearer = new Bearer(options.tokenFile, options.log);
    this.#tls = this.#isTls ? readPolicy(options.tls) : null;
    if (!options.isTakeover) mustBeFree(options.url);
    this.#server = this.#listen(address.port);
  }

  /** With the real port. */
  get url(): string {
    return formatListen({ transport: this.#isTls ? "tls" : "tcp", host: this.#host, port: this.#port });
  }

  get #port(): number {
    return this.#server.http.port ?? 0;
  }

  /** A person should know that whoever listens in on the way has the token. */
  get isRisky(): boolean {
    return !this.#isTls && this.#host !== "localhost" && !isLoopback(this.#host);
  }

  /** Reads the token, the certificate and the other `tls` settings again. Logs a failure and keeps the old ones. */
  refresh(): void {
    try {
      this.#bearer.refresh();
      if (this.#isTls) this.#refreshTls();
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      this.#options.log.error(`control.listen: ${error.message} The old one stays in use. ${error.hint ?? ""}`.trimEnd());
    }
  }

  /** Takes no more requests, and waits for the open ones, for a second at most. */
  async close(): Promise<void> {
    this.#bearer.close();
    await (this.#handedOn ?? end(this.#server, CLOSE_DEADLINE_MS));
  }

  /** Called when another process listens on the port too. New clients go there; clients that are here get their replies. Idempotent. */
  handOn(): Promise<void> {
    return (this.#handedOn ??= handOn(this.#server));
  }

  /** Bun cannot exchange a certificate. So a second server opens on the port, and the old one closes then. */
  #refreshTls(): void {
    const tls = readPolicy(this.#options.tls);
    if (Bun.deepEquals(tls, this.#tls)) return;
    this.#tls = tls;
    const old = this.#server;
    this.#server = this.#listen(this.#port);
    void handOn(old);
  }

  #listen(port: number): Server {
    const { url } = this.#options;
    const others = listenersOn(port);
    try {
      const http = Bun.serve({
        hostname: this.#host,
        port,
        // A successor binds it before this one lets go.
        reusePort: true,
        idleTimeout: IDLE_S,
        maxRequestBodySize: NO_BODY_LIMIT,
        development: false,
        ...(this.#tls === null ? {} : { tls: this.#tls as object }),
        fetch: (request, server) => this.#answer(request, server),
      });
      const fd = listenersOn(http.port ?? 0).find((each) => !others.includes(each)) ?? null;
      return { http, fd };
    } catch (cause) {
      throw listenError(addressOf(url), cause);
    }
  }

  async #answer(request: Request, server: Server["http"]): Promise<Response> {
    const address = plainAddress(server.requestIP(request)?.address ?? "unknown");
    try {
      mustNotBeBrowser(request, this.#host, this.#isTls);
      await this.#bearer.check(request, address);
    } catch (error) {
      if (error instanceof Refused) return replyRefused(error);
      this.#options.api.report(error);
      return replyRefused(new Refused(500, "This is a bug in hrmr.", "Please report it with the lines in the server's log."));
    }
    // A reload may take longer than any.
    server.timeout(request, 0);
    return await answerControl(request, address, this.#options.api);
  }
}

function addressOf(url: string): { transport: "tcp" | "tls"; host: string; port: number } {
  const address = parseListen(url);
  if (address?.transport === "tcp" || address?.transport === "tls") return { ...address, transport: address.transport };
  throw new Error(`${url} is no tcp:// or tls:// URL.`);
}

/** The port can be bound beside another one that shares it: whether that is somebody else's is found out before. */
function mustBeFree(url: string): void {
  const address = addressOf(url);
  try {
    Bun.listen({ hostname: address.host, port: address.port, socket: { data: () => {} } }).stop(true);
  } catch (cause) {
    throw listenError(address, cause);
  }
}

function readPolicy({ certFile, keyFile, minVersion, ciphers, clientCert, clientCaFile }: TlsOptions): ServeTls {
  return {
    cert: readPem(certFile),
    key: readPem(keyFile),
    minVersion: PROTOCOL_NUMBERS[minVersion],
    ...(ciphers === null ? {} : { ciphers }),
    ...(clientCert === "none" ? {} : { ca: readPem(clientCaFile) }),
    requestCert: clientCert !== "none",
    rejectUnauthorized: clientCert === "require",
  };
}

function readPem(file: string | null): string {
  try {
    return readFileSync(file ?? "", "latin1");
  } catch (cause) {
    throw new UserError(`The TLS file ${file} cannot be read (${(cause as NodeJS.ErrnoException).code}).`, {
      code: "TLS_FILE",
      hint: "Check the paths in tls.certFile, tls.keyFile and tls.clientCaFile, and the files' permissions.",
      cause,
    });
  }
}

async function end({ http }: Server, deadlineMs: number): Promise<void> {
  await Promise.race([http.stop(), Bun.sleep(deadlineMs)]);
  await http.stop(true);
}

/** Closing a socket cuts the clients in its queue, so the queue must be empty first. */
async function handOn(server: Server): Promise<void> {
  if (server.fd !== null) passArrivalsOn(server.fd);
  await Bun.sleep(LAST_ARRIVALS_MS);
  // On a busy event loop the timer may fire before waiting clients are accepted.
  for (let turn = 0; turn < ACCEPTING_TURNS; turn++) await immediate();
  await end(server, HAND_ON_DEADLINE_MS);
}
