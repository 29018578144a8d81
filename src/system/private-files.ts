/**
 * Folders and files of this user alone. Their modes do not depend on the umask.
 */
import { chmodSync, existsSync, fchmodSync, fstatSync, lstatSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

/** Mode of a folder that only its owner may enter. */
export const PRIVATE_FOLDER = 0o700;
/** Mode of a file that only its owner may read. */
export const PRIVATE_FILE = 0o600;
/** Mode of a file that its owner's group may read too, for collectors of logs. */
const GROUP_FILE = 0o640;
const OTHERS = 0o077;

/**
 * Makes a folder and its parents, each with mode 0700. Folders that exist stay unchanged.
 *
 * @returns the outermost new folder; undefined: the folder existed
 * @throws Error errors of mkdir
 */
export function makePrivateFolder(folder: string): string | undefined {
  if (isFolder(folder)) return undefined;
  const parent = dirname(folder);
  const outermost = parent === folder ? undefined : makePrivateFolder(parent);
  try {
    mkdirSync(folder, { mode: PRIVATE_FOLDER });
  } catch (error) {
    // Another process has made the folder meanwhile.
    if ((error as NodeJS.ErrnoException).code === "EEXIST" && isFolder(folder)) return outermost;
    throw error;
  }
  // The umask may have removed the owner's own permissions.
  chmodSync(folder, PRIVATE_FOLDER);
  return outermost ?? folder;
}

/**
 * Whether other users than the owner have any permission on a folder or file. Does not follow a symbolic link. Never
 * throws.
 */
export function isOpenToOthers(path: string): boolean {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats !== undefined && !stats.isSymbolicLink() && (stats.mode & OTHERS) !== 0;
}

/**
 * Removes all permissions of other users from a folder or file, and from everything in it. Links are neither followed
 * nor changed. Files of other users are left unchanged.
 *
 * @returns how many entries were changed
 */
export function closeToOthers(path: string): number {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined || !(stats.isDirectory() || stats.isFile())) return 0;
  let changed = 0;
  if ((stats.mode & OTHERS) !== 0 && isMine(stats.uid)) {
    chmodSync(path, stats.mode & 0o700);
    changed++;
  }
  if (stats.isDirectory()) for (const name of readdirSync(path)) changed += closeToOthers(join(path, name));
  return changed;
}

/** Whether this process may change the permissions of that user's files. */
export function isMine(uid: number): boolean {
  const user = process.getuid?.() ?? 0;
  return user === 0 || uid === user;
}

/** @returns the mode of a new log file: 0600 in a folder that only this user may enter, else 0640 */
export function logFileMode(path: string): number {
  const folder = statSync(dirname(path), { throwIfNoEntry: false });
  return folder !== undefined && (folder.mode & OTHERS) === 0 ? PRIVATE_FILE : GROUP_FILE;
}

/**
 * Gives an open file this mode, if it has another and belongs to this user. For files made by an older version, or
 * changed by the umask.
 */
export function setFileMode(fd: number, mode: number): void {
  const stats = fstatSync(fd);
  if (stats.isFile() && (stats.mode & 0o777) !== mode && isMine(stats.uid)) fchmodSync(fd, mode);
}

function isFolder(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory();
}
