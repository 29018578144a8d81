/**
 * The versions that have served, on the disk: `versions/MODULE/` with an index and bundles, and `approved.json` with
 * the serving ones. One process of a server writes it, and passes the facts on to the others.
 */
import { existsSync, readdirSync } from "node:fs";
import { dirname } from "node:path";
import { syncFolderLater } from "../../system/durable";
import type { ApprovedModule } from "./approved";
import type { VersionRecord } from "./versions";
import {
  approvedPath,
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

export class VersionStore {
  readonly stateDir: string;
  /** The versions that served last; null: nothing has been kept yet. */
  approved: readonly ApprovedModule[] | null = null;
  readonly #indexes = new Map<string, Index>();
  #written: readonly ApprovedModule[] | null = null;
  /** Bundles and indexes that are written but may not be on the disk yet. */
  readonly #fresh = new Set<string>();

  private constructor(stateDir: string) {
    this.stateDir = stateDir;
  }

  /** @param warn called for damaged files, which count as missing */
  static async open(stateDir: string, warn: (text: string) => void): Promise<VersionStore> {
    const store = new VersionStore(stateDir);
    const folder = versionsDir(stateDir);
    for (const name of existsSync(folder) ? readdirSync(folder) : []) {
      const index = await readWhole(indexPath(stateDir, name), isIndex, warn);
      if (index !== null) store.#indexes.set(name, index);
    }
    store.approved = store.#written = (await readWhole(approvedPath(stateDir), isApprovedFile, warn))?.modules ?? null;
    return store;
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
   * Replaces the records of a module's versions. Keeps the last `keep` of them, with their bundles.
   *
   * @param bundles the present paths of new versions' bundles, by hash
   */
  async save(
    name: string,
    records: readonly VersionRecord[],
    keep: number,
    bundles: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const versions = records.slice(-keep);
    for (const { hash } of versions) {
      const file = bundles[hash];
      if (file !== undefined) this.#fresh.add(keepBundle(this.stateDir, name, hash, file));
    }
    const lastNumber = Math.max(this.lastNumber(name), ...versions.map(({ number }) => number));
    const index = { format: FORMAT, lastNumber, versions };
    this.#indexes.set(name, index);
    // If this write is lost, the numbers still continue: `approved.json` has the last one too.
    await writeJson(indexPath(this.stateDir, name), index, null);
    this.#fresh.add(indexPath(this.stateDir, name));
    pruneKept(this.stateDir, name, new Set(versions.map(({ hash }) => hash)));
  }

  /** Records the serving versions. When this resolves, a start with --resume begins with them. */
  async approve(approved: readonly ApprovedModule[]): Promise<void> {
    this.approved = approved;
    if (Bun.deepEquals(approved, this.#written, true)) return;
    const synced = syncAll([...this.#fresh], versionsDir(this.stateDir));
    // The write that waits for it reports a failure, unless that fails first.
    synced.catch(() => {});
    this.#fresh.clear();
    await writeJson(approvedPath(this.stateDir), { format: FORMAT, modules: approved }, synced);
    this.#written = approved;
  }

  /** Writes the indexes again after the folder was deleted. Only the bundles that serve are kept. */
  async rewrite(): Promise<void> {
    for (const [name, index] of this.#indexes) await writeJson(indexPath(this.stateDir, name), index, null);
    this.#written = null;
    if (this.approved !== null) await this.approve(this.approved);
  }

  /** Whether the version's bundle is kept. */
  isKept(name: string, hash: string): boolean {
    return existsSync(keptPath(this.stateDir, name, hash));
  }
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
    warn(`${path} is not what this version of hrmr writes, and is passed over.`);
  } catch (error) {
    warn(`${path} cannot be read, and is passed over: ${error instanceof Error ? error.message : String(error)}`);
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
