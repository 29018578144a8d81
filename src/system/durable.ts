/**
 * What a power cut must not undo. fsync(2) of a file keeps its bytes; its name is kept by an fsync of the folder that it lies in, which is
 * therefore asked for after each rename, link or removal that something was promised for.
 */
import { closeSync, fsyncSync, lstatSync, openSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * What was made, renamed or removed in a folder is on the disk when this returns. Where folders cannot be synced (Windows, some network
 * file systems) it does nothing.
 *
 * @throws Error when the disk fails (EIO, ENOSPC), or there is no such folder
 */
export function syncFolder(folder: string): void {
  if (process.platform === "win32") return;
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } catch (error) {
    if (!isUnable(error)) throw error;
  } finally {
    closeSync(fd);
  }
}

/** As `syncFolder`, without stopping the event loop. */
export async function syncFolderLater(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } catch (error) {
    if (!isUnable(error)) throw error;
  } finally {
    await handle.close();
  }
}

/**
 * Makes a file that must not be there yet. When this returns it is on the disk, with its name.
 *
 * @throws Error EEXIST, or as writing; what was begun is removed
 */
export function createFile(path: string, bytes: string | Uint8Array, mode: number): void {
  const fd = openSync(path, "wx", mode);
  try {
    writeFileSync(fd, bytes);
    fsyncSync(fd);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
  syncFolder(dirname(path));
}

/**
 * Puts a file at `path`, in place of another or not: whoever looks, and whatever happens, finds the old one or the new one whole. When this
 * returns it is on the disk. A file that was there gives its rights to the new one.
 *
 * @param mode  of a file that was not there
 * @throws Error as writing; the old one is as it was
 */
export function replaceFile(path: string, bytes: string | Uint8Array, mode: number): void {
  const old = lstatSync(path, { throwIfNoEntry: false });
  const temporary = join(dirname(path), `.${basename(path).slice(0, 200)}.${process.pid}.tmp`);
  rmSync(temporary, { force: true });
  createFile(temporary, bytes, old?.isFile() === true ? old.mode & 0o777 : mode);
  try {
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncFolder(dirname(path));
}

/** Of a folder with all that lies in it. Links are not followed. */
export function syncTree(path: string): void {
  const stats = lstatSync(path);
  if (stats.isDirectory()) {
    for (const name of readdirSync(path)) syncTree(join(path, name));
    syncFolder(path);
  } else if (stats.isFile()) {
    const fd = openSync(path, "r");
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
}

/** A file system without a sync of folders. */
function isUnable(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "EINVAL" || code === "ENOTSUP" || code === "EISDIR" || code === "EPERM";
}
