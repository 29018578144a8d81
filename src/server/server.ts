/**
 * The server: ties listeners, connections, the routing table, hosts and modules together, and takes them apart again.
 */
import { setImmediate as immediate, setTimeout as delay } from "node:timers/promises";
import type { Socket } from "bun";
import { version } from "../../package.json";
import type { ListenAddress } from "../config/listen";
import type { Options, TlsOptions } from "../config/options";
import { UserError } from "../config/user-error";
import { Hosts } from "../host/hosts";
import { openPool } from "../host/pool/pool";
import { Processes } from "../host/process/processes";
import type { LoadSpec } from "../module/version";
import { Watchdog } from "../host/watchdog/watchdog";
import { registerHrmrModule } from "../module/api";
import { discoverModules } from "../module/build/discover";
import { Probe } from "../module/probe/probe";
import { catchPrints } from "../module/graph/console";
import { Registry } from "../reload/registry";
import { rehearse, type RehearsedModule } from "../reload/rehearse";
import { takesHttpText } from "../module/shape/takes-http";
import type { Verdict } from "../reload/verdict/verdict";
import type { Client } from "../module/contract";
import { nextSecond } from "../observe/figures";
import type { ServerLog } from "../observe/log/log";
import { kindOfError } from "../observe/log/fields";
import { blockedPath } from "../observe/blocked-file";
import { moduleGlobals } from "../protocol/web/globals";
import type { ProcessSnapshot } from "../observe/snapshot";
import type { Agreement, Proposal } from "../reload/vote/agree";
import type { ApprovedModule } from "../reload/versions/approved";
import type { LoadSettings } from "../reload/module-set";
import { orderFor, type ReloadOrder } from "../reload/order";
import { type AccessLog, createAccessLog } from "../observe/log/access";
import { SocketHub } from "../protocol/websocket/hub";
import { Http2Front } from "../protocol/http2/front";
import { NO_ROUTES } from "../protocol/routing";
import { newCounters, type Dispatch } from "../protocol/wire";
import { ROLE_VARIABLE, selfCommand } from "../system/self";
import { Admission } from "./connection/admission";
import type { BoundSocket } from "../system/bind";
import { type Transport, whoIs } from "./connection/client";
import { commandRoutes, type CommandActions } from "./commands";
import { ServerConnection, type ConnectionHome } from "./connection/connection";
import { openDatagramListener } from "./listen/datagrams";
import { DeadlineWheel } from "../host/deadlines";
import { Endpoints } from "./endpoints";
import { mustHaveModules, type Folders } from "./folders";
import { FairShare } from "../system/fair-share";
import { Guesses } from "./guesses";
import { tellFailure } from "./handler-failures";
import { renewDate } from "../protocol/web/http-date";
import { listenAddresses, openStreamListener, type Acceptor, type Listener } from "./listen/listeners";
import { applyOptions } from "./reconfigure";
import type { ReloadOutcome } from "../reload/verdict/outcome";
import { unpackModules, unpackPages } from "./shipped";
import { takeSnapshot } from "./snapshot";
import { helpText, statusText } from "./status";
import { CommandToken, reloadToken } from "./token";
import { TlsContexts, tlsNotes } from "./tls/contexts";
import { reloadCertificates } from "./tls/reload";
import type { Uplink } from "./uplink";

/** A module that fails ends the start: a test's server must not be green over a module that is not there. */
export const STRICT_VARIABLE = "HRMR_INTERNAL_STRICT";

/** The parts that a server is made of. */
export interface ServerSetup {
  readonly options: Options;
  readonly folders: Folders;
  readonly log: ServerLog;
  /** Bound beforehand, the server's own from here on: it closes them. null: it opens its listeners itself. */
  readonly sockets: readonly BoundSocket[] | null;
  /** 0 for a server alone, 1 to N for one process of many. */
  readonly slot: number;
  readonly uplink: Uplink;
  /**
   * What the other processes serve, to be served here too, or what the server served before it ended. null: what is in
   * the modules folder.
   */
  readonly approved: readonly ApprovedModule[] | null;
  /** `approved` is what the server served before it ended. Default false. */
  readonly isResumed?: boolean;
  /** Known facts about modules that have served before, by name. Default: none. */
  readonly remembered?: Readonly<Record<string, ApprovedModule>>;
  /**
   * Modules that may fail to load; another one that does fails the start before anything is served. Default: all may.
   */
  readonly mayFail?: readonly string[] | undefined;
  /** The vote before a swap, where there are other processes. */
  readonly agree?: (proposal: Proposal) => Promise<Agreement>;
}

export interface ServerSummary {
  /** URLs with the real ports. */
  readonly listening: string[];
  modules: number;
  routes: number;
  /** Modules that should be served and are not. */
  failed: string[];
  /** The failed modules that are tried again by themselves: all but those that claim a taken key. */
  retried: string[];
  /** For the person who started the server. */
  readonly notes: string[];
}

/** A server that listens. */
export interface RunningServer {
  readonly summary: ServerSummary;
  /** What this process knows about itself. */
  snapshot(): ProcessSnapshot;
  /** What serves now, for a process that is to serve the same. */
  approved(): ApprovedModule[];
  /** The files that its modules were built from, for `--watch`: names in a folder, by its absolute path. Plain data. */
  inputs(): Record<string, string[]>;
  /** A module told its WebSockets something in another process: those of this one get it too. */
  publish(module: string, topic: string, data: unknown): void;
  /** Loads what changed. One at a time. @throws UserError when it is refused as a whole: nothing has changed then */
  reload(order: ReloadOrder): Promise<ReloadOutcome>;
  /** Stops listening, finishes what is under way up to drainMs, then cuts. Resolves when all is closed. Idempotent. */
  shutdown(reason: string): Promise<void>;
  /** Cuts what is still under way after `shutdown`. */
  cutAll(reason: string): void;
}

/**
 * Loads the modules, then accepts.
 *
 * @throws UserError for what the user can mend: addresses, certificates. A module that is broken, or claims what
 *   another one has, is logged, and the others are served.
 */
export async function startServer(setup: ServerSetup): Promise<RunningServer> {
  const server = new HrmrServer(setup);
  const sockets = setup.sockets ?? listenAddresses(setup.options).map((address) => ({ address, fd: null }));
  try {
    await server.loadTls();
    await server.load();
    mustServeAsMuch(server.summary.failed, setup.mayFail);
    for (const { address, fd } of sockets) await server.listen(address, fd);
  } catch (error) {
    await server.shutdown("the start failed");
    throw error;
  }
  server.ready();
  return server;
}

/** A process that takes over must be no worse than the one it replaces, and no client may find out that it is. */
function mustServeAsMuch(failed: readonly string[], mayFail: readonly string[] | undefined): void {
  const worse = mayFail === undefined ? [] : failed.filter((name) => !mayFail.includes(name));
  if (worse.length === 0) return;
  throw new UserError(`the new process cannot load what the old one serves: ${worse.join(", ")}.`, {
    code: "TAKEOVER_WORSE",
    hint: "Mend it first; the log tells what is wrong.",
  });
}

/**
 * Builds and loads the modules as a start would, and starts none of them: no setup runs, and nothing is listened on.
 *
 * @param setup  its state folder is written to: name a temporary one
 * @throws UserError when there are no modules where some were named, or their folder cannot be read
 */
export async function rehearseServer(setup: ServerSetup): Promise<RehearsedModule[]> {
  const server = new HrmrServer(setup);
  try {
    return await server.rehearse();
  } finally {
    await server.shutdown("the rehearsal is over");
  }
}

/** Turns of the event loop: each accepts all waiting clients, but the first turn may be half over. */
const ACCEPTING_TURNS = 2;
/** At most this many of the connections that a shutdown cuts are named in the log. */
const MAX_NAMED = 10;

class HrmrServer implements RunningServer, ConnectionHome, Acceptor, CommandActions {
  readonly listening: string[] = [];
  readonly summary: ServerSummary;
  readonly dispatch: Dispatch;
  readonly http2: Http2Front | null;
  readonly wheel: DeadlineWheel;
  readonly hosts: Hosts;
  tls: TlsContexts | null = null;
  /** Renewed once a second, so that a connection reads one field and no log level. */
  trace: ConnectionHome["trace"] = null;
  readonly #setup: ServerSetup;
  readonly #options: Options;
  readonly #folders: Folders;
  readonly #log: ServerLog;
  readonly #startedAtMs = Date.now();
  /** By `performance.now()`: setting the system's clock does not change it. */
  readonly #beganAt = performance.now();
  readonly #endpoints: Endpoints;
  readonly #listeners: Listener[] = [];
  readonly #connections = new Set<ServerConnection>();
  readonly #admission: Admission;
  /** null: there are no other processes. */
  readonly #fairShare: FairShare | null;
  readonly #probe: Probe;
  readonly #token = new CommandToken();
  readonly #guesses: Guesses;
  readonly #watchdog: Watchdog;
  #registry: Registry | null = null;
  #shutdown: Promise<void> | null = null;
  #onLastClosed: (() => void) | null = null;
  #lastNumber = 0;
  #droppedBefore = 0;

  constructor(setup: ServerSetup) {
    const { options, folders, log } = setup;
    this.#setup = setup;
    this.#options = options;
    this.#folders = folders;
    this.#log = log;
    this.#guesses = new Guesses("control.commands: a command", log);
    this.summary = {
      listening: this.listening,
      modules: 0,
      routes: 0,
      failed: [],
      retried: [],
      notes: [...folders.notes],
    };
    this.#admission = new Admission(options.limits);
    this.#fairShare = setup.slot === 0 ? null : new FairShare();
    if (this.#admission.note !== null) this.summary.notes.push(this.#admission.note);
    this.wheel = new DeadlineWheel(() => this.#onSecond());
    this.dispatch = {
      routing: NO_ROUTES,
      limits: options.limits,
      timeouts: options.timeouts,
      wheel: this.wheel,
      offersHttp2: options.http2.enabled,
      isDraining: false,
      httpDate: "",
      files: this.#admission,
      counters: newCounters(),
      access: this.#accessLog(),
      handlerFailed: (route, client, error, hasLeft = false) =>
        tellFailure(log, route, client.connection, error, hasLeft),
    };
    renewDate(this.dispatch);
    this.#renewTrace();
    this.#endpoints = new Endpoints({
      policies: options.http,
      version,
      isDraining: () => this.dispatch.isDraining,
      uptimeSeconds: () => Math.floor((performance.now() - this.#beganAt) / 1000),
      snapshots: () => setup.uplink.snapshots(),
      note: (text) => log.info(text),
    });
    this.http2 = options.http2.enabled
      ? new Http2Front(options.http2, {
          dispatch: this.dispatch,
          mayOpen: (count) => this.#admission.takeSplice(count),
          warn: (kind, text, connection) =>
            (connection === undefined ? log : log.withFields({ connection })).bounded("warn", kind)?.(text),
        })
      : null;
    this.hosts = this.#openHosts();
    this.#probe = new Probe({ loadTimeoutMs: options.timeouts.loadMs });
    this.#watchdog = new Watchdog({
      settings: () => ({
        blockedMs: options.timeouts.blockedMs,
        format: options.log.format,
        file: options.log.file,
        slot: setup.slot,
        blockedFile: setup.slot === 0 ? blockedPath(folders.stateDir) : null,
      }),
      log,
    });
  }

  #openHosts(): Hosts {
    const { options, log } = this.#setup;
    const shared = {
      loadTimeoutMs: options.timeouts.loadMs,
      log,
      onCrash: (spec: LoadSpec, reason: string) => void this.#crashed(spec, reason, false),
      onCrashLoop: (spec: LoadSpec, reason: string) => this.#crashed(spec, reason, true),
    };
    const pool = openPool({
      ...shared,
      threads: options.threads,
      get maxQueued() {
        return options.limits.maxQueued;
      },
      onThreadLost: (reason, thread, culprit) =>
        log
          .withFields(culprit === null ? {} : { module: culprit.name, generation: culprit.generation })
          .bounded(
            "warn",
            `pool thread: ${reason}`,
          )?.(`pool thread ${thread}: ${reason}`),
    });
    const processes = new Processes({
      ...shared,
      get maxQueued() {
        return options.limits.maxQueued;
      },
      start: { command: selfCommand([]), env: { [ROLE_VARIABLE]: "module" } },
    });
    return new Hosts(pool, processes);
  }

  // ---- starting ----

  /** @throws UserError for certificates that cannot be used */
  async loadTls(): Promise<void> {
    this.tls = await TlsContexts.load(this.#options.tls);
    if (this.tls !== null) this.summary.notes.push(...tlsNotes(this.tls, this.#options.listen));
  }

  async load(): Promise<void> {
    this.#token.load(this.#options.control);
    this.#watchdog.configure();
    this.#registry = await this.#openRegistry(moduleGlobals());
    const { approved, isResumed } = this.#setup;
    const verdict = await (approved === null ? this.#registry.reload() : this.#registry.load(approved, isResumed));
    if (!verdict.ok) this.#tellFailures(verdict);
    for (const { name, live } of this.registry.entries.values()) {
      const taken = live === null ? "" : takesHttpText(live.routes);
      if (taken !== "") this.summary.notes.push(`module ${name}: ${taken}`);
    }
    this.summary.failed = [...this.registry.entries.values()]
      .filter(({ live }) => live === null)
      .map(({ name }) => name);
    // A module that serves in no process is reported by the process that looked at its file.
    const elsewhere = isResumed ? [] : (approved ?? []).filter(({ version }) => version === null);
    const others = [...verdict.modules.filter(({ code }) => code === "conflict"), ...elsewhere].map(({ name }) => name);
    this.summary.retried = this.summary.failed.filter((name) => !others.includes(name));
  }

  /** Loads the modules without serving them. Their prints are dropped: the real load prints them. */
  async rehearse(): Promise<RehearsedModule[]> {
    const silent = Object.fromEntries(Object.keys(console).map((name) => [name, () => undefined]));
    this.#registry = await this.#openRegistry({ ...moduleGlobals(), console: silent });
    return await rehearse(this.#registry);
  }

  async #openRegistry(globals: Record<string, unknown>): Promise<Registry> {
    registerHrmrModule();
    catchPrints(this.#log);
    SocketHub.of(this.dispatch).tellOthers = (module, topic, data) => this.#setup.uplink.publish(module, topic, data);
    const options = this.#options;
    const { modulesDir, hasModulesDir, stateDir, dataDir } = this.#folders;
    if (hasModulesDir && this.#setup.approved === null) {
      const { modules, refused } = await discoverModules(modulesDir);
      mustHaveModules(options, modules.length + refused.length);
    }
    const commands = commandRoutes(options.control, this, this.#token, this.#guesses);
    const { agree, remembered } = this.#setup;
    return new Registry({
      ...(await this.#loadSettings(options)),
      modulesDir,
      mayLackModulesDir: !hasModulesDir,
      stateDir,
      dataDir,
      host: this.hosts,
      probe: this.#probe,
      globals,
      publish: (module, topic, data) => SocketHub.of(this.dispatch).publish(module, topic, data),
      ...(agree === undefined ? null : { agree }),
      ...(remembered === undefined ? null : { remembered }),
      routing: { dispatch: this.dispatch, commands, hosts: this.hosts, endpoints: this.#endpoints },
      log: this.#log,
    });
  }

  /** The part of the configuration for loading modules. */
  async #loadSettings({ modules, http, timeouts, limits }: Options): Promise<LoadSettings> {
    const { staticDir, stateDir } = this.#folders;
    const root = staticDir ?? (await unpackPages(stateDir));
    // Without a prototype: a module may be named "constructor".
    const settings: Options["modules"] = Object.assign(Object.create(null), modules, {
      http: { root, ...modules["http"] },
    });
    return {
      settings,
      shipped: await unpackModules(stateDir, settings),
      use: [...http.use],
      drainMs: timeouts.drainMs,
      loadMs: timeouts.loadMs,
      maxLiveGenerations: limits.maxLiveGenerations,
    };
  }

  /** @param fd a socket bound to it; null: the listener binds one */
  async listen(address: ListenAddress, fd: number | null): Promise<void> {
    const listener =
      address.transport === "udp"
        ? await openDatagramListener(address, this, fd)
        : await openStreamListener(address, this, fd);
    this.#listeners.push(listener);
    this.listening.push(listener.url);
  }

  ready(): void {
    this.#admission.descriptors.look();
    const entries = [...this.registry.entries.values()].filter((entry) => entry.live !== null);
    this.summary.modules = entries.length;
    this.summary.routes = entries.reduce((sum, entry) => sum + (entry.live?.routes.length ?? 0), 0);
  }

  get registry(): Registry {
    if (this.#registry === null) throw new Error("The server has not loaded its modules yet.");
    return this.#registry;
  }

  /**
   * Logs failed modules; the others serve. A failed module in http.use ends the start, since every HTTP request must
   * pass it.
   */
  #tellFailures(verdict: Verdict): void {
    for (const { name, error } of verdict.modules) {
      if (error === null) continue;
      if (this.#options.http.use.includes(name)) {
        const hint = "Every HTTP request must pass it, so nothing is served. Correct it, or remove it from http.use.";
        throw new UserError(`Module "${name}" cannot be used: ${error}`, { code: "MIDDLEWARE_MISSING", hint });
      }
      this.#log.error(`Module "${name}" was not loaded: ${error}`);
    }
    const failed = verdict.modules.filter(({ error }) => error !== null).map(({ name }) => name);
    if (process.env[STRICT_VARIABLE] === undefined || failed.length === 0) return;
    throw new UserError(`Not all modules were loaded: ${failed.join(", ")}.`, {
      code: "MODULE_FAILED",
      hint: "Correct them. If the test wants a module to fail, start its server with mayFail: true.",
    });
  }

  // ---- ConnectionHome and Acceptor ----

  accept(socket: Socket<ServerConnection>, transport: Transport): ServerConnection | null {
    const address = this.#admission.enter(socket.remoteAddress, transport);
    if (address === null) return null;
    const connection = new ServerConnection(this, socket, transport, ++this.#lastNumber);
    connection.countedAddress = address;
    this.#connections.add(connection);
    this.#fairShare?.grew(this.#connections.size);
    return connection;
  }

  connectionClosed(connection: ServerConnection): void {
    this.#connections.delete(connection);
    this.#admission.leave(connection.countedAddress);
    if (this.#connections.size === 0) this.#onLastClosed?.();
  }

  /**
   * Another version of the module may be brought in its place, in all processes. @returns whether that was done. Never
   * rejects.
   */
  async #crashed({ name, generation }: LoadSpec, reason: string, isLoop: boolean): Promise<boolean> {
    try {
      return await this.#setup.uplink.crashed(name, generation, reason, isLoop);
    } catch (error) {
      this.#log
        .withFields({ module: name, generation, error })
        .warn(`no other version could be asked for: ${String(error)}`);
      return false;
    }
  }

  #renewTrace(): void {
    this.trace = this.#log.shows("trace") ? (connection, change) => this.#trace(connection, change) : null;
  }

  #trace(connection: ServerConnection, change: string): void {
    this.#log.withFields({ connection: connection.number }).trace(change);
  }

  connectionBroke(connection: ServerConnection, error: unknown): void {
    const text = "a bug in hrmr cut this connection; please report it:";
    this.#log.withFields({ connection: connection.number }).bounded("error", `${text} ${kindOfError(error)}`)?.(
      text,
      error,
    );
    connection.abort();
  }

  // ---- CommandActions ----

  async reloadModules(name: string | null, client: Client): Promise<string> {
    const order = orderFor(name === null ? null : [name], { by: `RELOAD of ${whoIs(client)}` });
    return (await this.#setup.uplink.reload(order)).text;
  }

  /** After the reply is written: the client that asked is told before its connection is closed. */
  requestShutdown(client: Client): void {
    setImmediate(() => this.#setup.uplink.stop(`SHUTDOWN of ${whoIs(client)}`));
  }

  help(): string {
    return helpText(this.dispatch);
  }

  async status(): Promise<string> {
    const { info, processes } = await this.#setup.uplink.snapshots();
    return statusText(info, processes);
  }

  snapshot(): ProcessSnapshot {
    return takeSnapshot({
      slot: this.#setup.slot,
      startedAtMs: this.#startedAtMs,
      uptimeMs: performance.now() - this.#beganAt,
      dispatch: this.dispatch,
      admission: this.#admission,
      registry: this.registry,
      hosts: this.hosts,
      watchdog: this.#watchdog,
    });
  }

  approved(): ApprovedModule[] {
    return this.registry.approved();
  }

  inputs(): Record<string, string[]> {
    return this.registry.inputs();
  }

  publish(module: string, topic: string, data: unknown): void {
    SocketHub.of(this.dispatch).deliver(module, topic, data);
  }

  // ---- reloading ----

  async reload(order: ReloadOrder): Promise<ReloadOutcome> {
    const { names, next } = order;
    // What refuses the reload as a whole throws here, before anything else is touched.
    const verdict = await this.registry.reload(order, next === null ? null : await this.#loadSettings(next));
    if (names !== null) return { verdict, certificates: null, token: null };
    const certificates = await this.#reloadTls(next?.tls ?? this.#options.tls);
    const token = reloadToken(this.#token, next?.control ?? this.#options.control);
    if (next !== null) applyOptions(this.#options, next);
    this.#watchdog.configure();
    this.dispatch.access = this.#accessLog();
    return { verdict, certificates, token };
  }

  /** @returns null: answers are not told */
  #accessLog(): AccessLog | null {
    const { access, accessSample } = this.#options.log;
    return access ? createAccessLog(this.#log, { sample: accessSample }) : null;
  }

  /** @returns null without any certificates */
  async #reloadTls(settings: TlsOptions): Promise<ReloadOutcome["certificates"]> {
    if (this.tls !== null && Bun.deepEquals(settings, this.#options.tls)) return reloadCertificates(this.tls);
    if (this.tls === null && settings.certFile === null) return null;
    // Listeners that take TLS only would be mute without.
    if (settings.certFile === null && this.listening.some((url) => url.startsWith("tls:"))) {
      return {
        error: "there are none any more, and a tls:// listener needs one",
        hint: "Name them in tls.certFile and tls.keyFile.",
      };
    }
    return await this.#replaceTls(settings);
  }

  async #replaceTls(settings: TlsOptions): Promise<ReloadOutcome["certificates"]> {
    try {
      this.tls = await TlsContexts.load({ ...settings });
      return "reloaded";
    } catch (error) {
      if (error instanceof UserError) return { error: error.message, hint: error.hint ?? "" };
      throw error;
    }
  }

  // ---- stopping ----

  shutdown(reason: string): Promise<void> {
    this.#shutdown ??= this.#stop(reason);
    return this.#shutdown;
  }

  async #stop(reason: string): Promise<void> {
    // Accept the clients in the queue: closing the socket would cut them.
    if (this.#listeners.length > 0) for (let turn = 0; turn < ACCEPTING_TURNS; turn++) await immediate();
    for (const listener of this.#listeners) listener.stop();
    // Not before: whoever is told to close asks on another connection, and must find out at once that nobody listens.
    this.dispatch.isDraining = true;
    for (const connection of this.#connections) connection.draining();
    await this.#waitForConnections(reason);
    await this.http2?.close();
    await this.#registry?.close();
    await this.hosts.close();
    this.#probe.close();
    this.#watchdog.close();
    this.wheel.close();
    this.#admission.descriptors.close();
    this.#log.flush();
    this.#guesses.close();
  }

  async #waitForConnections(reason: string): Promise<void> {
    if (this.#connections.size === 0) return;
    const { drainMs } = this.dispatch.timeouts;
    const last = new Promise<void>((resolve) => (this.#onLastClosed = resolve));
    const timer = new AbortController();
    const late =
      drainMs === 0
        ? new Promise<never>(() => {})
        : delay(drainMs, "late" as const, { signal: timer.signal }).catch(() => undefined);
    if ((await Promise.race([last, late])) === "late") {
      this.cutAll(`${reason}, and ${drainMs} ms later`);
    }
    timer.abort();
  }

  cutAll(reason: string): void {
    const cut = [...this.#connections];
    if (cut.length === 0) return;
    const named = cut.slice(0, MAX_NAMED).map(({ number, client }) => `#${number} ${client.address}:${client.port}`);
    const more = cut.length > named.length ? ` and ${cut.length - named.length} more` : "";
    this.#log.warn(`${reason}: ${cut.length} open connections were cut: ${named.join(", ")}${more}`);
    for (const connection of cut) connection.abort();
  }

  // ---- telling ----

  #onSecond(): void {
    renewDate(this.dispatch);
    this.#renewTrace();
    nextSecond();
    this.#fairShare?.forget(this.#connections.size);
    this.#tellDropped();
    if (this.#admission.descriptors.look()) this.#tellExhausted();
    const refused = this.#admission.takeRefused();
    if (refused === 0) return;
    const { open, maxConnections, descriptors } = this.#admission;
    const files = this.#admission.maySpare(1)
      ? ""
      : `, with ${descriptors.used} of ${descriptors.limit} descriptors in use,`;
    this.#log.warn(
      `${refused} connections refused: ${open} of ${maxConnections} are open${files} or one address has or makes too many`,
    );
  }

  #tellExhausted(): void {
    const { used, limit } = this.#admission.descriptors;
    this.#log.error(
      `no descriptors are left: ${used} of ${limit} are open, ${this.#admission.open} of them connections, and new ones are refused. ` +
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
