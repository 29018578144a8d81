/** The server: connects listeners, connections, the routing table, hosts and modules, and closes them again. */
import { version } from "../../package.json";
import type { EventRecord } from "../module/event/record";
import type { ListenAddress } from "../config/listen";
import type { Options } from "../config/options";
import { UserError } from "../config/user-error";
import type { Hosts } from "../host/hosts";
import { EventBus } from "../hub/events/bus";
import { StoreEngine } from "../store/engine";
import type { TaskOutcome } from "../hub/schedule/outcome";
import type { Schedule } from "../hub/schedule/schedule";
import { Hub } from "../hub/services";
import { Procedures } from "../hub/rpc/procedures";
import { Watchdog } from "../host/watchdog/watchdog";
import { registerHrmrModule } from "../module/api";
import { BackgroundRole } from "../module/background";
import { discoverModules } from "../module/build/discover";
import { Probe } from "../module/probe/probe";
import { catchPrints } from "../module/graph/console";
import { Registry } from "../reload/registry";
import { rehearse, type RehearsedModule } from "../reload/rehearse";
import { OWN_ROUTES } from "../module/own-routes";
import { takesHttpText } from "../module/route";
import type { Verdict } from "../reload/verdict/verdict";
import type { ServerLog } from "../observe/log/log";
import { blockedPath } from "../observe/blocked-file";
import { moduleGlobals } from "../protocol/web/globals";
import type { ProcessSnapshot } from "../observe/snapshot";
import type { Agreement, Proposal } from "../reload/vote/agree";
import type { ApprovedModule } from "../reload/versions/approved";
import type { ReloadOrder } from "../reload/order";
import { SocketHub } from "../protocol/websocket/hub";
import type { BoundSocket } from "../system/bind";
import { Clients } from "./clients";
import { authRoute } from "./auth";
import { commandRoutes } from "./commands";
import { openDatagramListener } from "./listen/datagrams";
import { Endpoints } from "./endpoints";
import { mustHaveModules, type Folders } from "./folders";
import { Guesses } from "../hub/access/guesses";
import { guardsOf, mustHaveToken } from "../hub/access/start";
import { type Access, openAccess, openModuleAccess } from "./access";
import { openHosts } from "./hosting";
import { openSchedule } from "./schedule";
import { listenAddresses, openStreamListener, type Listener } from "./listen/listeners";
import { applyOptions } from "../config/resolve/resolved";
import { applyEnvironment } from "../system/environment";
import { partOutcome, type ReloadOutcome } from "../reload/verdict/report";
import type { Cancelled } from "./mcp/endpoint";
import { Mcp } from "./mcp/routes";
import { procedureRoutes } from "./rpc/routes";
import { loadSettings } from "./shipped";
import { takeSnapshot } from "./snapshot";
import { CommandToken, type Guessers } from "./token";
import { TlsContexts, tlsNotes } from "./tls/contexts";
import { reloadTls } from "./tls/reload";
import type { Uplink } from "./uplink";

/** A module that fails ends the start: a test must not pass without one of its modules. */
const STRICT_VARIABLE = "HRMR_INTERNAL_STRICT";

/** The input of a server. */
export interface ServerStart {
  readonly options: Options;
  readonly folders: Folders;
  readonly log: ServerLog;
  /** Bound sockets, which the server owns from here on and closes. null: it opens its listeners itself. */
  readonly sockets: readonly BoundSocket[] | null;
  /** 0 for a server alone, 1 to N for one process of many. */
  readonly slot: number;
  readonly uplink: Uplink;
  /** The versions of the other processes, or of the server before its restart. null: read the modules folder. */
  readonly approved: readonly ApprovedModule[] | null;
  /** `approved` are the versions before the server's restart. Default false. */
  readonly isResumed?: boolean;
  /** Known facts about modules that have served before, by name. Default: none. */
  readonly remembered?: Readonly<Record<string, ApprovedModule>>;
  /**
   * Modules that may fail to load. A failure of another one ends the start before anything is served. Default: all may
   * fail.
   */
  readonly mayFail?: readonly string[] | undefined;
  /** The vote before a swap, if there are other processes. */
  readonly agree?: (proposal: Proposal) => Promise<Agreement>;
}

export interface ServerSummary {
  /** URLs with the real ports. */
  readonly listening: string[];
  modules: number;
  routes: number;
  /** Modules that should serve and do not. */
  failed: string[];
  /** The failed modules that are tried again automatically: all except those that claim a taken key. */
  retried: string[];
  /** For the person who started the server. */
  readonly notes: string[];
}

/** A server that listens. */
export interface RunningServer {
  readonly summary: ServerSummary;
  /** The state of this process. */
  snapshot(): ProcessSnapshot;
  /** The serving versions, for a process that has to serve the same. */
  approved(): ApprovedModule[];
  /** The files that its modules were built from, for `--watch`: names in a folder, by its absolute path. Plain data. */
  inputs(): Record<string, string[]>;
  /** A module in another process has published a message: sends it to its WebSockets here too. */
  publish(module: string, topic: string, data: unknown): void;
  /** Events of another process, for the subscribers here. @param missed  others that could not be sent to this one */
  deliver(events: readonly EventRecord[], missed: number): void;
  /** Loads changes. One at a time. @throws UserError if the whole reload is refused: nothing has changed then */
  reload(order: ReloadOrder): Promise<ReloadOutcome>;
  /** Runs a task of a module's schedule now. Resolves when it has ended. @throws UserError as `Schedule.runNow` */
  runTask(module: string, task: string): Promise<TaskOutcome>;
  /** This process is the background process from now on: it runs `start` of the modules, and what else is done once. */
  takeBackground(): void;
  /**
   * Stops listening, finishes open work up to drainMs, then cuts it. Resolves when all is closed. Idempotent.
   *
   * @param leaving default: the server ends
   */
  shutdown(reason: string, leaving?: Leaving): Promise<void>;
  /** Cuts the work that is still open after `shutdown`. */
  cutAll(reason: string): void;
}

/** How a process leaves. */
export interface Leaving {
  /** For `stop` of the modules. */
  readonly why: "moved" | "shutdown";
  /** Called once another process may be the background process. */
  readonly released?: () => void;
}

/**
 * Loads the modules, then accepts.
 *
 * @throws UserError for errors that the user can mend: addresses, certificates. A module that is broken, or claims
 *   another's routes, is logged, and the others serve.
 */
export async function startServer(start: ServerStart): Promise<RunningServer> {
  const server = new HrmrServer(start);
  const sockets = start.sockets ?? listenAddresses(start.options).map((address) => ({ address, fd: null }));
  try {
    await server.loadTls();
    await server.load();
    server.checkAccess(sockets.map(({ address }) => address));
    mustServeAsMuch(server.summary.failed, start.mayFail);
    for (const { address, fd } of sockets) await server.listen(address, fd);
  } catch (error) {
    await server.shutdown("the start failed");
    throw error;
  }
  server.ready();
  return server;
}

/** A process that takes over must not be worse than the one that it replaces. Check before any client notices. */
function mustServeAsMuch(failed: readonly string[], mayFail: readonly string[] | undefined): void {
  const worse = mayFail === undefined ? [] : failed.filter((name) => !mayFail.includes(name));
  if (worse.length === 0) return;
  throw new UserError(`the new process cannot load modules that the old one serves: ${worse.join(", ")}.`, {
    code: "TAKEOVER_WORSE",
    hint: "Mend them first; the log has the errors.",
  });
}

/**
 * Builds and loads the modules like a start, without starting them: no setup runs, and no listener opens.
 *
 * @param start  its state folder is written to: name a temporary one
 * @throws UserError if a named folder has no modules, or cannot be read
 */
export async function rehearseServer(start: ServerStart): Promise<RehearsedModule[]> {
  const server = new HrmrServer(start);
  try {
    return await server.rehearse();
  } finally {
    await server.shutdown("the rehearsal is over");
  }
}

function* namesWithServices(registry: Registry | null): Iterable<string> {
  for (const { name, live } of registry?.entries.values() ?? []) if ((live?.services.size ?? 0) > 0) yield name;
}

/** Assembles the parts, and closes them again. */
class HrmrServer implements RunningServer {
  readonly summary: ServerSummary;
  readonly #start: ServerStart;
  readonly #options: Options;
  readonly #log: ServerLog;
  readonly #startedAtMs = Date.now();
  /** By `performance.now()`: setting the system's clock does not change it. */
  readonly #beganAt = performance.now();
  readonly #hosts: Hosts;
  readonly #clients: Clients;
  readonly #hub: Hub;
  readonly #events: EventBus;
  readonly #store: StoreEngine;
  readonly #procedures: Procedures;
  readonly #schedule: Schedule;
  readonly #endpoints: Endpoints;
  readonly #listeners: Listener[] = [];
  readonly #probe: Probe;
  readonly #token: CommandToken;
  readonly #guesses: Guesses;
  readonly #access: Access;
  readonly #watchdog: Watchdog;
  readonly #background = new BackgroundRole();
  #registry: Registry | null = null;
  #mcp: Mcp | null = null;
  #shutdown: Promise<void> | null = null;

  constructor(start: ServerStart) {
    const { options, folders, log, slot } = start;
    this.#start = start;
    this.#options = options;
    applyEnvironment(options.environment);
    this.#log = log;
    this.#guesses = new Guesses("control.commands: a command", log);
    this.#store = new StoreEngine({
      settings: () => options.store,
      dataDir: folders.dataDir,
      stateDir: folders.stateDir,
      log,
      background: this.#background,
    });
    this.#hosts = openHosts(start, this.#forHosts());
    this.#access = openAccess(options, folders.dataDir, log);
    this.#token = new CommandToken(this.#access.control);
    this.#clients = new Clients(options, log, this.#hosts, this.#access.control, slot === 0);
    this.#hub = new Hub({
      find: (name) => this.#registry?.entries.get(name),
      modules: () => namesWithServices(this.#registry),
      server: this.#clients.dispatch,
      limits: options.limits,
      callRemote: (order) => this.#hosts.call(order),
    });
    this.#events = new EventBus({
      server: this.#clients.dispatch,
      callRemote: (order) => this.#hosts.call(order),
      background: this.#background,
      tellOthers: (events) => start.uplink.events(events),
    });
    this.#procedures = new Procedures({
      services: (name) => this.#registry?.entries.get(name)?.live?.services,
      modules: () => namesWithServices(this.#registry),
      hub: this.#hub,
      access: this.#access.control,
      note: (text) => log.bounded("warn", text.slice(0, 100))?.(text),
    });
    this.#schedule = openSchedule({
      registry: () => this.#registry,
      hub: this.#hub,
      server: this.#clients.dispatch,
      background: this.#background,
      dataDir: folders.dataDir,
      timeZone: () => options.schedule.timeZone,
      log,
    });
    const { note } = this.#clients.admission;
    const notes = note === null ? [...folders.notes] : [...folders.notes, note];
    this.summary = { listening: [], modules: 0, routes: 0, failed: [], retried: [], notes };
    this.#endpoints = new Endpoints({
      policies: options.http,
      version,
      isDraining: () => this.#clients.dispatch.isDraining,
      uptimeSeconds: () => Math.floor((performance.now() - this.#beganAt) / 1000),
      snapshots: () => start.uplink.snapshots(),
      note: (text) => log.info(text),
    });
    this.#probe = new Probe({ loadTimeoutMs: options.timeouts.loadMs });
    this.#watchdog = new Watchdog({
      settings: () => ({
        blockedMs: options.timeouts.blockedMs,
        format: options.log.format,
        file: options.log.file,
        slot,
        blockedFile: slot === 0 ? blockedPath(folders.stateDir) : null,
      }),
      log,
    });
  }

  #forHosts(): Parameters<typeof openHosts>[1] {
    return {
      onRestored: (id) => this.#registry?.lives.restored(id),
      onCrash: (id) => SocketHub.of(this.#clients.dispatch).processLost(id),
      services: { ask: (order, answer) => this.#hub.ask(order, answer) },
      events: {
        emit: (...event) => this.#events.emit(...event),
        subscribe: (...wish) => this.#events.subscribe(...wish),
      },
      store: this.#store,
    };
  }

  // ---- starting ----

  /** @throws UserError for certificates that cannot be used */
  async loadTls(): Promise<void> {
    const tls = await TlsContexts.load(this.#options.tls);
    if (tls !== null) this.summary.notes.push(...tlsNotes(tls, this.#options.listen));
    this.#clients.tls = tls;
  }

  async load(): Promise<void> {
    if (this.#isFirst) this.#access.tokens.load();
    this.#token.load(this.#options.control);
    this.#watchdog.configure();
    this.#registry = await this.#openRegistry(moduleGlobals());
    const { approved, isResumed } = this.#start;
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

  /**
   * Whether the server starts with this process. One that replaces another, or joins it, serves whatever has become of
   * the tokens since.
   */
  get #isFirst(): boolean {
    const { approved, isResumed } = this.#start;
    return approved === null || isResumed === true;
  }

  /** @throws UserError TOKENS_NEEDED */
  checkAccess(listen: readonly ListenAddress[]): void {
    if (!this.#isFirst) return;
    const { tokens } = this.#access;
    mustHaveToken({
      required: this.#options.access.required,
      listen,
      guards: this.#guards(),
      hasToken: tokens.hasAny(),
    });
  }

  #guards(): string[] {
    const serving = [...this.registry.entries.values()].flatMap(({ name, isImplicit, live }) =>
      live === null ? [] : [{ name, isShipped: isImplicit, hasProcedures: live.hasProcedures }],
    );
    return guardsOf(serving);
  }

  /** Loads the modules without serving them. Their prints are dropped: the real load prints them. */
  async rehearse(): Promise<RehearsedModule[]> {
    const silent = Object.fromEntries(Object.keys(console).map((name) => [name, () => undefined]));
    this.#registry = await this.#openRegistry({ ...moduleGlobals(), console: silent });
    return await rehearse(this.#registry, this.#options.schedule.timeZone);
  }

  async #openRegistry(globals: Record<string, unknown>): Promise<Registry> {
    registerHrmrModule();
    catchPrints(this.#log);
    const { options, folders, uplink, agree, remembered } = this.#start;
    const { modulesDir, hasModulesDir, stateDir, dataDir } = folders;
    const { dispatch } = this.#clients;
    const sockets = SocketHub.of(dispatch);
    sockets.tellOthers = (module, topic, data) => uplink.publish(module, topic, data);
    if (hasModulesDir && this.#start.approved === null) {
      const { modules, refused } = await discoverModules(modulesDir);
      mustHaveModules(options, modules.length + refused.length);
    }
    const guessers: Guessers = new WeakSet();
    const commands = [
      ...commandRoutes(options.control, { uplink, dispatch }, this.#token, this.#guesses, guessers),
      authRoute(this.#access.control, guessers),
    ];
    const door = { access: this.#access.control, localNames: () => options.http.localNames };
    const procedures = procedureRoutes(this.#procedures, door);
    this.#mcp = new Mcp({
      procedures: this.#procedures,
      door,
      tellOthers: (cancelled) => uplink.publish(OWN_ROUTES.name, "mcp", cancelled),
    });
    return new Registry({
      ...(await loadSettings(options, folders)),
      modulesDir,
      mayLackModulesDir: !hasModulesDir,
      stateDir,
      dataDir,
      host: this.#hosts,
      probe: this.#probe,
      globals,
      background: this.#background,
      services: this.#hub,
      events: this.#events,
      store: this.#store,
      schedule: this.#schedule,
      publish: (...message) => sockets.publish(...message),
      access: openModuleAccess(this.#access.control, options.http),
      ...(agree === undefined ? null : { agree }),
      ...(remembered === undefined ? null : { remembered }),
      routing: { dispatch, commands, procedures, tools: this.#mcp, hosts: this.#hosts, endpoints: this.#endpoints },
      log: this.#log,
    });
  }

  /** @param fd a socket bound to it; null: the listener binds one */
  async listen(address: ListenAddress, fd: number | null): Promise<void> {
    const listener =
      address.transport === "udp"
        ? await openDatagramListener(address, this.#clients, fd)
        : await openStreamListener(address, this.#clients, fd);
    this.#listeners.push(listener);
    this.summary.listening.push(listener.url);
  }

  ready(): void {
    this.#clients.admission.descriptors.look();
    const entries = [...this.registry.entries.values()].filter((entry) => entry.live !== null);
    this.summary.modules = entries.length;
    this.summary.routes = entries.reduce((sum, entry) => sum + (entry.live?.routes.length ?? 0), 0);
    this.#events.begin();
    this.registry.lives.begin();
  }

  takeBackground(): void {
    this.#background.take();
  }

  runTask(module: string, task: string): Promise<TaskOutcome> {
    return this.#schedule.runNow(module, task);
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

  // ---- telling ----

  snapshot(): ProcessSnapshot {
    return takeSnapshot({
      slot: this.#start.slot,
      startedAtMs: this.#startedAtMs,
      uptimeMs: performance.now() - this.#beganAt,
      dispatch: this.#clients.dispatch,
      admission: this.#clients.admission,
      registry: this.registry,
      hosts: this.#hosts,
      services: this.#hub.totals,
      events: this.#events,
      schedule: this.#schedule,
      store: this.#store.snapshot(),
      watchdog: this.#watchdog,
      isBackground: this.#background.isHere,
    });
  }

  approved(): ApprovedModule[] {
    return this.registry.approved();
  }

  inputs(): Record<string, string[]> {
    return this.registry.inputs();
  }

  publish(module: string, topic: string, data: unknown): void {
    if (module === OWN_ROUTES.name) return this.#mcp?.cancel(data as Cancelled);
    SocketHub.of(this.#clients.dispatch).deliver(module, topic, data);
  }

  deliver(events: readonly EventRecord[], missed: number): void {
    this.#events.deliver(events, missed);
  }

  // ---- reloading ----

  async reload(order: ReloadOrder): Promise<ReloadOutcome> {
    const { names, next } = order;
    // If the whole reload is refused, this throws before any other change.
    const settings = next === null ? null : await loadSettings(next, this.#start.folders);
    const verdict = await this.registry.reload(order, settings);
    if (names !== null) return { verdict, certificates: null, token: null };
    const { tls } = this.#options;
    const certificates = await reloadTls(this.#clients, next?.tls ?? tls, tls, this.summary.listening);
    const token = await partOutcome(() => this.#token.load(next?.control ?? this.#options.control));
    if (next !== null) {
      applyOptions(this.#options, next);
      applyEnvironment(next.environment);
    }
    this.#watchdog.configure();
    this.#clients.reconfigured();
    this.#store.reconfigured();
    this.#schedule.swapped();
    return { verdict, certificates, token };
  }

  // ---- stopping ----

  shutdown(reason: string, leaving: Leaving = { why: "shutdown" }): Promise<void> {
    this.#shutdown ??= this.#stop(reason, leaving);
    return this.#shutdown;
  }

  async #stop(reason: string, leaving: Leaving): Promise<void> {
    const left = this.#leaveBackground(leaving);
    const runs = this.#schedule.drain(this.#options.timeouts.drainMs);
    await this.#clients.drain(this.#listeners, reason);
    await Promise.all([left, runs]);
    await this.#registry?.close();
    this.#events.flush();
    await this.#hosts.close();
    await this.#store.close();
    this.#probe.close();
    this.#watchdog.close();
    this.#clients.close();
    this.#log.flush();
    this.#guesses.close();
    this.#access.guesses.close();
  }

  async #leaveBackground({ why, released }: Leaving): Promise<void> {
    await this.#background.release(why);
    released?.();
    await this.#registry?.lives.close(why);
  }

  cutAll(reason: string): void {
    this.#registry?.lives.giveUp();
    this.#schedule.cut();
    this.#clients.cutAll(reason);
  }
}
