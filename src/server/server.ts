/**
 * The server: ties listeners, connections, the routing table, hosts and modules together, and takes them apart again.
 */
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Socket } from "bun";
import { version } from "../../package.json";
import { formatListen, LISTEN_FORMS, type ListenAddress, parseListen } from "../config/listen";
import { DEFAULT_LIMITS, type Options } from "../config/options";
import { UserError } from "../config/user-error";
import { Pool } from "../host/pool";
import { registerHrmrModule } from "../module/api";
import { authorStack } from "../module/author-stack";
import { discoverModules } from "../module/discover";
import { Probe } from "../module/probe";
import { Registry } from "../module/registry";
import type { BoundRoute } from "../module/route";
import { verdictText, type Verdict } from "../module/verdict";
import { watchModules, type Watcher } from "../module/watch";
import type { Client } from "../module/contract";
import { createLog, type ServerLog } from "../observe/log";
import { moduleGlobals } from "../protocol/http1/globals";
import { SocketHub } from "../protocol/websocket/hub";
import { EXTRA_DESCRIPTORS, Http2Front } from "../protocol/http2/front";
import type { Dispatch } from "../protocol/wire";
import { escapeBytes } from "../router/escape";
import { RouteTable } from "../router/table";
import { isLoopback, type Transport } from "./client";
import { commandRoutes, type CommandActions } from "./commands";
import { ServerConnection, type ConnectionHome } from "./connection";
import { openDatagramListener } from "./datagrams";
import { DeadlineWheel } from "./deadlines";
import { findFolders, mustHaveModules, type Folders } from "./folders";
import { openStreamListener, type Acceptor, type Listener } from "./listeners";
import { planRoutes } from "./routing";
import { unpackModules, unpackPages } from "./shipped";
import { helpText, statusText } from "./status";
import { TlsContexts } from "./tls-contexts";
import { withCertificates } from "./tls-reload";

/** A server that listens. */
export interface RunningServer {
  /** URLs with the real ports. */
  readonly listening: string[];
  readonly summary: { modules: number; routes: number; readyMs: number; notes: string[] };
  reload(names?: readonly string[]): Promise<{ ok: boolean; text: string }>;
  /** Stops listening, finishes what is under way up to drainMs, then cuts. Resolves when all is closed. Idempotent. */
  shutdown(reason: string): Promise<void>;
  readonly closed: Promise<void>;
}

/** Descriptors kept free for files, pipes and module code: at the limit accept() fails in a busy loop. */
const RESERVED_DESCRIPTORS = 100;

/**
 * Loads the modules, then listens.
 *
 * @throws UserError for what the user can mend: folders, addresses, two modules with one prefix. A module that is broken is
 *         logged, and the others are served.
 */
export async function startServer(options: Options, log: ServerLog = createLog()): Promise<RunningServer> {
  const startedAt = performance.now();
  const addresses = options.listen.map(parseAddress);
  const folders = findFolders(options);
  const server = new HrmrServer(options, folders, log, startedAt);
  try {
    await server.loadTls(addresses);
    await server.load();
    for (const address of addresses) await server.listen(address);
  } catch (error) {
    await server.shutdown("the start failed");
    throw error;
  }
  server.ready();
  return server;
}

function parseAddress(url: string): ListenAddress {
  const address = parseListen(url);
  if (address !== null) return address;
  throw new UserError(`Cannot listen on "${url}": this is not an address.`, {
    code: "LISTEN_ADDRESS",
    exitCode: 2,
    hint: `Write ${LISTEN_FORMS}.`,
  });
}

class HrmrServer implements RunningServer, ConnectionHome, Acceptor, CommandActions {
  readonly listening: string[] = [];
  readonly summary: RunningServer["summary"];
  readonly dispatch: Dispatch;
  readonly http2: Http2Front | null;
  readonly wheel: DeadlineWheel;
  readonly pool: Pool;
  readonly closed: Promise<void>;
  tls: TlsContexts | null = null;
  readonly #closed = Promise.withResolvers<void>();
  readonly #options: Options;
  readonly #folders: Folders;
  readonly #log: ServerLog;
  readonly #startedAt: number;
  readonly #listeners: Listener[] = [];
  readonly #connections = new Set<ServerConnection>();
  readonly #perAddress = new Map<string, number>();
  readonly #maxConnections: number;
  /** What connections may have of them: one each, and with HTTP/2 some more. */
  readonly #maxDescriptors: number;
  readonly #probe: Probe;
  #registry: Registry | null = null;
  #watcher: Watcher | null = null;
  #shutdown: Promise<void> | null = null;
  #onLastClosed: (() => void) | null = null;
  #lastNumber = 0;
  #refused = 0;

  constructor(options: Options, folders: Folders, log: ServerLog, startedAt: number) {
    this.#options = options;
    this.#folders = folders;
    this.#log = log;
    this.#startedAt = startedAt;
    this.closed = this.#closed.promise;
    this.summary = { modules: 0, routes: 0, readyMs: 0, notes: [...folders.notes] };
    const descriptors = descriptorLimit() - RESERVED_DESCRIPTORS;
    this.#maxConnections = maxConnectionsFor(options.limits.maxConnections, descriptors, this.summary.notes);
    this.#maxDescriptors = Math.max(descriptors, this.#maxConnections);
    this.wheel = new DeadlineWheel(() => this.#onSecond());
    this.dispatch = {
      table: RouteTable.empty<BoundRoute>(),
      limits: options.limits,
      timeouts: options.timeouts,
      offersHttp2: options.http2.enabled,
      isDraining: false,
      httpDate: new Date().toUTCString(),
      counters: { messages: 0, httpRequests: 0, errors: 0 },
      health: () => (options.http.health !== "off" ? this.#health() : null),
      handlerFailed: (route, client, error) => this.#handlerFailed(route, client.connection, error),
    };
    this.http2 = options.http2.enabled
      ? new Http2Front(options.http2, {
          dispatch: this.dispatch,
          mayOpen: (count) => this.#maySpareDescriptors(count),
          warn: (text) => log.warn(text),
        })
      : null;
    this.pool = new Pool({
      threads: options.threads,
      maxQueued: options.limits.maxQueued,
      loadTimeoutMs: options.timeouts.loadMs,
      onWorkerLost: (reason, worker) => log.warn(`pool thread ${worker}: ${reason}`),
      log,
    });
    this.#probe = new Probe({ loadTimeoutMs: options.timeouts.loadMs });
  }

  // ---- starting ----

  /** @throws UserError for certificates that cannot be used, and for a tls:// listener without any */
  async loadTls(addresses: readonly ListenAddress[]): Promise<void> {
    this.tls = await TlsContexts.load(this.#options.tls);
    const needy = addresses.find((address) => address.transport === "tls");
    if (needy !== undefined && this.tls === null) {
      throw new UserError(`Cannot listen on ${formatListen(needy)}: there is no certificate.`, {
        code: "TLS_CONFIG",
        hint: "Pass --tls-cert FILE --tls-key FILE; `hrmr cert` writes both for development.",
      });
    }
    if (this.tls?.expiryNote != null) this.summary.notes.push(this.tls.expiryNote);
  }

  async load(): Promise<void> {
    registerHrmrModule();
    const options = this.#options;
    const { modulesDir, hasModulesDir, stateDir } = this.#folders;
    if (hasModulesDir) mustHaveModules(options, (await discoverModules(modulesDir)).length);
    const root = this.#folders.staticDir ?? (await unpackPages(stateDir));
    const settings = { ...options.modules, http: { root, ...options.modules.http } };
    const commands = commandRoutes(options.control.commands, this);
    this.#registry = new Registry({
      modulesDir,
      mayLackModulesDir: !hasModulesDir,
      stateDir,
      settings,
      shipped: await unpackModules(stateDir, settings),
      drainMs: options.timeouts.drainMs,
      loadMs: options.timeouts.loadMs,
      maxLiveGenerations: options.limits.maxLiveGenerations,
      host: this.pool,
      probe: this.#probe,
      globals: moduleGlobals(),
      publish: (module, topic, data) => SocketHub.of(this.dispatch).publish(module, topic, data),
      use: options.http.use,
      plan: (modules) => planRoutes(this.dispatch, commands, modules, options.http.use, this.pool),
      log: this.#log,
    });
    const verdict = await this.#registry.reload();
    if (!verdict.ok) this.#tellFailures(verdict);
  }

  async listen(address: ListenAddress): Promise<void> {
    const listener = address.transport === "udp" ? await openDatagramListener(address, this) : await openStreamListener(address, this);
    this.#listeners.push(listener);
    this.listening.push(listener.url);
  }

  ready(): void {
    if (this.#options.watch && this.#folders.hasModulesDir) {
      this.#watcher = watchModules(
        this.#folders.modulesDir,
        () => void this.#reloadWatched(),
        (error) => this.#log.error(`Cannot watch ${this.#folders.modulesDir}: ${error.message}. Send RELOAD after a change.`),
      );
    }
    const entries = [...this.registry.entries.values()].filter((entry) => entry.live !== null);
    this.summary.modules = entries.length;
    this.summary.routes = entries.reduce((sum, entry) => sum + (entry.live?.routes.length ?? 0), 0);
    this.summary.readyMs = performance.now() - this.#startedAt;
  }

  get registry(): Registry {
    if (this.#registry === null) throw new Error("The server has not loaded its modules yet.");
    return this.#registry;
  }

  /** Two modules on one prefix cannot both be meant: that is for the user to mend before anything is served. Else the others serve. */
  #tellFailures(verdict: Verdict): void {
    for (const { name, error, isConflict } of verdict.modules) {
      if (error === null) continue;
      if (this.#options.http.use.includes(name)) {
        const hint = "Every HTTP request was to pass it, so nothing is served. Mend it, or take it out of http.use.";
        throw new UserError(`Module "${name}" cannot be used: ${error}`, { code: "MIDDLEWARE_MISSING", hint });
      }
      if (isConflict) {
        const hint = "Mend that and start again.";
        throw new UserError(`Module "${name}" cannot be served: ${error}`, { code: "PREFIX_TAKEN", hint });
      }
      this.#log.error(`Module "${name}" was not loaded: ${error}`);
    }
  }

  // ---- ConnectionHome and Acceptor ----

  accept(socket: Socket<ServerConnection>, transport: Transport): ServerConnection | null {
    const limit = this.#addressLimit(socket, transport);
    const address = limit > 0 ? socket.remoteAddress : "";
    const fromThere = this.#perAddress.get(address) ?? 0;
    if (this.#connections.size >= this.#maxConnections || !this.#maySpareDescriptors(1) || (limit > 0 && fromThere >= limit)) {
      this.#refused++;
      return null;
    }
    const connection = new ServerConnection(this, socket, transport, ++this.#lastNumber);
    this.#connections.add(connection);
    if (limit > 0) {
      connection.countedAddress = address;
      this.#perAddress.set(address, fromThere + 1);
    }
    return connection;
  }

  #maySpareDescriptors(count: number): boolean {
    return this.#connections.size + EXTRA_DESCRIPTORS * (this.http2?.openSplices ?? 0) + count <= this.#maxDescriptors;
  }

  /** Programs of this machine share one address: unless a number was configured, they are not counted by it. */
  #addressLimit(socket: Socket<ServerConnection>, transport: Transport): number {
    const limit = this.#options.limits.maxConnectionsPerAddress;
    if (transport !== "tcp" || limit === 0) return 0;
    return limit === DEFAULT_LIMITS.maxConnectionsPerAddress && isLoopback(socket.remoteAddress) ? 0 : limit;
  }

  connectionClosed(connection: ServerConnection): void {
    this.#connections.delete(connection);
    const address = connection.countedAddress;
    if (address !== "") {
      const left = (this.#perAddress.get(address) ?? 1) - 1;
      if (left > 0) this.#perAddress.set(address, left);
      else this.#perAddress.delete(address);
    }
    if (this.#connections.size === 0) this.#onLastClosed?.();
  }

  connectionBroke(connection: ServerConnection, error: unknown): void {
    this.#log.error(`#${connection.number} a bug in hrmr cut this connection; please report it:`, error);
    connection.abort();
  }

  // ---- CommandActions ----

  reload(names: readonly string[] | null = null): Promise<{ ok: boolean; text: string }> {
    return this.#reloadVerdict(names);
  }

  async reloadModules(name: string | null): Promise<string> {
    const { ok, text } = await this.#reloadVerdict(name === null ? null : [name]);
    if (ok) this.#log.info(text);
    else this.#log.error(text);
    return text;
  }

  /** After the reply is written: the client that asked is told before its connection is closed. */
  requestShutdown(client: Client): void {
    this.#log.info(`SHUTDOWN by #${client.connection}`);
    setImmediate(() => void this.shutdown("SHUTDOWN"));
  }

  help(): string {
    return helpText(this.dispatch);
  }

  status(): string {
    return statusText({
      version,
      startedAt: this.#startedAt,
      listening: this.listening,
      openConnections: this.#connections.size,
      dispatch: this.dispatch,
      registry: this.registry,
      pool: this.pool,
    });
  }

  async #reloadVerdict(names: readonly string[] | null): Promise<{ ok: boolean; text: string }> {
    const modules = await this.#modulesVerdict(names);
    // RELOAD NAME is about that module only.
    return names === null && this.tls !== null ? withCertificates(modules, this.tls) : modules;
  }

  async #modulesVerdict(names: readonly string[] | null): Promise<{ ok: boolean; text: string }> {
    try {
      const verdict = await this.registry.reload(names);
      return { ok: verdict.ok, text: verdictText(verdict) };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      return { ok: false, text: `ERR ${error.message}\n  ${error.hint ?? ""}\n` };
    }
  }

  async #reloadWatched(): Promise<void> {
    const { ok, text } = await this.#reloadVerdict(null);
    if (!ok) this.#log.error(text);
    else if (!/^OK \d+ modules? unchanged.*\n$/.test(text)) this.#log.info(text);
  }

  // ---- stopping ----

  shutdown(reason: string): Promise<void> {
    this.#shutdown ??= this.#stop(reason).finally(() => this.#closed.resolve());
    return this.#shutdown;
  }

  async #stop(reason: string): Promise<void> {
    this.dispatch.isDraining = true;
    this.#watcher?.close();
    for (const listener of this.#listeners) listener.stop();
    for (const connection of this.#connections) connection.draining();
    await this.#waitForConnections(reason);
    await this.http2?.close();
    await this.#registry?.close();
    await this.pool.close();
    this.#probe.close();
    this.wheel.close();
  }

  async #waitForConnections(reason: string): Promise<void> {
    if (this.#connections.size === 0) return;
    const { drainMs } = this.dispatch.timeouts;
    const last = new Promise<void>((resolve) => (this.#onLastClosed = resolve));
    const timer = new AbortController();
    const late =
      drainMs === 0 ? new Promise<never>(() => {}) : delay(drainMs, "late" as const, { signal: timer.signal }).catch(() => undefined);
    if ((await Promise.race([last, late])) === "late") {
      this.#log.warn(`${reason}: ${this.#connections.size} connections still open after ${drainMs} ms were cut`);
      for (const connection of this.#connections) connection.abort();
    }
    timer.abort();
  }

  // ---- telling ----

  #onSecond(): void {
    this.dispatch.httpDate = new Date().toUTCString();
    if (this.#refused === 0) return;
    this.#log.warn(
      `${this.#refused} connections refused: ${this.#connections.size} of ${this.#maxConnections} are open, or one address has too many`,
    );
    this.#refused = 0;
  }

  #health(): string {
    const uptimeSeconds = Math.floor((performance.now() - this.#startedAt) / 1000);
    return `${JSON.stringify({ status: this.dispatch.isDraining ? "draining" : "ok", version, uptimeSeconds })}\n`;
  }

  #handlerFailed(route: BoundRoute, connection: number, error: unknown): void {
    const key = escapeBytes(Buffer.from(route.key), 32);
    this.#log.error(`${route.module} v${route.generation.number} #${connection} "${key}": ${authorStack(error)}`);
  }
}

/** What the descriptor limit leaves. Bun raises the soft limit to the hard one by itself, so the hard one counts. */
function maxConnectionsFor(wanted: number, allowed: number, notes: string[]): number {
  if (wanted <= allowed) return wanted;
  const lowered = Math.max(allowed, 10);
  notes.push(
    `At most ${lowered} connections, not ${wanted}: the limit of open files allows no more (raise it: ulimit -n, or LimitNOFILE of systemd).`,
  );
  return lowered;
}

function descriptorLimit(): number {
  try {
    const line = /^Max open files\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return line === undefined || line === "unlimited" ? Infinity : Number(line);
  } catch {
    // No /proc outside Linux: the smallest common default there is 256.
    return 256 + RESERVED_DESCRIPTORS;
  }
}
