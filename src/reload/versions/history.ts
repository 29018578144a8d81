/**
 * The versions that this server serves and has served. Writes changes down, answers operators, and chooses versions for
 * rollbacks. Only the master has it, so that there is one writer.
 */
import type { Options } from "../../config/options";
import { UserError } from "../../config/user-error";
import type { VersionReport } from "../operations";
import type { ApprovedModule } from "./approved";
import { holdText } from "./hold";
import { share } from "./probation";
import { keptPath } from "./files";
import { VersionStore } from "./store";
import {
  type Condemned,
  findVersion,
  identityOfRecord,
  type StoredVersion,
  versionBefore,
  type VersionRecord,
} from "./versions";
import type { ServerLog } from "../../observe/log/log";
import type { ProcessSnapshot, RollbackCounts } from "../../observe/snapshot";
import { Probations } from "./probations";
import { EVERYTHING, mustLast, type ReloadOrder } from "../order";

interface HistoryOwner {
  readonly options: Options;
  readonly stateDir: string;
  readonly log: ServerLog;
  snapshots(): Promise<ProcessSnapshot[]>;
  /** Replaces version `number` of a module by the one before it, if it still serves. */
  bringBack(condemned: Condemned): Promise<boolean>;
}

/** The answer of a reload leaves first. In milliseconds. */
const FLUSH_AFTER_MS = 10;

export class History {
  /** The versions that the start begins with; null: it reads the modules folder. */
  readonly resumed: readonly ApprovedModule[] | null;
  readonly #owner: HistoryOwner;
  readonly #store: VersionStore;
  readonly #probations: Probations;
  /** The number of the serving version, by module. */
  readonly #serving = new Map<string, number>();
  readonly #rollbacks = { asked: 0, automatic: 0 };
  #flushTimer: Timer | null = null;

  private constructor(owner: HistoryOwner, store: VersionStore) {
    this.#owner = owner;
    this.#store = store;
    this.resumed = owner.options.resume ? store.approved : null;
    this.#probations = new Probations({
      limits: () => owner.options.versions,
      snapshots: owner.snapshots,
      passed: (name, number) => this.#passed(name, number),
      failed: (condemned) => void owner.bringBack(condemned),
    });
  }

  /** Reads the records in the state folder. */
  static async open(owner: HistoryOwner): Promise<History> {
    return new History(owner, await VersionStore.open(owner.stateDir, (text) => owner.log.warn(text)));
  }

  /**
   * The facts that a starting process needs about modules that have served before: their numbers, and held-back
   * versions.
   */
  remembered(): Record<string, ApprovedModule> {
    const approved = new Map(this.#store.approved?.map((module) => [module.name, module]));
    const names = new Set([...approved.keys(), ...this.#store.names]);
    return Object.fromEntries([...names].map((name) => [name, this.#rememberedModule(name, approved.get(name))]));
  }

  #rememberedModule(name: string, approved: ApprovedModule | undefined): ApprovedModule {
    const lastNumber = this.#store.lastNumber(name);
    if (approved !== undefined && approved.version !== null) return { ...approved, lastNumber };
    const last = this.#store.records(name).at(-1);
    const version = last === undefined ? null : { ...last, file: keptPath(this.#store.stateDir, name, last.hash) };
    return {
      name,
      source: last?.source ?? "",
      isImplicit: false,
      error: null,
      hold: null,
      ...approved,
      version,
      lastNumber,
    };
  }

  // ---- writing down ----

  /** Records the result of a start. A version that was on probation when the server ended is so again, if it serves. */
  async begin(approved: readonly ApprovedModule[]): Promise<void> {
    await this.note(approved, EVERYTHING);
    await this.settle();
    if (this.#owner.options.versions.probationMs === 0) return;
    for (const [name, number] of this.#serving) {
      const record = this.#store.records(name).find((each) => each.number === number);
      if (record?.verdict === "probation") this.#probations.begin(name, number);
    }
  }

  /**
   * Records the serving versions after a reload. When this resolves, the end of this process cannot lose the record.
   * For an order that `mustLast`, a power cut cannot either. Never rejects: a full disk stops no reload.
   */
  async note(approved: readonly ApprovedModule[], order: ReloadOrder): Promise<void> {
    try {
      for (const module of approved) if (!module.isImplicit) this.#noteModule(module, order);
      this.#store.approve(approved);
      if (mustLast(order)) await this.#store.flush();
    } catch (error) {
      this.#tellUnwritten(error);
    }
    this.#flushSoon();
    const there = new Set(approved.map(({ name }) => name));
    for (const name of this.#serving.keys()) if (!there.has(name)) this.#forget(name);
    for (const { name, version } of approved) if (version !== null) this.#serving.set(name, version.number);
  }

  #tellUnwritten(error: unknown): void {
    this.#owner.log.error(
      `The serving versions could not be written to ${this.#store.stateDir}: a start with --resume will not find them.`,
      error,
    );
  }

  /** Writes the store's files behind the answer. Several reloads share one write. */
  #flushSoon(): void {
    this.#flushTimer ??= setTimeout(() => void this.settle(), FLUSH_AFTER_MS);
  }

  /**
   * Everything noted so far is on the disk when this resolves. Never rejects: a failure is logged.
   *
   * @param isLast  true: the process ends, or another one reads the files. Default false
   */
  async settle(isLast = false): Promise<void> {
    if (this.#flushTimer !== null) clearTimeout(this.#flushTimer);
    this.#flushTimer = null;
    try {
      await this.#store.flush(isLast);
    } catch (error) {
      this.#tellUnwritten(error);
    }
  }

  /** The state folder was deleted. @throws Error as writing does */
  async renew(): Promise<void> {
    await this.#store.rewrite();
  }

  #forget(name: string): void {
    this.#serving.delete(name);
    this.#probations.end(name);
  }

  #noteModule({ name, source, version }: ApprovedModule, order: ReloadOrder): void {
    const records = this.#store.records(name);
    if (version === null || records.findLast(({ number }) => number === version.number) !== undefined) return;
    const { keep, probationMs } = this.#owner.options.versions;
    const former = this.#serving.get(name) ?? null;
    const again = order.versions[name];
    const isPushed = order.source === "push" && order.names?.includes(name) === true;
    const isResume = this.#serving.size === 0 && this.resumed !== null;
    const isOnProbation = former !== null && again === undefined && probationMs > 0;
    const record: VersionRecord = {
      number: version.number,
      hash: version.hash,
      at: new Date().toISOString(),
      from: again !== undefined ? "rollback" : isPushed ? "push" : isResume ? "resume" : "disk",
      of: again?.of ?? null,
      source,
      config: version.config,
      verdict: isOnProbation ? "probation" : "good",
      reason: null,
    };
    const settled = records.map((each) => (each.number === former ? this.#settle(name, each, again) : each));
    this.#probations.end(name);
    this.#store.save(name, [...settled, record], keep, { [version.hash]: version.file });
    if (isOnProbation) this.#probations.begin(name, version.number);
  }

  /** The record of a replaced version, with its standing. */
  #settle(name: string, record: VersionRecord, again: StoredVersion | undefined): VersionRecord {
    if (again !== undefined) {
      const { condemned } = again;
      this.#rollbacks[condemned === null ? "asked" : "automatic"]++;
      return { ...record, verdict: condemned?.standing ?? "rolled back", reason: condemned?.reason ?? null };
    }
    if (record.verdict !== "probation") return record;
    const counts = this.#probations.countsOf(name, record.number);
    const isBad = share(counts) > this.#owner.options.versions.maxErrorShare;
    return isBad
      ? { ...record, reason: `${counts.errors} of ${counts.calls} calls failed` }
      : { ...record, verdict: "good" };
  }

  #passed(name: string, number: number): void {
    const records = this.#store
      .records(name)
      .map((each) => (each.number === number ? { ...each, verdict: "good" as const } : each));
    try {
      this.#store.save(name, records, this.#owner.options.versions.keep);
      this.#store.approve(this.#store.approved ?? []);
    } catch (error) {
      this.#owner.log.error(`The standing of ${name} v${number} could not be written:`, error);
    }
    this.#flushSoon();
  }

  // ---- going back ----

  /**
   * The version that `hrmr rollback` means.
   *
   * @param wanted a number or a hash; null: the last good one before the serving one
   * @param condemned the failure of the serving version; null: a user asked for another one
   * @throws UserError NO_VERSION, or SAME_VERSION if it serves already
   */
  choose(name: string, wanted: string | null, condemned: Condemned | null = null): StoredVersion {
    const records = this.#store.records(name);
    const live = this.#serving.get(name) ?? null;
    const serving = records.find(({ number }) => number === live);
    const record = wanted === null ? versionBefore(records, live) : findVersion(name, records, wanted);
    if (record === null) throw this.#noEarlier(name, live);
    if (serving !== undefined && identityOfRecord(serving) === identityOfRecord(record)) {
      throw new UserError(`Module "${name}" serves v${live}, which is the same as v${record.number}.`, {
        code: "SAME_VERSION",
        hint: `\`hrmr versions ${name}\` lists the others.`,
      });
    }
    const { hash, source, config } = record;
    return {
      name,
      of: record.of ?? record.number,
      hash,
      source,
      config,
      file: keptPath(this.#store.stateDir, name, hash),
      condemned,
    };
  }

  #noEarlier(name: string, live: number | null): UserError {
    if (live === null) {
      const hint = "`hrmr versions` lists the modules that have one.";
      return new UserError(`No version of a module "${name}" is kept.`, { code: "NO_VERSION", hint });
    }
    const hint = `\`hrmr versions ${name}\` lists those that are kept.`;
    return new UserError(`No good version of module "${name}" before v${live} is kept.`, { code: "NO_VERSION", hint });
  }

  /**
   * The replacement of a failed version, if that still serves and is not itself the result of a rollback: no going back
   * and forth.
   */
  chooseFor(condemned: Condemned): StoredVersion | null {
    const { name, number } = condemned;
    const records = this.#store.records(name);
    const serving = records.find((record) => record.number === number);
    if (this.#serving.get(name) !== number || serving === undefined || serving.from === "rollback") return null;
    return versionBefore(records, number) === null ? null : this.choose(name, null, condemned);
  }

  /**
   * Call it when the host of a version has died.
   *
   * @param isLoop it dies again and again: the version has to go even without probation
   * @returns whether another version serves in its place now
   */
  async crashed(name: string, number: number, reason: string, isLoop: boolean): Promise<boolean> {
    const count = this.#probations.crashed(name, number);
    if (!isLoop && count < this.#owner.options.versions.maxCrashes) return false;
    const times = isLoop ? "it crashed again and again" : `it crashed ${count} times`;
    return await this.#owner.bringBack({ name, number, standing: "crashed", reason: `${times}: ${reason}` });
  }

  serves(name: string, number: number): boolean {
    return this.#serving.get(name) === number;
  }

  // ---- telling ----

  /** @param name  null: all modules */
  versions(name: string | null): Record<string, VersionReport[]> {
    const names = name === null ? this.#store.names : [name];
    return Object.fromEntries(
      names.map((each) => [each, this.#store.records(each).map((record) => this.#report(each, record))]),
    );
  }

  /** Without the settings, which may hold secrets. */
  #report(name: string, { number, hash, at, from, of, source, verdict, reason }: VersionRecord): VersionReport {
    const isLive = this.#serving.get(name) === number;
    return { number, hash, at, from, of, source, verdict, reason, isLive, isKept: this.#store.isKept(name, hash) };
  }

  get rollbacks(): RollbackCounts {
    return { ...this.#rollbacks };
  }

  /** For status, by module. */
  notes(): Record<string, string[]> {
    const notes = (this.#store.approved ?? []).map(({ name, hold }): [string, string[]] => {
      const probation = this.#probations.textOf(name);
      return [name, [...(hold === null ? [] : [holdText(name, hold)]), ...(probation === null ? [] : [probation])]];
    });
    return Object.fromEntries(notes.filter(([, texts]) => texts.length > 0));
  }

  /** Nothing is written any more, except by `settle`. */
  close(): void {
    this.#probations.close();
    if (this.#flushTimer !== null) clearTimeout(this.#flushTimer);
    this.#flushTimer = null;
  }
}
