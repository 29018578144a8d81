/**
 * Writes that a power cut must not undo. fsync(2) of a file keeps its bytes. Its name is kept by fsync of its folder,
 * so sync the folder after each rename, link or removal that must last.
 */
import { closeSync, fsyncSync, lstatSync, openSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * Syncs a folder: all names made, changed or removed in it are on the disk when this returns. Does nothing where
 * folders cannot be synced (Windows, some network file systems).
 *
 * @throws Error if the disk fails (EIO, ENOSPC), or the folder does not exist
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

/** Like `syncFolder`, without blocking the event loop. */
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
 * Makes a file that must not exist yet. It is on the disk, with its name, when this returns.
 *
 * @throws Error EEXIST, or an error of writing; an incomplete file is removed
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
 * Puts a file at `path`, also in place of another. Readers find the old or the new file whole at any moment, also after
 * a power cut. It is on the disk when this returns. A replaced file gives its permissions to the new one.
 *
 * @param mode  for a file that replaces none
 * @throws Error an error of writing; the old file is unchanged
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

/** Syncs a folder with everything in it. Links are not followed. */
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

/** Whether the file system cannot sync folders. */
function isUnable(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "EINVAL" || code === "ENOTSUP" || code === "EISDIR" || code === "EPERM";
}
