/**
 * The versions that have served, on the disk: `versions/MODULE/` with an index and bundles, `approved.json` with the
 * serving ones, and a journal of changes that are not in these files yet. One process of a server writes it, and passes
 * the facts on to the others.
 */
import { existsSync, readdirSync } from "node:fs";
import { dirname } from "node:path";
import { syncFolderLater } from "../../system/files/durable";
import type { ApprovedModule } from "./approved";
import { Journal, type StoreChange } from "./journal";
import type { VersionRecord } from "./versions";
import {
  approvedPath,
  findBundle,
  indexPath,
  keepBundle,
  keptPath,
  pruneKept,
  readJson,
  syncFile,
  versionsDir,
  writeJson,
} from "./files";

/** The format of the files. Files of another format are ignored: numbers begin again, and the disk decides the rest. */
const FORMAT = 1;

interface Index {
  readonly format: number;
  readonly lastNumber: number;
  /** Oldest first. */
  readonly versions: readonly VersionRecord[];
}

interface ApprovedFile {
  readonly format: number;
  readonly modules: readonly ApprovedModule[];
}

/** `approved.json` of up to this size is written with each flush. A larger one waits until the journal is as long. */
const SMALL_BYTES = 65_536;

export class VersionStore {
  readonly stateDir: string;
  /** The versions that served last; null: nothing has been kept yet. */
  approved: readonly ApprovedModule[] | null = null;
  readonly #indexes = new Map<string, Index>();
  readonly #journal: Journal;
  /** The length of `approved.json` when it was last written. */
  #approvedBytes = 0;
  /** Saved records that are not in the journal yet, by module. */
  readonly #unsaid = new Map<string, readonly VersionRecord[]>();
  /** Modules whose index has to be written. */
  readonly #stale = new Set<string>();
  /** Bundles and indexes that are written but may not be on the disk yet. */
  readonly #fresh = new Set<string>();
  /** Whether `approved.json` lacks something that the journal does not have either. */
  #isBehind = false;
  #flushing: Promise<void> = Promise.resolve();

  private constructor(stateDir: string) {
    this.stateDir = stateDir;
    this.#journal = new Journal(stateDir);
  }

  /** @param warn called for damaged files, which count as missing, and for a journal with a damaged end */
  static async open(stateDir: string, warn: (text: string) => void): Promise<VersionStore> {
    const store = new VersionStore(stateDir);
    const folder = versionsDir(stateDir);
    for (const name of existsSync(folder) ? readdirSync(folder) : []) {
      const index = await readWhole(indexPath(stateDir, name), isIndex, warn);
      if (index !== null) store.#indexes.set(name, index);
    }
    store.approved = (await readWhole(approvedPath(stateDir), isApprovedFile, warn))?.modules ?? null;
    store.#replay(warn);
    return store;
  }

  /** Adds what the journal has. The next `flush` moves it to the other files. */
  #replay(warn: (text: string) => void): void {
    const { path } = this.#journal;
    const { changes, droppedBytes } = this.#journal.read();
    const end = changes.findIndex((change) => !isChange(change) || !this.#hasBundles(change));
    const whole = (end < 0 ? changes : changes.slice(0, end)) as StoreChange[];
    for (const change of whole) this.#add(change);
    this.#isBehind = changes.length > 0 || droppedBytes > 0;
    if (whole.length < changes.length) {
      // No version may get the number of a lost one.
      for (const lost of changes.slice(whole.length)) if (isChange(lost)) this.#keepNumbers(lost);
      const lost = changes.length - whole.length;
      warn(
        `${path}: the bundles of the last ${lost === 1 ? "reload" : `${lost} reloads`} did not reach the disk. The versions before them are used.`,
      );
    }
    if (droppedBytes > 0) warn(`${path}: the last ${droppedBytes} bytes were not written completely, and are dropped.`);
  }

  /** After a power cut a line may be on the disk, and its bundles may not. */
  #hasBundles({ modules }: StoreChange): boolean {
    return modules.every(
      ({ name, version, isImplicit }) =>
        version === null || isImplicit || findBundle(this.stateDir, name, version.hash, version.file) !== null,
    );
  }

  #add({ modules, gone, records }: StoreChange): void {
    const approved = new Map(this.approved?.map((module) => [module.name, module]));
    for (const name of gone) approved.delete(name);
    for (const module of modules) {
      approved.set(module.name, module);
      this.#keepAgain(module);
    }
    this.approved = [...approved.values()];
    for (const [name, changed] of Object.entries(records)) {
      const all = new Map([...this.records(name), ...changed].map((record) => [record.number, record]));
      this.#setIndex(
        name,
        [...all.values()].toSorted((a, b) => a.number - b.number),
      );
    }
  }

  /** The name of a kept bundle may be lost after a power cut, while the name that it was built under is there. */
  #keepAgain({ name, version, isImplicit }: ApprovedModule): void {
    if (version === null || isImplicit) return;
    const file = findBundle(this.stateDir, name, version.hash, version.file);
    if (file !== null) this.#fresh.add(keepBundle(this.stateDir, name, version.hash, file));
  }

  #keepNumbers({ modules }: StoreChange): void {
    const numbers = new Map(modules.map(({ name, lastNumber }) => [name, lastNumber]));
    const known = this.approved ?? [];
    this.approved = known.map((module) => ({
      ...module,
      lastNumber: Math.max(module.lastNumber, numbers.get(module.name) ?? 0),
    }));
  }

  /** Modules with kept versions, loaded or not. */
  get names(): string[] {
    return [...this.#indexes.keys()];
  }

  /** Oldest first. */
  records(name: string): readonly VersionRecord[] {
    return this.#indexes.get(name)?.versions ?? [];
  }

  /** The highest number that a version of the module has had; 0: none. */
  lastNumber(name: string): number {
    const approved = this.approved?.find((module) => module.name === name);
    return Math.max(0, this.#indexes.get(name)?.lastNumber ?? 0, approved?.lastNumber ?? 0);
  }

  /**
   * Replaces the records of a module's versions. Keeps the last `keep` of them, with their bundles. `approve` puts them
   * into the journal, and `flush` on the disk.
   *
   * @param bundles the present paths of new versions' bundles, by hash
   * @throws Error if a bundle cannot be kept. Nothing has changed then
   */
  save(
    name: string,
    records: readonly VersionRecord[],
    keep: number,
    bundles: Readonly<Record<string, string>> = {},
  ): void {
    const versions = records.slice(-keep);
    for (const { hash } of versions) {
      const file = bundles[hash];
      if (file !== undefined) this.#fresh.add(keepBundle(this.stateDir, name, hash, file));
    }
    const known = new Set(this.records(name));
    this.#unsaid.set(name, [...(this.#unsaid.get(name) ?? []), ...versions.filter((record) => !known.has(record))]);
    this.#setIndex(name, versions);
  }

  #setIndex(name: string, versions: readonly VersionRecord[]): void {
    const lastNumber = Math.max(this.lastNumber(name), ...versions.map(({ number }) => number));
    this.#indexes.set(name, { format: FORMAT, lastNumber, versions });
    this.#stale.add(name);
  }

  /**
   * Records the serving versions, and all that was saved. When this returns, the end of this process does not lose it;
   * once `flush` resolves, a power cut does not either.
   *
   * @throws Error if the journal cannot be written. The next `flush` writes it all the same
   */
  approve(approved: readonly ApprovedModule[]): void {
    const change = changeOf(this.approved ?? [], approved, this.#unsaid);
    this.#isBehind ||= this.approved === null;
    this.approved = approved;
    if (change === null) return;
    try {
      this.#journal.append(change);
      this.#unsaid.clear();
    } catch (error) {
      this.#isBehind = true;
      throw error;
    }
  }

  /**
   * Puts all that was approved so far on the disk. Calls take turns.
   *
   * @param isLast the journal is empty afterwards. Default false: it may keep what `approved.json` lacks
   */
  flush(isLast = false): Promise<void> {
    const flushed = this.#flushing.then(() => this.#flush(isLast));
    this.#flushing = flushed.catch(() => {});
    return flushed;
  }

  async #flush(isLast: boolean): Promise<void> {
    for (const name of this.#stale) {
      this.#stale.delete(name);
      await this.#writeIndex(name).catch((error: unknown) => {
        this.#stale.add(name);
        throw error;
      });
    }
    const journal = this.#journal;
    const isShort = journal.bytes < this.#approvedBytes && this.#approvedBytes > SMALL_BYTES;
    if (this.#isBehind || (journal.bytes > 0 && (isLast || !isShort))) return await this.#writeApproved();
    if (journal.bytes > 0) await Promise.all([this.#sync(), syncFile(journal.path)]);
  }

  async #writeIndex(name: string): Promise<void> {
    const index = this.#indexes.get(name);
    if (index === undefined) return;
    const path = indexPath(this.stateDir, name);
    // If this write is lost, the numbers still continue: `approved.json` has the last one too.
    await writeJson(path, index, null);
    this.#fresh.add(path);
    pruneKept(this.stateDir, name, new Set(index.versions.map(({ hash }) => hash)));
  }

  async #writeApproved(): Promise<void> {
    const lines = this.#journal.length;
    const synced = this.#sync();
    // The write that waits for it reports a failure, unless that fails first.
    synced.catch(() => {});
    const file = { format: FORMAT, modules: this.approved ?? [] };
    this.#isBehind = false;
    try {
      this.#approvedBytes = await writeJson(approvedPath(this.stateDir), file, synced);
    } catch (error) {
      this.#isBehind = true;
      throw error;
    }
    this.#journal.drop(lines);
  }

  /** Syncs the fresh files and their names. */
  async #sync(): Promise<void> {
    const files = [...this.#fresh];
    this.#fresh.clear();
    await syncAll(files, versionsDir(this.stateDir));
  }

  /** Writes the files again after the folder was deleted. Only the bundles that serve are kept. */
  async rewrite(): Promise<void> {
    for (const name of this.#indexes.keys()) this.#stale.add(name);
    this.#isBehind = this.approved !== null;
    await this.flush();
  }

  /** Whether the version's bundle is kept. */
  isKept(name: string, hash: string): boolean {
    return existsSync(keptPath(this.stateDir, name, hash));
  }
}

/** @returns null: nothing has changed */
function changeOf(
  before: readonly ApprovedModule[],
  after: readonly ApprovedModule[],
  records: ReadonlyMap<string, readonly VersionRecord[]>,
): StoreChange | null {
  const known = new Map(before.map((module) => [module.name, module]));
  const modules = after.filter((module) => !Bun.deepEquals(known.get(module.name), module, true));
  for (const { name } of after) known.delete(name);
  const gone = [...known.keys()];
  if (modules.length === 0 && gone.length === 0 && records.size === 0) return null;
  return { modules, gone, records: Object.fromEntries(records) };
}

/** Syncs the files and their names. Their folders may be new, and `home` too. */
async function syncAll(files: readonly string[], home: string): Promise<void> {
  if (files.length === 0) return;
  const folders = new Set([...files.map((file) => dirname(file)), home]);
  await Promise.all([...files.map(syncFile), ...[...folders].map(syncFolderLater)]);
}

async function readWhole<T>(
  path: string,
  isWhole: (value: unknown) => value is T,
  warn: (text: string) => void,
): Promise<T | null> {
  try {
    const value = await readJson(path);
    if (value === null || isWhole(value)) return value;
    warn(`${path} was not written by this version of hrmr, and is left out.`);
  } catch (error) {
    warn(`${path} cannot be read, and is left out: ${error instanceof Error ? error.message : String(error)}`);
  }
  return null;
}

function isIndex(value: unknown): value is Index {
  return (
    isObject(value) &&
    value["format"] === FORMAT &&
    Number.isSafeInteger(value["lastNumber"]) &&
    isListOf(value["versions"], isRecord)
  );
}

function isRecord(value: unknown): boolean {
  return (
    isObject(value) &&
    Number.isSafeInteger(value["number"]) &&
    typeof value["hash"] === "string" &&
    isObject(value["config"])
  );
}

function isApprovedFile(value: unknown): value is ApprovedFile {
  return isObject(value) && value["format"] === FORMAT && isListOf(value["modules"], isApproved);
}

function isChange(value: unknown): value is StoreChange {
  return (
    isObject(value) &&
    isListOf(value["modules"], isApproved) &&
    isListOf(value["gone"], (name) => typeof name === "string") &&
    isObject(value["records"]) &&
    Object.values(value["records"]).every((records) => isListOf(records, isRecord))
  );
}

function isApproved(value: unknown): boolean {
  if (!isObject(value) || typeof value["name"] !== "string" || typeof value["source"] !== "string") return false;
  const { version } = value;
  return (
    version === null || (isObject(version) && Number.isSafeInteger(version["number"]) && isObject(version["config"]))
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isListOf(value: unknown, isItem: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(isItem);
}
