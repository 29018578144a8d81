/**
 * What a power cut must not undo. fsync(2) of a file keeps its bytes; its name is kept by an fsync of the folder that it lies in, which is
 * therefore asked for after each rename, link or removal that something was promised for.
 */
import { closeSync, fsyncSync, lstatSync, openSync, readdirSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

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
