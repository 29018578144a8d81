/**
 * Everything that changes which versions serve: reloads, uploads and roll-backs, one after another. Each is told in the
 * log, in the audit log and to systemd, and kept in the history.
 */
import { defaultOptions } from "../config/options";
import { type ResolvedConfig, restartOnlyChanges } from "../config/resolve/resolved";
import { CONFIG_FILES, workingFolder } from "../config/working-folder";
import { type Audit, noteOutcome } from "../control/audit";
import type { ProcessLog } from "../observe/log/log";
import type { ReloadReport } from "../reload/operations";
import { EVERYTHING, isForConfig, logPrefix, type ReloadOrder, rollbackTo } from "../reload/order";
import { ReloadQueue } from "../reload/queue";
import { Uploads } from "../reload/upload/uploads";
import { orRefused, refusedReport } from "../reload/verdict/report";
import { keepSecrets } from "../reload/versions/json";
import type { History } from "../reload/versions/history";
import type { Condemned } from "../reload/versions/versions";
import type { Folders } from "../server/folders";
import type { Retries } from "./retries";
import type { Group } from "./serve/group";
import type { Notifier } from "./takeover/notify";
import { TypeCheck } from "./type-check";
import { Watch, watchedConfigFiles } from "./watch";

/** A server that has started, as reloads act on it. */
export interface Reloadable {
  /** Replaced by a reload that reads the configuration. */
  config: ResolvedConfig;
  readonly log: ProcessLog;
  readonly folders: Folders;
  readonly group: Group;
  readonly history: History;
  readonly retries: Retries;
}

interface ReloadsOwner {
  /** null: the server is starting. */
  running(): Reloadable | null;
  /** It ends, or another process has taken over. */
  isStopping(): boolean;
  /** Reads the configuration. */
  resolve(): Promise<ResolvedConfig>;
  readonly notifier: Pick<Notifier, "reloading" | "ready">;
  /** Called before modules are looked at. */
  prepare(): Promise<void>;
  /** Called when the options have new values. */
  reconfigured(): Promise<void>;
  /** null: there is none yet. */
  audit(): Audit | null;
  /** Of the version that serves; null: none does. */
  hashOf(module: string): Promise<string | null>;
}

/** In the audit log. */
const WATCHER = "--watch";
const STARTING = refusedReport("The server is starting.", "Try again.");

export class Reloads {
  /** Of new processes and take-overs, too: none of them may see half of what another one does. */
  readonly queue = new ReloadQueue((order) => this.#reload(order));
  readonly uploads: Uploads;
  readonly #owner: ReloadsOwner;
  #watch: Watch | null = null;
  #types: TypeCheck | null = null;

  constructor(owner: ReloadsOwner) {
    this.#owner = owner;
    const { running, isStopping, hashOf } = owner;
    this.uploads = new Uploads({
      queue: this.queue,
      folders: () => (isStopping() ? null : (running()?.folders ?? null)),
      options: () => running()?.config.options ?? defaultOptions(),
      reload: (order) => this.#reload(order),
      hashOf,
    });
  }

  /** The server serves: watches its files, if that is wanted. @param isWhole all that there is on the disk serves */
  begin(running: Reloadable, isWhole: boolean): void {
    this.#watchIfWanted(running);
    if (isWhole) this.#watch?.begun();
    this.#renewTypes(running);
  }

  #renewTypes({ folders, log }: Reloadable): void {
    this.#types ??= new TypeCheck(log);
    this.#types.reloaded(folders.modulesDir, this.#watch !== null);
  }

  close(): void {
    this.#watch?.close();
    this.#types?.close();
  }

  async reload(order: ReloadOrder): Promise<ReloadReport> {
    return this.#audited(order, await this.queue.reload(order));
  }

  /** In its turn. */
  async #reload(order: ReloadOrder): Promise<ReloadReport> {
    const { notifier, isStopping, running: find, prepare } = this.#owner;
    const isRetry = order.source === "tried again";
    const running = find();
    if (running === null) return STARTING;
    if (isStopping()) return refusedReport("The server is stopping.", "There is nothing to be done.");
    await prepare();
    if (!isRetry) notifier.reloading();
    let told = "ERR the reload failed by a bug in hrmr; the log has it";
    let report: ReloadReport;
    try {
      report = await orRefused(() => this.#reloadRunning(running, order));
      await running.history.note(running.group.approved(), order);
      told = report.text.split("\n", 1)[0] ?? "";
    } finally {
      // In any case: systemd would otherwise wait for its end for ever.
      if (!isRetry) notifier.ready(told);
    }
    await running.retries.reloaded();
    this.#watch?.reloaded();
    this.#renewTypes(running);
    // The retries log a failed try in one line.
    if (isRetry && !report.ok) return report;
    if (order.source === "saved" && report.ok && report.modules.length === 0) return report;
    const text = `${logPrefix(order)}${report.text}`;
    if (report.ok && report.modules.length > 0) running.log.info(text);
    // Clients may send RELOAD without end. Numbers (of connections, of milliseconds) must not make new kinds.
    else running.log.bounded(report.ok ? "info" : "error", text.replaceAll(/\d+/g, "N"))?.(text);
    return report;
  }

  /** @throws UserError when nothing was reloaded */
  async #reloadRunning(running: Reloadable, order: ReloadOrder): Promise<ReloadReport> {
    const next = isForConfig(order) ? await this.#owner.resolve() : null;
    // The modules need not be looked at again when nothing is new.
    const isNew = next !== null && !Bun.deepEquals(next.options, running.config.options);
    const refused = isNew ? restartOnlyChanges(running.config.options, next.options) : [];
    if (refused.length > 0) return cannotChange(refused);
    const report = await running.group.reload(isNew ? { ...order, next: next.options } : order);
    if (next !== null) await this.#reconfigured(running, next);
    return isNew ? { ...report, hasChanged: true } : report;
  }

  /** The group has put the new values into the options that everybody reads from. */
  async #reconfigured(running: Reloadable, next: ResolvedConfig): Promise<void> {
    const told = running.config.notes;
    running.config = { ...next, options: running.config.options };
    keepSecrets(running.config);
    const { log, config } = running;
    // Of .env: a start tells them, too.
    for (const note of next.notes.filter((each) => !told.includes(each))) log.warn(note);
    log.reconfigure(config.options.log);
    log.reopen();
    this.#watchIfWanted(running);
    await this.#owner.reconfigured();
  }

  // ---- going back ----

  rollback(name: string, version: string | null): Promise<ReloadReport> {
    return this.queue.run(() =>
      orRefused(async () => {
        const stored = this.#owner.running()?.history.choose(name, version);
        return stored === undefined ? STARTING : await this.#reload(rollbackTo(stored));
      }),
    );
  }

  /** A version has failed. @returns whether another one serves in its place */
  bringBack(condemned: Condemned): Promise<boolean> {
    return this.queue.run(async () => {
      const { log, history } = this.#owner.running() as Reloadable;
      const { name, number, reason } = condemned;
      const stored = history.chooseFor(condemned);
      const about = log.withFields({ module: name, generation: number });
      if (stored === null) {
        if (history.serves(name, number)) about.error(`${reason}; there is no version to go back to`);
        return !history.serves(name, number);
      }
      about.error(`${reason}: v${stored.of} comes back`);
      const order = rollbackTo(stored);
      return this.#audited(order, await this.#reload(order)).ok;
    });
  }

  // ---- watching ----

  #watchIfWanted(running: Reloadable): void {
    const isWanted = running.config.options.watch && !this.#owner.isStopping();
    if (!isWanted) this.#watch?.close();
    if (isWanted && this.#watch !== null) return;
    this.#watch = isWanted ? this.#beginWatch(running) : null;
  }

  #beginWatch(running: Reloadable): Watch {
    const { folders, group, log } = running;
    const reload = (source: "saved" | "--watch"): void => void this.reload({ ...EVERYTHING, source, by: WATCHER });
    const cwd = workingFolder();
    return new Watch({
      modulesDir: folders.modulesDir,
      inputs: () => group.inputs(),
      configFiles: () => watchedConfigFiles(running.config.file, cwd, CONFIG_FILES),
      modulesChanged: () => reload("saved"),
      configChanged: () => reload("--watch"),
      failed: (folder, error) => log.error(`Cannot watch ${folder}: ${error.message}. Send RELOAD after a change.`),
    });
  }

  /** Notes a reload that the control API does not note itself. */
  #audited({ by, names, source }: ReloadOrder, report: ReloadReport): ReloadReport {
    const audit = this.#owner.audit();
    const action = source === "probation" ? "rollback" : "reload";
    if (by !== null && audit !== null) noteOutcome(audit, { by, action, modules: names }, report);
    return report;
  }
}

function cannotChange(keys: readonly string[]): ReloadReport {
  const names = keys.join(", ");
  return refusedReport(
    `the configuration was not reloaded: ${names} cannot change while the server runs, and nothing was changed.`,
    `Put ${keys.length === 1 ? "it" : "them"} back, or stop the server and start it again.`,
  );
}
