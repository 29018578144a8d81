/**
 * Folders and files of this user alone. Their modes do not depend on the umask.
 */
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
} from "node:fs";
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

/** A file with secrets cannot be used. The message ends a sentence that begins with the file. */
export class SecretFileError extends Error {
  /** What to do. undefined: it depends on the file. */
  readonly hint: string | undefined;
  /** Of opening it. "": it could be opened. */
  readonly code: string;

  constructor(message: string, hint?: string, cause?: NodeJS.ErrnoException) {
    super(message, { cause });
    this.hint = hint;
    this.code = cause?.code ?? "";
  }
}

/**
 * Reads a file with secrets, which only its owner may read. Checks the opened file, not its name: another file may have
 * that name a moment later.
 *
 * @param maxBytes  a larger file is refused
 * @throws SecretFileError without the file's content
 */
export function readSecretFile(file: string, maxBytes: number): Buffer {
  let fd: number;
  try {
    // A pipe without a writer would block.
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const cause = error as NodeJS.ErrnoException;
    const hint = cause.code === "ENOENT" ? undefined : "Give this user the right to read it, and nobody else.";
    throw new SecretFileError(`cannot be read (${cause.code})`, hint, cause);
  }
  try {
    const stats = fstatSync(fd);
    const mode = stats.mode & 0o777;
    if (!stats.isFile()) throw new SecretFileError("is not a file");
    if ((mode & OTHERS) !== 0)
      throw new SecretFileError(
        `may be read or written by others than its owner (mode ${mode.toString(8)})`,
        `Do: chmod 600 ${file}`,
      );
    if (stats.size > maxBytes)
      throw new SecretFileError(`is ${stats.size} bytes long, over the ${maxBytes} that it may have`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

function isFolder(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory();
}
