/**
 * The process in charge. It opens the listeners, and serves or has other processes serve. Signals, the control socket
 * and systemd reach the server through it.
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { version } from "../../package.json";
import type { Options } from "../config/options";
import { defaultStoreUrl } from "../config/store-url";
import { effectiveConfig, type ResolvedConfig } from "../config/resolve/resolved";
import { messageOf, UserError } from "../config/user-error";
import { AuditLog } from "../control/audit";
import {
  type Operations,
  type ReloadReport,
  type RestartReport,
  type TaskReport,
  taskReport,
  type VersionReport,
} from "../reload/operations";
import { controlPath } from "../control/paths";
import { TOKENS_FILE } from "../hub/access/token-file";
import { type ControlServer, openControlSocket } from "../control/server";
import type { ControlPort } from "../control/tcp";
import { openControlPort, withControlPort } from "./control-port";
import { recoverExchange } from "../reload/upload/staging";
import { EVERYTHING, orderFor, type ReloadOrder } from "../reload/order";
import type { ProcessLog } from "../observe/log/log";
import { Departed } from "../observe/departed";
import { metricsText } from "../observe/metrics";
import { failingModules, readinessOf, statusOf } from "../observe/report";
import type { ProcessSnapshot, Readiness, ServerInfo, ServerStatus } from "../observe/snapshot";
import { noPrefork } from "../system/bind";
import { findFolders, type Folders } from "../server/folders";
import type { Uplink } from "../server/uplink";
import { Alone } from "./serve/alone";
import type { Group, StartSummary } from "./serve/group";
import { keepSecrets } from "../reload/versions/json";
import { History } from "../reload/versions/history";
import { bringData } from "./data-move";
import { Holdings } from "./takeover/holdings";
import { Notifier } from "./takeover/notify";
import { letSecondSignalEnd } from "./last-signal";
import { Prefork } from "./serve/prefork";
import { StateKeeper, writeStateReadme } from "./state-keeper";
import type { Leaving } from "../server/server";
import { type Successor, type Estate, handOver, oldHasStopped, takeEstate, tellOld } from "./takeover/takeover";
import { type Reloadable, Reloads } from "./reloads";
import { Retries } from "./retries";
import { tellBug } from "../observe/tell-bug";

interface MasterOwner {
  /** Reads the configuration; at each reload again. */
  resolve(): Promise<ResolvedConfig>;
  /** Makes the log that the configuration asks for. */
  makeLog(options: Options): ProcessLog;
  /** The arguments of the command line, for a successor. */
  readonly args: readonly string[];
  /** Called once it serves. @param failures  returns a text for each module that does not serve */
  ready(summary: StartSummary, readyMs: number, failures: () => Promise<readonly string[]>): Promise<void>;
}

/** 128 and the signal's number, like a shell. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;
/** While a drain lasts, systemd is asked for this much more time, again and again. */
const EXTEND_MS = 10_000;

/**
 * Starts the server and stays until it has stopped.
 *
 * @returns the exit code
 * @throws UserError for a mistake that the user can mend; nothing is left open then
 */
export async function runMaster(owner: MasterOwner): Promise<number> {
  const master = new Master(owner);
  await master.start();
  return await master.ended;
}

/** The parts of the master, once the configuration has been read. */
interface MasterParts extends Reloadable {
  readonly holdings: Holdings;
  listening: readonly string[];
}

/**
 * The master's state. It goes on serving while it hands over; if the new process fails, it is "serving" again. No state
 * follows "stopping": reloads and upgrades are refused, and a second signal ends the process at once.
 */
type MasterState = "starting" | "serving" | "handing over" | "stopping";

class Master implements Operations {
  readonly ended: Promise<number>;
  readonly #owner: MasterOwner;
  readonly #ended = Promise.withResolvers<number>();
  readonly #startedAtMs = Date.now();
  readonly #beganAt = performance.now();
  readonly #notifier = Notifier.fromEnvironment(process.env, (text) => console.error(text));
  readonly #reloads = new Reloads({
    running: () => this.#parts,
    isStopping: () => this.#isStopping,
    resolve: () => this.#owner.resolve(),
    notifier: this.#notifier,
    // Modules that ship with hrmr are files in the state folder. A reload would take a lost one for a removed module.
    prepare: async () => await this.#keeper?.look(),
    reconfigured: async () => await this.#controlPort?.refresh(),
    audit: () => this.#audit,
    hashOf: async (name) => (await this.status()).modules.find((module) => module.name === name)?.hash ?? null,
  });
  readonly #departed = new Departed();
  #parts: MasterParts | null = null;
  #control: ControlServer | null = null;
  #openControl: (() => Promise<ControlServer>) | null = null;
  #controlPort: ControlPort | null = null;
  #audit: AuditLog | null = null;
  /** null: the log goes to stderr. */
  #logFile: ProcessLog | null = null;
  #keeper: StateKeeper | null = null;
  #state: MasterState = "starting";

  constructor(owner: MasterOwner) {
    this.#owner = owner;
    this.ended = this.#ended.promise;
  }

  get #isStopping(): boolean {
    return this.#state === "stopping";
  }

  get #isHandingOver(): boolean {
    return this.#state === "handing over";
  }

  #enter(state: MasterState): void {
    if (state !== this.#state) this.#parts?.log.debug(`the server turns from ${this.#state} to ${state}`);
    this.#state = state;
  }

  // ---- starting ----

  async start(): Promise<void> {
    const startedAt = performance.now();
    const estate = takeEstate(process.env);
    this.#handleSignals();
    try {
      const parts = await this.#open(await this.#owner.resolve(), estate);
      const summary = withControlPort(await this.#serve(parts, estate), this.#controlPort);
      this.#parts = parts;
      this.#enter("serving");
      // Without an old process at once: somebody must handle the events that the first clients cause.
      if (estate === null) parts.group.takeBackground();
      await parts.history.begin(parts.group.approved());
      parts.retries.add(summary.retried);
      parts.log.onRotate(() => parts.group.reopenLogs());
      // Failures have been reported, and failed modules are tried again anyway.
      this.#reloads.begin(parts, summary.failed.length === 0);
      this.#keeper = this.#keepState(parts);
      this.#notifier.ready(statusLine(summary));
      // Until the old process is gone, systemd may show its status only.
      if (estate !== null) process.once("disconnect", () => this.#notifier.ready(statusLine(summary)));
      this.#notifier.startWatchdog(() => true);
      const readyMs = performance.now() - startedAt;
      await this.#owner.ready(summary, readyMs, () => this.#failures());
      tellOld({ type: "serving" });
      if (estate !== null) void oldHasStopped().then(() => parts.group.takeBackground());
    } catch (error) {
      const message = messageOf(error);
      // stderr tells the person who started it. If another server has the state folder, the log there is that server's.
      if (this.#logFile !== null && !isHeldByAnother(error))
        this.#logFile.critical(`the server does not start: ${message}`);
      tellOld({ type: "failed", message });
      throw error;
    }
  }

  async #failures(): Promise<string[]> {
    const { modules } = await this.status();
    return modules.flatMap(({ name, error }) => (error === null ? [] : [`Module "${name}" was not loaded: ${error}`]));
  }

  async #open(config: ResolvedConfig, estate: Estate | null): Promise<MasterParts> {
    const { options } = config;
    const log = this.#owner.makeLog(options);
    if (options.log.file !== null) this.#logFile = log;
    const folders = findFolders(options);
    folders.notes.push(...config.notes);
    const holdings = await Holdings.take(options, folders, estate);
    // In a takeover the files belong to the old process, which still runs.
    if (estate === null) recoverUpload(folders, log);
    try {
      writeStateReadme(folders.stateDir);
      bringData(folders, estate !== null);
    } catch (error) {
      holdings.abandon();
      throw error;
    }
    keepSecrets(config);
    const history = await History.open({
      options,
      stateDir: folders.stateDir,
      log,
      snapshots: () => this.#snapshots(),
      bringBack: (condemned) => this.#reloads.bringBack(condemned),
    });
    if (options.resume && history.resumed === null)
      folders.notes.push("There is nothing to resume: the modules folder is loaded.");
    const group = this.#makeGroup(config, log, folders, holdings, history, estate?.failing);
    const retries = new Retries({
      tryAgain: async (names) => void (await this.reload(orderFor(names, { source: "tried again" }))),
      failing: async () => failingModules(await this.#snapshots()),
      log,
    });
    return { config, log, folders, holdings, history, group, retries, listening: [] };
  }

  /** @param mayFail in a takeover: modules that the old process does not serve either */
  #makeGroup(
    { options }: ResolvedConfig,
    log: ProcessLog,
    folders: Folders,
    { sockets }: Holdings,
    history: History,
    mayFail: readonly string[] | undefined,
  ): Group {
    const processes = options.processes === 0 ? availableParallelism() : options.processes;
    const common = { options, folders, log, mayFail };
    const { resumed } = history;
    if (processes === 1) {
      const past = { approved: resumed, isResumed: resumed !== null, remembered: history.remembered() };
      return new Alone({ ...common, ...past, sockets, slot: 0, uplink: this.#uplink });
    }
    if (sockets !== null) {
      const { reload, crashed, stop } = this.#uplink;
      const past = { resumed, remembered: () => history.remembered() };
      return new Prefork({
        ...common,
        ...past,
        processes,
        sockets,
        queue: this.#reloads.queue,
        reload,
        crashed,
        stop,
        info: (all) => this.#info(all),
        failed: (names) => this.#parts?.retries.add(names),
      });
    }
    throw noPrefork(processes);
  }

  async #serve(parts: MasterParts, estate: Estate | null): Promise<StartSummary> {
    const { group, holdings, config, folders } = parts;
    try {
      const summary = await group.start();
      parts.listening = summary.listening;
      const path = controlPath(folders.stateDir, process.env["RUNTIME_DIRECTORY"], config.options.control.socket);
      const audit = new AuditLog(folders.stateDir, (error) => parts.log.error(`the audit log: ${error.message}`));
      this.#audit = audit;
      this.#controlPort = await openControlPort(parts, estate !== null, {
        operations: this,
        audit,
        report: reportTo(parts.log),
      });
      this.#openControl = () => openControlSocket({ path, operations: this, log: parts.log, audit });
      this.#control = await this.#openControl();
      // The last step of a takeover: nothing can fail after it.
      holdings.takeLocks();
      return summary;
    } catch (error) {
      await this.#controlPort?.close();
      await group.drain("the start failed", { why: "shutdown" });
      holdings.abandon();
      throw error;
    }
  }

  /** The services for the server, or for each of its processes. */
  readonly #uplink: Uplink = {
    reload: (order) => this.reload(order),
    stop: (reason) => {
      this.#auditStop(reason);
      this.stop(reason, false);
    },
    crashed: async (name, number, reason, isLoop) =>
      (await this.#parts?.history.crashed(name, number, reason, isLoop)) ?? false,
    snapshots: async () => await this.#everything(),
    publish: () => {},
    events: () => {},
  };

  #keepState({ folders, holdings, config, log, group, history }: MasterParts): StateKeeper {
    const keeper = new StateKeeper({
      folders,
      options: config.options,
      holdings,
      log,
      control: () => this.#control,
      openControl: async () => {
        const before = this.#control;
        this.#control = (await this.#openControl?.()) ?? null;
        before?.retire();
      },
      renewed: async () => {
        log.reopen();
        group.reopenLogs();
        await history.renew();
      },
    });
    keeper.begin();
    return keeper;
  }

  // ---- Operations: status ----

  async status(): Promise<ServerStatus> {
    const { info, processes } = await this.#everything();
    return statusOf(info, processes);
  }

  async metrics(): Promise<string> {
    const { info, processes } = await this.#everything();
    return metricsText(info, processes);
  }

  async readiness(): Promise<Readiness> {
    return readinessOf(await this.#snapshots(), this.#parts?.retries.nextTries());
  }

  config(): unknown {
    if (this.#parts === null) return null;
    const { config, folders } = this.#parts;
    const effective = effectiveConfig(config);
    // Where they are, for `hrmr token` and `hrmr store`: a command in another environment would look elsewhere.
    const tokens = effective.values["access.tokensFile"];
    if (tokens !== undefined) tokens.value ??= join(folders.dataDir, TOKENS_FILE);
    const store = effective.values["store.url"];
    if (store !== undefined) store.value ??= defaultStoreUrl(folders.dataDir);
    return effective;
  }

  async #snapshots(): Promise<ProcessSnapshot[]> {
    return (await this.#parts?.group.snapshots()) ?? [];
  }

  async #everything(): Promise<{ info: ServerInfo; processes: ProcessSnapshot[] }> {
    const processes = await this.#snapshots();
    return { info: this.#info(processes), processes };
  }

  #info(processes: readonly ProcessSnapshot[]): ServerInfo {
    const { group, history, listening, retries } = this.#parts ?? {};
    return {
      version,
      pid: process.pid,
      startedAtMs: this.#startedAtMs,
      uptimeMs: performance.now() - this.#beganAt,
      listening: listening ?? [],
      wantedProcesses: group?.wantedProcesses ?? 1,
      restarts: group?.restarts ?? 0,
      departed: this.#departed.behind(processes),
      ...(retries === undefined ? null : { nextTries: retries.nextTries() }),
      ...(history === undefined ? null : { versionNotes: history.notes(), rollbacks: history.rollbacks }),
    };
  }

  // ---- Operations: reloading, modules over the wire, going back ----

  readonly uploads = this.#reloads.uploads;

  reload(order: ReloadOrder): Promise<ReloadReport> {
    return this.#reloads.reload(order);
  }

  async versions(name: string | null): Promise<Record<string, VersionReport[]>> {
    return this.#parts?.history.versions(name) ?? {};
  }

  rollback(name: string, version: string | null): Promise<ReloadReport> {
    return this.#reloads.rollback(name, version);
  }

  async runTask(module: string, task: string): Promise<TaskReport> {
    const group = this.#parts?.group;
    if (group === undefined)
      throw new UserError("The server has not started yet.", { code: "NOT_SERVING", hint: "Try again." });
    return taskReport(await group.runTask(module, task));
  }

  // ---- Operations: replacing ----

  async restart(): Promise<RestartReport> {
    const restart = this.#parts?.group.restart ?? null;
    if (restart === null) return await this.upgrade();
    return await this.#reloads.queue.run(async () => (this.#isStopping ? BEING_REPLACED : await restart()));
  }

  async upgrade(): Promise<RestartReport> {
    const parts = this.#parts;
    if (parts === null || this.#state !== "serving") return BEING_REPLACED;
    this.#enter("handing over");
    try {
      return await this.#reloads.queue.run(() => this.#upgrade(parts));
    } catch (error) {
      parts.holdings.reclaim();
      const { message, hint } = error instanceof UserError ? error : { message: Bun.inspect(error), hint: "" };
      parts.log.error(`${message} ${hint ?? ""}`);
      return { ok: false, pid: process.pid, text: `ERR ${message} ${hint ?? ""}\n` };
    } finally {
      if (this.#isHandingOver) {
        this.#enter("serving");
        this.#keeper?.begin();
      }
    }
  }

  async #upgrade({ holdings, log, config, history }: MasterParts): Promise<RestartReport> {
    if (holdings.sockets === null) {
      throw new UserError("This platform does not let a new process take over the listeners.", {
        code: "NO_TAKEOVER",
        hint: "Stop the server and start it again.",
      });
    }
    const { modules } = await this.status();
    const failing = modules.filter(({ state }) => state === "failed").map(({ name }) => name);
    log.info("starting a new process to take over");
    // The new process replaces this one's control socket by its own. The keeper must not take that for a deletion.
    await this.#keeper?.pause();
    await history.settle(true);
    const successor = await handOver(holdings.estate(failing), this.#owner.args);
    const { pid } = successor;
    this.#notifier.mainPid(pid);
    // From now on the new process rotates the log file.
    log.reconfigure({ ...config.options.log, role: "shared" });
    log.info(`pid ${pid} has taken over; this process finishes what is under way`);
    this.#enter("stopping");
    this.#keeper?.close();
    this.#parts?.retries.close();
    // Both processes share the port, and only the new one may answer.
    void this.#controlPort?.handOn();
    void this.#drain("upgrade", successor);
    return { ok: true, pid, text: `OK pid ${pid} serves, and pid ${process.pid} finishes what is under way\n` };
  }

  // ---- Operations: stopping ----

  stop(reason: string, force: boolean): void {
    if (this.#parts === null) return;
    if (!this.#isStopping) {
      this.#enter("stopping");
      this.#keeper?.close();
      this.#parts.retries.close();
      this.#parts.log.info(
        force ? `${reason}: stopping at once` : `${reason}: finishing what is under way; a second one ends at once`,
      );
      this.#notifier.stopping(reason);
      this.#parts.holdings.closeDoors();
      void this.#drain(reason, null);
    }
    if (force) this.#parts.group.cut(reason);
  }

  /** @param successor the process that has taken over; null: none */
  async #drain(reason: string, successor: Successor | null): Promise<void> {
    const parts = this.#parts;
    if (parts === null) return;
    this.#reloads.close();
    parts.history.close();
    const extending = setInterval(() => this.#notifier.extendTimeout(EXTEND_MS), EXTEND_MS / 2);
    await parts.group.drain(reason, leavingTo(successor)).catch(tellBug);
    clearInterval(extending);
    // After a take-over these files are the successor's.
    if (successor === null) await parts.history.settle(true).catch(tellBug);
    await Promise.all([this.#control?.close(), this.#controlPort?.close()]);
    this.#audit?.close();
    if (successor === null) parts.holdings.release();
    this.#notifier.close();
    this.#ended.resolve(0);
  }

  // ---- signals ----

  /** The first SIGTERM or SIGINT drains. The second ends at once, and so does one before the server serves. */
  #handleSignals(): void {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        letSecondSignalEnd(signal);
        if (this.#isStopping || this.#parts === null) this.#endNow(EXIT_CODES[signal], signal);
        else {
          this.#auditStop(signal);
          this.stop(signal, false);
        }
      });
      letSecondSignalEnd(signal);
    }
    process.on("SIGHUP", () => void this.reload({ ...EVERYTHING, source: "SIGHUP", by: "SIGHUP" }));
    process.on("SIGUSR2", () => void this.#upgradeBySignal());
  }

  // ---- the audit log, for orders that do not come by the control API ----

  async #upgradeBySignal(): Promise<void> {
    const { ok, text } = await this.upgrade();
    this.#audit?.note({ by: "SIGUSR2", action: "upgrade", modules: null, ok, verdict: text, hash: null, upload: null });
  }

  #auditStop(by: string): void {
    this.#audit?.note({ by, action: "stop", modules: null, ok: true, verdict: "begun", hash: null, upload: null });
  }

  #endNow(exitCode: number, signal: string): never {
    this.#parts?.log.critical(`${signal} again: the server ends at once, and cuts what is under way`);
    this.#parts?.group.kill();
    this.#parts?.holdings.release();
    process.exit(exitCode);
  }
}

function leavingTo(successor: Successor | null): Leaving {
  return successor === null ? { why: "shutdown" } : { why: "moved", released: () => successor.release() };
}

const BEING_REPLACED: RestartReport = {
  ok: false,
  pid: process.pid,
  text: "ERR the server is starting, stopping or being replaced already\n",
};

function reportTo(log: ProcessLog): (error: unknown) => void {
  return (error) => log.error("control.listen:", error);
}

/** @throws UserError UPLOAD_STUCK if the old files cannot be put back */
function recoverUpload(folders: Folders, log: ProcessLog): void {
  const module = recoverExchange(folders);
  if (module !== null)
    log.warn(`An upload of "${module}" was under way when the server was killed: the files from before it are back.`);
}

/** The line that `systemctl status` shows. */
function statusLine({ modules, routes, listening }: StartSummary): string {
  return `${modules} modules, ${routes} routes on ${listening.join(", ")}`;
}

/** Whether another server runs with this state folder. */
function isHeldByAnother(error: unknown): boolean {
  return error instanceof UserError && error.code === "STATE_LOCKED";
}
