/** Where the file of a database lies. */
import { lstatSync, readlinkSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { StoreError } from "../../module/store/error";
import { syncFolder } from "../../system/files/durable";
import { makePrivateFolder } from "../../system/private-files";

/** Another process has the file: it may be the one before this, which ends. UNAVAILABLE. */
export class StoreInUse extends StoreError {
  constructor(message: string) {
    super("UNAVAILABLE", message);
  }
}

/** Makes the folder of a database with its parents. Their names are on the disk when this returns. */
export function makeFolderOf(path: string): void {
  const folder = dirname(path);
  const outermost = makePrivateFolder(folder);
  if (outermost === undefined) return;
  for (let made = folder; ; made = dirname(made)) {
    syncFolder(dirname(made));
    if (made === outermost) return;
  }
}

/**
 * Refuses what is no file and would block the server, such as a pipe. A link whose disk is not mounted must not get a
 * new store in its place.
 *
 * @throws StoreError NOT_A_STORE or UNAVAILABLE, or an error of the system
 */
export function mustBeFileOrNew(path: string): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  const file = stats.isSymbolicLink() ? statSync(path, { throwIfNoEntry: false }) : stats;
  if (file === undefined)
    throw new StoreError(
      "UNAVAILABLE",
      `the store ${path} is a link to ${readlinkSync(path)}, which is not there. Mount its disk, or remove the link`,
    );
  if (!file.isFile())
    throw new StoreError(
      "NOT_A_STORE",
      `the store ${path} is ${file.isDirectory() ? "a folder" : "no file"}. Name a file in \`store.url\``,
    );
}
