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

/** What may be open without having shown a token. In seconds. */
const IDLE_S = 10;
/** What is under way when the port is closed. In milliseconds. */
const CLOSE_DEADLINE_MS = 1000;
/** The same where another server has the port already, and nobody waits for this one's end. */
const HAND_ON_DEADLINE_MS = 30_000;
/** How long a server goes on accepting when new clients are another's: for handshakes that have begun with it. */
const LAST_ARRIVALS_MS = 1000;
/** Of the event loop, each of which accepts all that wait; the first may be half over. */
const ACCEPTING_TURNS = 2;

interface Server {
  readonly http: Bun.Server<undefined>;
  /** Its listening socket; null where it cannot be told. */
  readonly fd: number | null;
}

/** What of `tls` holds here, as Bun.serve takes it. Certificates by name are for the ordinary listeners. */
interface ServeTls {
  readonly cert: string;
  readonly key: string;
  readonly minVersion: number;
  readonly ciphers?: string;
  readonly ca?: string;
  readonly requestCert: boolean;
  readonly rejectUnauthorized: boolean;
}

/** As they stand in a record (RFC 8446 section 4.2.1): Bun.serve takes no names. */
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

  /** Reads the token, the certificate and what else of `tls` holds here anew. What fails is logged, and the old one stays. */
  refresh(): void {
    try {
      this.#bearer.refresh();
      if (this.#isTls) this.#refreshTls();
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      this.#options.log.error(`control.listen: ${error.message} The old one stays in use. ${error.hint ?? ""}`.trimEnd());
    }
  }

  /** Takes no more requests, and lets those under way end, for a second at most. */
  async close(): Promise<void> {
    this.#bearer.close();
    await (this.#handedOn ?? end(this.#server, CLOSE_DEADLINE_MS));
  }

  /** Another process listens on the port too: it gets the clients that come, and those that are here already are answered. Idempotent. */
  handOn(): Promise<void> {
    return (this.#handedOn ??= handOn(this.#server));
  }

  /** Bun has no way to exchange a certificate: another server takes the port over, beside the old one for an instant. */
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
      hint: "Check the path in tls.certFile, tls.keyFile and tls.clientCaFile, and who may read it.",
      cause,
    });
  }
}

async function end({ http }: Server, deadlineMs: number): Promise<void> {
  await Promise.race([http.stop(), Bun.sleep(deadlineMs)]);
  await http.stop(true);
}

/** Closing a socket cuts off whoever waits in its queue, so that nobody may wait there. */
async function handOn(server: Server): Promise<void> {
  if (server.fd !== null) passArrivalsOn(server.fd);
  await Bun.sleep(LAST_ARRIVALS_MS);
  // On a loop that was busy the timer may come before the clients that have waited as long.
  for (let turn = 0; turn < ACCEPTING_TURNS; turn++) await immediate();
  await end(server, HAND_ON_DEADLINE_MS);
}
