/**
 * Exchanges a module's files. The modules folder always holds the old files or the new ones, complete. New files are
 * written beside it, old ones are kept until the new ones have loaded, and after a crash a journal says what to put
 * back.
 */
import {
  chmodSync,
  linkSync,
  lstatSync,
  readdirSync,
  readFileSync,
  lutimesSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { chown, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UserError } from "../../config/user-error";
import { syncFolder, syncFolderLater } from "../../system/files/durable";
import { makePrivateFolder } from "../../system/private-files";
import { leadsTo } from "../../module/build/links";
import { findEntries, type FolderEntry } from "./entries";
import { StagingFolder } from "./staging-folder";
import type { Layout, ModuleContent } from "./names";

export interface StagingFolders {
  readonly modulesDir: string;
  readonly stateDir: string;
}

/** One entry of the modules folder that is replaced, made or removed. */
interface Slot {
  /** "greet.ts", or "greet". */
  readonly entry: string;
  readonly isFolder: boolean;
  readonly hadOld: boolean;
  readonly hasNew: boolean;
  /** The last access and last change of an old folder, in seconds. Moving its packages changes them. */
  readonly times: readonly [number, number] | null;
}

/** The content of the journal. */
interface Journal {
  readonly module: string;
  readonly modulesDir: string;
  readonly staging: string;
  readonly slots: readonly Slot[];
}

const JOURNAL = "upload.json";
/** In the modules folder, since only there a rename always works. It is not a module, and `--watch` ignores it. */
const STAGING_HOME = ".hrmr";
/** The packages of a folder module: never sent, and kept. */
const PACKAGES = "node_modules";

/** A prepared exchange of a module's files, or their removal. A server has one at a time. */
export class Exchange {
  readonly #folders: StagingFolders;
  readonly #folder: StagingFolder;
  /** `staging` leads to the open folder. */
  readonly #journal: Journal;
  #isStuck = false;

  private constructor(folders: StagingFolders, folder: StagingFolder, journal: Journal) {
    this.#folders = folders;
    this.#folder = folder;
    this.#journal = { ...journal, staging: folder.path };
  }

  /**
   * Writes the new files beside the module's, which stay unchanged.
   *
   * @param layout null: remove the module
   * @throws UserError UPLOAD_TARGET for an entry that must not be replaced; UPLOAD_UNWRITABLE
   */
  static async prepare(
    { modulesDir: named, stateDir }: StagingFolders,
    module: string,
    layout: Layout | null,
  ): Promise<Exchange> {
    // An earlier exchange could not be undone: its old files must not be lost.
    recoverExchange({ modulesDir: named, stateDir });
    // Follow links once, here: files that are put back must not land in another release.
    const modulesDir = leadsTo(named) || named;
    const folders = { modulesDir, stateDir };
    let staging: StagingFolder | null = null;
    try {
      await mkdir(modulesDir, { recursive: true });
      const slots = slotsFor(findEntries(modulesDir, module, layout), layout);
      staging = StagingFolder.make(stagingOf(folders));
      makePrivateFolder(join(staging.path, "old"));
      makePrivateFolder(join(staging.path, "new"));
      for (const file of layout?.files ?? []) await writeNew(folders, staging.path, file);
      await syncStaged(modulesDir, staging);
      const journal = { module, modulesDir, staging: staging.named, slots };
      await writeJournal(folders, journal);
      return new Exchange(folders, staging, journal);
    } catch (cause) {
      // The next exchange removes remains. Report the first failure.
      await clear(folders, staging).catch(() => {});
      throw cause instanceof UserError ? cause : unwritable(modulesDir, cause as NodeJS.ErrnoException);
    }
  }

  /** Puts the new files in place. @throws UserError UPLOAD_UNWRITABLE; the old ones are back then */
  apply(): void {
    try {
      for (const slot of this.#journal.slots) exchange(this.#journal, slot);
    } catch (cause) {
      this.undo();
      throw unwritable(this.#folders.modulesDir, cause as NodeJS.ErrnoException);
    }
  }

  /** Puts the old files back, the same inodes. @throws UserError UPLOAD_STUCK if it fails: the old files are kept */
  undo(): void {
    try {
      putBack(this.#journal);
    } catch (cause) {
      this.#isStuck = true;
      throw stuck({ ...this.#journal, staging: this.#folder.named }, cause as NodeJS.ErrnoException);
    }
  }

  /** Ends the exchange; the files in place stay. Does nothing while old files wait to be put back. */
  async close(): Promise<void> {
    // The journal tells the next exchange about the files.
    if (this.#isStuck) return this.#folder.close();
    // First the folders, then the journal: without a journal, the old files cannot be put back.
    for (const folder of touchedBy(this.#journal)) await syncFolderLater(folder);
    await clear(this.#folders, this.#folder);
  }
}

/**
 * Call it at the start, with the state folder's lock held. Puts the old files back if a server was killed in the middle
 * of an exchange.
 *
 * @returns the module whose files were put back; null: none
 * @throws UserError UPLOAD_STUCK
 */
export function recoverExchange(folders: StagingFolders): string | null {
  const journal = readJournal(folders);
  if (journal === null && !isThere(stagingOf(folders))) return null;
  const named = journal?.staging ?? stagingOf(folders);
  try {
    const staging = StagingFolder.find(named);
    if (journal !== null && staging !== null) {
      const opened = { ...journal, staging: staging.path };
      putBack(opened);
      for (const folder of touchedBy(opened)) syncFolder(folder);
    }
    clearNow(folders, staging);
  } catch (cause) {
    throw stuck({ module: journal?.module ?? "", staging: named }, cause as NodeJS.ErrnoException);
  }
  return journal?.module ?? null;
}

/** Each server that shares a modules folder has its own folder in it. */
function stagingOf({ modulesDir, stateDir }: StagingFolders): string {
  const owner = new Bun.CryptoHasher("sha256").update(stateDir).digest("hex").slice(0, 8);
  return join(modulesDir, STAGING_HOME, `upload-${owner}`);
}

function slotsFor(entries: readonly FolderEntry[], layout: Layout | null): Slot[] {
  const old = entries.map(({ entry, isFolder, times }) => ({
    entry,
    isFolder,
    hadOld: true,
    hasNew: entry === layout?.entry,
    times,
  }));
  if (layout === null || old.some(({ hasNew }) => hasNew)) return old;
  return [...old, { entry: layout.entry, isFolder: layout.isFolder, hadOld: false, hasNew: true, times: null }];
}

/**
 * With the permissions of the replaced file. A server that runs as root gives it to the owner of the modules folder.
 */
async function writeNew(
  { modulesDir }: StagingFolders,
  staging: string,
  { path, bytes }: ModuleContent,
): Promise<void> {
  const target = join(staging, "new", path);
  await mkdir(dirname(target), { recursive: true });
  const file = await open(target, "wx", 0o644);
  try {
    await file.writeFile(bytes);
    const old = lstatSync(join(modulesDir, path), { throwIfNoEntry: false });
    if (old?.isFile() === true) await file.chmod(old.mode & 0o777);
    await file.sync();
  } finally {
    await file.close();
  }
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = statSync(modulesDir);
  const steps = path.split("/");
  for (const at of steps.keys()) await chown(join(staging, "new", ...steps.slice(0, at + 1)), uid, gid);
}

/** `putBack` relies on this order: move the old away, its packages over, the new in. */
function exchange({ modulesDir, staging }: Journal, { entry, isFolder, hadOld, hasNew }: Slot): void {
  const path = join(modulesDir, entry);
  const old = join(staging, "old", entry);
  const fresh = join(staging, "new", entry);
  if (hadOld) putAside(path, old, !isFolder && hasNew);
  if (!hasNew) return;
  if (isFolder && hadOld) {
    // Another user of the modules folder may have put a link in its place meanwhile.
    if (!lstatSync(old).isDirectory()) throw new Error(`${entry} is not a folder any more`);
    chmodSync(fresh, statSync(old).mode & 0o7777);
    move(join(old, PACKAGES), join(fresh, PACKAGES));
  }
  renameSync(fresh, path);
}

/** @param isReplaced another file will be renamed over it, so that its name always has a file */
function putAside(path: string, old: string, isReplaced: boolean): void {
  if (isReplaced) {
    try {
      return linkSync(path, old);
    } catch {
      // Not every file system has hard links.
    }
  }
  renameSync(path, old);
}

/** Undoes the part that was done. May be called again after an interruption. */
function putBack(journal: Journal): void {
  for (const slot of [...journal.slots].reverse()) putSlotBack(journal, slot);
}

function putSlotBack({ modulesDir, staging }: Journal, { entry, isFolder, hadOld, hasNew, times }: Slot): void {
  const path = join(modulesDir, entry);
  const old = join(staging, "old", entry);
  const fresh = join(staging, "new", entry);
  // The old one was not moved, or is already back.
  if (hadOld && !isThere(old)) return;
  const isIn = hasNew && isThere(path) && !isThere(fresh);
  // An old file is renamed over the new one.
  if (isIn && (isFolder || !hadOld)) renameSync(path, fresh);
  if (!hadOld) return;
  if (isFolder && hasNew) move(join(fresh, PACKAGES), join(old, PACKAGES));
  renameSync(old, path);
  if (times !== null) lutimesSync(path, ...times);
}

function move(from: string, to: string): void {
  if (isThere(from) && !isThere(to)) renameSync(from, to);
}

function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return false;
    throw error;
  }
}

/** On the disk before anything is moved. */
async function writeJournal({ stateDir }: StagingFolders, journal: Journal): Promise<void> {
  const path = join(stateDir, JOURNAL);
  makePrivateFolder(stateDir);
  const file = await open(`${path}.new`, "w", 0o600);
  try {
    await file.writeFile(JSON.stringify(journal));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  await syncFolderLater(stateDir);
}

/** Syncs the names of the staged files, up to the modules folder. Their bytes are on the disk already. */
async function syncStaged(modulesDir: string, { path: staging, named }: StagingFolder): Promise<void> {
  const within = readdirSync(join(staging, "new"), { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  );
  const folders = within.map(({ parentPath, name }) => join(parentPath, name)).reverse();
  for (const folder of [...folders, join(staging, "new"), staging, dirname(named), modulesDir, dirname(modulesDir)]) {
    await syncFolderLater(folder);
  }
}

/** The folders in which an exchange, or undoing it, made, moved or removed files. */
function touchedBy({ modulesDir, staging, slots }: Journal): string[] {
  const packages = slots
    .filter(({ isFolder }) => isFolder)
    .flatMap(({ entry }) => [join(modulesDir, entry), join(staging, "old", entry)]);
  return [modulesDir, join(staging, "old"), join(staging, "new"), ...packages].filter((folder) => isThere(folder));
}

/** It belongs to this user, and is complete or missing. */
function readJournal({ stateDir }: StagingFolders): Journal | null {
  try {
    return JSON.parse(readFileSync(join(stateDir, JOURNAL), "utf8")) as Journal;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** The journal first: from then on the files in place count. */
async function clear({ stateDir }: StagingFolders, staging: StagingFolder | null): Promise<void> {
  await rm(join(stateDir, JOURNAL), { force: true });
  await syncFolderLater(stateDir);
  end(staging);
}

function clearNow({ stateDir }: StagingFolders, staging: StagingFolder | null): void {
  rmSync(join(stateDir, JOURNAL), { force: true });
  syncFolder(stateDir);
  end(staging);
}

function end(staging: StagingFolder | null): void {
  try {
    staging?.remove();
  } finally {
    staging?.close();
  }
}

function unwritable(modulesDir: string, cause: NodeJS.ErrnoException): UserError {
  return new UserError(`The modules folder ${modulesDir} could not be changed (${cause.code ?? cause.message}).`, {
    code: "UPLOAD_UNWRITABLE",
    hint: "The files in it are as they were. Give the server's user the right to write to it, and see that its disk has room.",
    cause,
  });
}

function stuck({ module, staging }: Pick<Journal, "module" | "staging">, cause: NodeJS.ErrnoException): UserError {
  return new UserError(
    `The old files of the module "${module}" could not be put back (${cause.code ?? cause.message}).`,
    {
      code: "UPLOAD_STUCK",
      hint: `They are in ${join(staging, "old")}. See that the modules folder can be written: the next upload and the next start try again.`,
      cause,
    },
  );
}
