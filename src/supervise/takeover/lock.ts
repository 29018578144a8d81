/**
 * A lock file, held by one process at a time: the state folder's lock, and the pid file.
 *
 * The lock is flock(2), not the existence of the file: the kernel releases it when its holder dies in any way, so the
 * file of a killed server is no obstacle. If the C library has no flock (Windows), or is not found, the pid in the file
 * decides; a reused pid can deceive it.
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { UserError } from "../../config/user-error";
import { PRIVATE_FILE, setFileMode } from "../../system/private-files";
import { hasFlock, isFileAt, tryFlock } from "../../system/files/flock";

export interface FileLock {
  readonly path: string;
  /** The lock belongs to the open file, not to this process: a child that inherits this descriptor holds it too. */
  readonly fd: number;
  /** Whether the file is still at its path: a lock on a deleted file does not stop another server. */
  isInPlace(): boolean;
  /** Writes other content, after a failed take-over. Its first line must be this process's id. */
  rewrite(text: string): void;
  /**
   * Removes the file and releases the lock. If another process has adopted the lock, only closes this process's
   * descriptor. Safe to call twice.
   */
  release(): void;
}

/** Another process holds the file. */
export interface HeldLock {
  /** "pid 123", or "another process" if the file does not say which. */
  readonly holder: string;
  /**
   * The process that the file names, if it has ended: another one then holds the lock. null: it lives, or the file
   * names none.
   */
  readonly endedPid: number | null;
}

/**
 * "private": other users cannot open the file, so they cannot hold the lock. "public": they may read it (0644 less the
 * umask), which is enough for flock(2). Their lock is therefore ignored once the named process has ended.
 */
export type LockKind = "private" | "public";

/** `flock` tries once, and a `readHolder` of another process may hold the lock for a moment. */
const ATTEMPTS = 5;
const ATTEMPT_PAUSE_MS = 10;
const PUBLIC_FILE = 0o644;
/** A lock file has a few lines. */
const MAX_CONTENT_BYTES = 256;

/** @returns the content of a lock file: the process id, and its start (ISO 8601), one line each */
export function lockText(): string {
  return `${pidText()}${new Date().toISOString()}\n`;
}

/** @returns the content of a pid file: the process id, and a line end */
export function pidText(): string {
  return `${process.pid}\n`;
}

/**
 * Locks the file, which is made if it is missing, and writes `text` into it. Its folder must exist.
 *
 * @param text  its first line must be this process's id
 * @param kind  who may read the file. Default "private"
 * @returns the holder, if another process has it: nothing was changed then
 * @throws UserError CANNOT_LOCK if the file cannot be opened or is no plain file
 */
export function lockFile(path: string, text: string = lockText(), kind: LockKind = "private"): FileLock | HeldLock {
  for (let attempt = 1; ; attempt++) {
    const fd = openPlain(path);
    // A holder removes its file before it releases the lock: a lock on a removed file is worthless.
    if (tryLock(fd, "exclusive") && isFileAt(fd, path)) {
      const held = holdOrClose(fd, path, text);
      // Only now, when it is locked and names this process, may other users open it.
      setFileMode(fd, kind === "private" ? PRIVATE_FILE : PUBLIC_FILE & ~process.umask());
      return held;
    }
    const pid = readPid(fd);
    const endedPid = pid !== null && !isAlive(pid) ? pid : null;
    // Another user has locked the file of a server that has ended. Leave that file to them, and make a new one.
    if (kind === "public" && endedPid !== null && isFileAt(fd, path)) unlinkSync(path);
    closeSync(fd);
    if (attempt === ATTEMPTS) return { holder: pid === null ? "another process" : `pid ${pid}`, endedPid };
    Bun.sleepSync(ATTEMPT_PAUSE_MS);
  }
}

/** @throws UserError CANNOT_LOCK if the file cannot be written: the disk is full */
function holdOrClose(fd: number, path: string, text: string): FileLock {
  try {
    return holdFile(fd, path, text);
  } catch (cause) {
    unlinkSync(path);
    closeSync(fd);
    throw cannotLock(path, cause as NodeJS.ErrnoException);
  }
}

/**
 * Adopts the lock of the process that handed over `fd`: writes `text`. From now on this process calls `release`.
 *
 * @throws Error if `fd` is not that file, or another process has its lock
 */
export function adoptLock(fd: number, path: string, text: string = lockText()): FileLock {
  if (!isFileAt(fd, path)) throw new Error(`Descriptor ${fd} is not ${path}.`);
  // It is the same open file, so this succeeds exactly if it holds the lock, or nobody does.
  if (!tryLock(fd, "exclusive")) throw new Error(`Descriptor ${fd} does not hold the lock of ${path}.`);
  return holdFile(fd, path, text);
}

/**
 * @returns the id of the living process that holds the file; null: none, or the file does not name it. Never throws.
 */
export function readHolder(path: string): number | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  try {
    return !fstatSync(fd).isFile() || tryLock(fd, "shared") ? null : readPid(fd);
  } finally {
    closeSync(fd);
  }
}

function holdFile(fd: number, path: string, text: string): FileLock {
  let isHeld = true;
  const rewrite = (content: string) => {
    ftruncateSync(fd, 0);
    writeSync(fd, content, 0);
  };
  rewrite(text);
  return {
    path,
    fd,
    isInPlace: () => isFileAt(fd, path),
    rewrite,
    release: () => {
      if (!isHeld) return;
      isHeld = false;
      // Never LOCK_UN: it would take the lock from the process that has adopted it too.
      if (readPid(fd) === process.pid && isFileAt(fd, path)) unlinkSync(path);
      closeSync(fd);
    },
  };
}

/**
 * Opens for reading and writing without emptying the file: until the lock is held, the content belongs to another
 * process.
 */
function openPlain(path: string): number {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  let fd: number;
  try {
    // Bun opens every file with O_CLOEXEC, so a child gets only the descriptors that it was given. O_NONBLOCK: opening
    // a pipe must not wait for its other end.
    fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, PRIVATE_FILE);
  } catch (cause) {
    throw cannotLock(path, cause as NodeJS.ErrnoException);
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw notPlain(path);
}

/** A pipe, a socket or a device. */
export function notPlain(path: string): UserError {
  return new UserError(`Cannot lock ${path}: it is not a plain file.`, {
    code: "CANNOT_LOCK",
    hint: "Remove it, or name another file.",
  });
}

/** @param cause only its code is used */
export function cannotLock(path: string, cause: NodeJS.ErrnoException): UserError {
  const [what, hint] = {
    ELOOP: ["it is a symbolic link", "Remove it, or name the file that it points to."],
    EISDIR: ["it is a folder", "Remove it, or name another file."],
    ENOENT: ["its folder does not exist", "Make the folder, or name another file."],
    ENOSPC: ["the disk is full (ENOSPC)", "Make room on it, or keep the state on another disk with --state DIR."],
    EDQUOT: [
      "this user's share of the disk is used up (EDQUOT)",
      "Make room on it, or keep the state on another disk with --state DIR.",
    ],
    ENAMETOOLONG: ["its path is too long (ENAMETOOLONG)", "Name a shorter one."],
  }[cause.code ?? ""] ?? [
    `it cannot be opened (${cause.code})`,
    "Give this user the right to write it, or name another file.",
  ];
  return new UserError(`Cannot lock ${path}: ${what}.`, { code: "CANNOT_LOCK", hint, cause });
}

/** Whether the file could be locked, without waiting. */
function tryLock(fd: number, kind: "shared" | "exclusive"): boolean {
  if (hasFlock) return tryFlock(fd, kind);
  const pid = readPid(fd);
  return pid === null || pid === process.pid || !isAlive(pid);
}

function readPid(fd: number): number | null {
  const content = Buffer.alloc(MAX_CONTENT_BYTES);
  const length = readSync(fd, content, 0, MAX_CONTENT_BYTES, 0);
  const digits = /^\d{1,10}(?=\n|$)/.exec(content.toString("latin1", 0, length));
  return digits === null ? null : Number(digits[0]);
}

/** Whether a process with this id exists, of any user. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
