/**
 * All clients of a server: admits them, holds the state that their connections share, logs refusals, and ends them in
 * the drain.
 */
import { setImmediate as immediate } from "node:timers/promises";
import type { Socket } from "bun";
import type { Options } from "../config/options";
import type { Hosts } from "../host/hosts";
import type { AccessControl } from "../hub/access/access-control";
import { nextSecond } from "../observe/figures";
import { type AccessLog, createAccessLog } from "../observe/log/access";
import { kindOfError } from "../observe/log/fields";
import type { ServerLog } from "../observe/log/log";
import { DeadlineWheel } from "../host/deadlines";
import type { Http2Owner } from "../protocol/http2/connection";
import { NO_ROUTES } from "../protocol/routing";
import { renewDate } from "../protocol/web/http-date";
import { type Dispatch, newCounters } from "../protocol/wire";
import { FairShare } from "../system/fair-share";
import { Admission } from "./connection/admission";
import type { Transport } from "./connection/client";
import { type ConnectionOwner, ServerConnection } from "./connection/connection";
import { OpenConnections } from "./connection/open-connections";
import { OpenDatagrams } from "./connection/open-datagrams";
import type { Acceptor, Listener } from "./listen/listeners";
import type { TlsContexts } from "./tls/contexts";
import { authorStack } from "../module/graph/describe-error";
import type { BoundRoute } from "../module/route";
import { escapeBytes } from "../router/escape";

/** Turns of the event loop: each accepts all waiting clients, but the first turn may be half over. */
const ACCEPTING_TURNS = 2;
/** At most this many of the connections that a shutdown cuts are named in the log. */
const MAX_NAMED = 10;

export class Clients implements ConnectionOwner, Acceptor {
  readonly dispatch: Dispatch;
  readonly http2: Http2Owner | null;
  readonly hosts: Hosts;
  readonly admission: Admission;
  readonly datagrams = new OpenDatagrams();
  tls: TlsContexts | null = null;
  /** Renewed once a second, so that a connection reads one field and no log level. */
  trace: ConnectionOwner["trace"] = null;
  readonly #options: Options;
  readonly #log: ServerLog;
  readonly #open = new OpenConnections();
  /** null: there are no other processes. */
  readonly #fairShare: FairShare | null;
  #lastNumber = 0;
  #droppedBefore = 0;

  constructor(options: Options, log: ServerLog, hosts: Hosts, sessions: AccessControl, isAlone: boolean) {
    this.#options = options;
    this.#log = log;
    this.hosts = hosts;
    this.admission = new Admission(options.limits);
    this.#fairShare = isAlone ? null : new FairShare();
    this.dispatch = {
      routing: NO_ROUTES,
      limits: options.limits,
      timeouts: options.timeouts,
      wheel: new DeadlineWheel(() => this.#onSecond()),
      offersHttp2: options.http2.enabled,
      isDraining: false,
      httpDate: "",
      files: this.admission,
      counters: newCounters(),
      sessions,
      access: this.#accessLog(),
      handlerFailed: (route, client, error, hasLeft = false) =>
        tellFailure(log, route, client.connection, error, hasLeft),
    };
    this.http2 = options.http2.enabled
      ? {
          settings: options.http2,
          warn: (kind, text, connection) => log.withFields({ connection }).bounded("warn", kind)?.(text),
        }
      : null;
    renewDate(this.dispatch);
    this.#renewTrace();
  }

  /** @returns null: replies are not logged */
  #accessLog(): AccessLog | null {
    const { access, accessSample } = this.#options.log;
    return access ? createAccessLog(this.#log, { sample: accessSample }) : null;
  }

  /** The options have changed. */
  reconfigured(): void {
    this.dispatch.access = this.#accessLog();
  }

  // ---- ConnectionOwner and Acceptor ----

  accept(socket: Socket<ServerConnection>, transport: Transport): ServerConnection | null {
    const address = this.admission.enter(socket.remoteAddress, transport);
    if (address === null) return null;
    const connection = new ServerConnection(this, socket, transport, ++this.#lastNumber);
    connection.countedAddress = address;
    this.#open.add(connection);
    this.#fairShare?.grew(this.#open.count);
    return connection;
  }

  connectionClosed(connection: ServerConnection): void {
    this.admission.leave(connection.countedAddress);
    this.#open.delete(connection);
  }

  connectionBroke(connection: ServerConnection, error: unknown): void {
    const text = "a bug in hrmr cut this connection; please report it:";
    this.#log.withFields({ connection: connection.number }).bounded("error", `${text} ${kindOfError(error)}`)?.(
      text,
      error,
    );
    connection.abort();
  }

  #renewTrace(): void {
    this.trace = this.#log.shows("trace") ? (connection, change) => this.#trace(connection, change) : null;
  }

  #trace(connection: ServerConnection, change: string): void {
    this.#log.withFields({ connection: connection.number }).trace(change);
  }

  // ---- the drain ----

  /** Lets no more clients in, and waits until the last of them is gone, for `drainMs` at most. Then they are cut. */
  async drain(listeners: readonly Listener[], reason: string): Promise<void> {
    // Accept the clients in the queue: closing the socket would cut them.
    if (listeners.length > 0) for (let turn = 0; turn < ACCEPTING_TURNS; turn++) await immediate();
    for (const listener of listeners) listener.stop();
    // Not earlier: a client that is told to close connects again, and must find no listener then.
    this.dispatch.isDraining = true;
    const { drainMs } = this.dispatch.timeouts;
    const [areGone] = await Promise.all([this.#open.drain(drainMs), this.datagrams.drain(drainMs)]);
    if (!areGone) this.cutAll(`${reason}, and ${drainMs} ms later`);
  }

  cutAll(reason: string): void {
    this.datagrams.cut();
    const cut = this.#open.all();
    if (cut.length === 0) return;
    const named = cut.slice(0, MAX_NAMED).map(({ number, client }) => `#${number} ${client.address}:${client.port}`);
    const more = cut.length > named.length ? ` and ${cut.length - named.length} more` : "";
    this.#log.warn(`${reason}: ${cut.length} open connections were cut: ${named.join(", ")}${more}`);
    this.#open.cut();
  }

  close(): void {
    this.dispatch.wheel.close();
    this.admission.descriptors.close();
  }

  // ---- once a second ----

  #onSecond(): void {
    renewDate(this.dispatch);
    this.#renewTrace();
    nextSecond();
    this.#fairShare?.forget(this.#open.count);
    this.#tellDropped();
    if (this.admission.descriptors.look()) this.#tellExhausted();
    this.#tellRefused();
  }

  #tellRefused(): void {
    const refused = this.admission.takeRefused();
    if (refused === 0) return;
    const { open, maxConnections, descriptors } = this.admission;
    const files = this.admission.maySpare(1)
      ? ""
      : `, with ${descriptors.used} of ${descriptors.limit} descriptors in use,`;
    this.#log.warn(
      `${refused} connections refused: ${open} of ${maxConnections} are open${files} or one address has too many, or opens them too fast`,
    );
  }

  #tellExhausted(): void {
    const { used, limit } = this.admission.descriptors;
    this.#log.error(
      `no descriptors are left: ${used} of ${limit} are open, ${this.admission.open} of them connections, and new ones are refused. ` +
        "Does a module open files or sockets without closing them? Else raise the limit: ulimit -n, or LimitNOFILE of systemd.",
    );
  }

  #tellDropped(): void {
    const { datagramsDropped } = this.dispatch.counters;
    const dropped = datagramsDropped - this.#droppedBefore;
    this.#droppedBefore = datagramsDropped;
    if (dropped === 0) return;
    this.#log.warn(
      `${dropped} datagrams dropped: ${this.#options.limits.maxDatagramCalls} calls are under way (limits.maxDatagramCalls)`,
    );
  }
}

/** Errors that follow from an abort or a deadline after the client left. */
const LEFT_ALONE = /^(?:AbortError|TimeoutError|HandlerTimeoutError)$/;

/**
 * @param hasLeft  its client had left before, which may be the cause: logged as info, and only if the handler threw an
 * error of its own
 */
function tellFailure(log: ServerLog, route: BoundRoute, connection: number, error: unknown, hasLeft: boolean): void {
  if (hasLeft && error instanceof Error && LEFT_ALONE.test(error.name)) return;
  const { module, generation } = route;
  const tell = log
    .withFields({ module, generation: generation.number, connection, error })
    .bounded(hasLeft ? "info" : "error", kindOfError(error));
  if (tell === null) return;
  const key = escapeBytes(Buffer.from(route.key), 32);
  tell(`"${key}": ${hasLeft ? "failed after its client had left: " : ""}${authorStack(error)}`);
}
