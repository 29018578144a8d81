/** Moves modules' data from the state folder, where older versions kept it, to the data folder. Once. */
import { cpSync, existsSync, readdirSync, renameSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../config/user-error";
import type { Folders } from "../server/folders";
import { syncFolder, syncTree } from "../system/files/durable";
import { makePrivateFolder } from "../system/private-files";

/** The result. Names of modules. */
interface MovedData {
  readonly moved: readonly string[];
  /** The data folder has a folder of this name already, so the old one was left. */
  readonly left: readonly string[];
}

/**
 * Moves modules' data of an older version from the state folder to the data folder, with a note.
 *
 * @param isTakeover  true: the old process's modules have it open, so it stays until the next start
 * @throws UserError DATA_NOT_MOVED
 */
export function bringData(folders: Folders, isTakeover: boolean): void {
  const { stateDir, dataDir, notes } = folders;
  const old = join(stateDir, "data");
  if (old === dataDir || dataIn(old).length === 0) return;
  if (isTakeover) {
    folders.dataDir = old;
    return;
  }
  const { moved, left } = moveData(old, dataDir);
  if (moved.length > 0)
    notes.push(`The data of ${moved.join(", ")} was moved from ${old} to ${dataDir}, where it is kept from now on.`);
  if (left.length > 0) {
    notes.push(
      `${old} still holds data of ${left.join(", ")}: ${dataDir} has folders with these names, and they are used. Pass --data DIR to use another folder.`,
    );
  }
}

/** @returns the names of the folders in `from`; none if it is no folder */
function dataIn(from: string): string[] {
  try {
    return readdirSync(from)
      .filter((name) => !name.endsWith(HALF))
      .sort();
  } catch {
    return [];
  }
}

/** Ending of a copy that is not complete. */
const HALF = ".hrmr-copy";

/**
 * Moves each folder in `from` to `to`. Call it with the state folder's lock held and no module loaded. The move is on
 * the disk when it returns.
 *
 * @throws UserError DATA_NOT_MOVED; folders that were not moved stay in `from`
 */
export function moveData(from: string, to: string): MovedData {
  const names = from === to ? [] : dataIn(from);
  const left = names.filter((name) => existsSync(join(to, name)));
  const moved = names.filter((name) => !left.includes(name));
  if (moved.length === 0) return { moved, left };
  try {
    makePrivateFolder(to);
    for (const name of moved) moveOne(join(from, name), join(to, name));
    syncFolder(to);
    syncFolder(join(to, ".."));
    syncFolder(from);
    if (readdirSync(from).length === 0) rmdirSync(from);
  } catch (cause) {
    throw new UserError(
      `Modules' data could not be moved from ${from} to ${to} (${(cause as NodeJS.ErrnoException).code ?? String(cause)}).`,
      { code: "DATA_NOT_MOVED", hint: `Move it yourself, or have it stay with --data ${from}`, cause },
    );
  }
  return { moved, left };
}

/** Copies to another file system. The copy gets its name only when it is complete. */
function moveOne(from: string, to: string): void {
  try {
    return renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
  }
  const half = `${to}${HALF}`;
  rmSync(half, { recursive: true, force: true });
  cpSync(from, half, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  syncTree(half);
  renameSync(half, to);
  syncFolder(join(to, ".."));
  rmSync(from, { recursive: true });
}
