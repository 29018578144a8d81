/**
 * A file that one process at a time holds: the state folder's lock, and the pid file.
 *
 * It is flock(2) that holds, and not that the file is there: the kernel lets go of it when its holder dies, however it
 * dies, so a file that a killed server left behind is in nobody's way. Where the C library has no flock (Windows), or
 * is not found, the pid in the file decides, which a reused pid can deceive.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { UserError } from "../../config/user-error";
import { PRIVATE_FILE, setFileMode } from "../../system/private-files";
import { openLibc } from "../../system/libc";

export interface FileLock {
  readonly path: string;
  /**
   * The lock belongs to the open file, not to this process: a child that gets this descriptor as one of its own holds
   * it too.
   */
  readonly fd: number;
  /** Whether the file is still at its path: a lock on a deleted file keeps no other server out. */
  isInPlace(): boolean;
  /** Writes other content: after a take-over that came to nothing. Its first line must be this process's id. */
  rewrite(text: string): void;
  /**
   * Removes the file and lets go. Once another process has adopted the lock, only this process's descriptor is closed.
   * Safe to call twice.
   */
  release(): void;
}

/** Somebody else holds the file. */
export interface HeldLock {
  /** "pid 123", or "another process" where the file does not say which. */
  readonly holder: string;
  /**
   * The process that the file names, if it has ended, so that another one holds the lock. null: it lives, or none is
   * named.
   */
  readonly endedPid: number | null;
}

/**
 * "private": other users cannot open the file, so they cannot hold the lock. "public": they may read it (0644 less the
 * umask), which is enough for flock(2). So their lock is ignored once the process that the file names has ended.
 */
export type LockKind = "private" | "public";

/** `flock` looks once; someone who only asks for the holder (`readHolder`) may be in the way for an instant. */
const ATTEMPTS = 5;
const ATTEMPT_PAUSE_MS = 10;
const PUBLIC_FILE = 0o644;
const LOCK_SHARED = 1;
const LOCK_EXCLUSIVE = 2;
const LOCK_NOT_WAITING = 4;
/** A lock file is a few lines. */
const MAX_CONTENT_BYTES = 256;

const libc = openLibc({ flock: { args: ["i32", "i32"], returns: "i32" } });
/** @returns what a lock file holds: the process id, and since when (ISO 8601); a line each */
export function lockText(): string {
  return `${pidText()}${new Date().toISOString()}\n`;
}

/** @returns what a pid file holds: the process id, and a line end */
export function pidText(): string {
  return `${process.pid}\n`;
}

/**
 * Takes the file, which is made if it is missing, and writes `text` into it. Its folder must be there.
 *
 * @param text  its first line must be this process's id
 * @param kind  who may read the file. Default "private"
 * @returns who holds it, if somebody does: then nothing was changed
 * @throws UserError CANNOT_LOCK when the file cannot be opened or is no plain file
 */
export function lockFile(path: string, text: string = lockText(), kind: LockKind = "private"): FileLock | HeldLock {
  for (let attempt = 1; ; attempt++) {
    const fd = openPlain(path);
    // A holder removes its file before it lets go: a lock on a file that is no longer at its path keeps nobody out.
    if (tryLock(fd, LOCK_EXCLUSIVE) && isAt(fd, path)) {
      const held = holdOrClose(fd, path, text);
      // Only now, when it is locked and names this process, may other users open it.
      setFileMode(fd, kind === "private" ? PRIVATE_FILE : PUBLIC_FILE & ~process.umask());
      return held;
    }
    const pid = readPid(fd);
    const endedPid = pid !== null && !isAlive(pid) ? pid : null;
    // Another user has locked the file of a server that has ended. Leave that file to them, and make a new one.
    if (kind === "public" && endedPid !== null && isAt(fd, path)) unlinkSync(path);
    closeSync(fd);
    if (attempt === ATTEMPTS) return { holder: pid === null ? "another process" : `pid ${pid}`, endedPid };
    Bun.sleepSync(ATTEMPT_PAUSE_MS);
  }
}

/** @throws UserError CANNOT_LOCK when the file cannot be written: the disk is full */
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
 * Goes on with the lock of the process that handed over `fd`: writes `text`, and from now on `release` is this
 * process's to call.
 *
 * @throws Error when `fd` is not that file, or its lock is somebody else's
 */
export function adoptLock(fd: number, path: string, text: string = lockText()): FileLock {
  if (!isAt(fd, path)) throw new Error(`Descriptor ${fd} is not ${path}.`);
  // The same open file, so this succeeds exactly if it holds the lock, or nobody does.
  if (!tryLock(fd, LOCK_EXCLUSIVE)) throw new Error(`Descriptor ${fd} does not hold the lock of ${path}.`);
  return holdFile(fd, path, text);
}

/**
 * @returns the id of the living process that holds the file; null: nobody does, or the file does not say who. Never
 * throws.
 */
export function readHolder(path: string): number | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  try {
    return !fstatSync(fd).isFile() || tryLock(fd, LOCK_SHARED) ? null : readPid(fd);
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
    isInPlace: () => isAt(fd, path),
    rewrite,
    release: () => {
      if (!isHeld) return;
      isHeld = false;
      // Never LOCK_UN: it would take the lock from the process that has adopted it too.
      if (readPid(fd) === process.pid && isAt(fd, path)) unlinkSync(path);
      closeSync(fd);
    },
  };
}

/** Opens for reading and writing without emptying it: until the lock is held the content is somebody else's. */
function openPlain(path: string): number {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  let fd: number;
  try {
    // Bun opens everything with O_CLOEXEC, and a child gets no descriptor that it was not given. O_NONBLOCK: a pipe in
    // its place must not make us wait for its other end.
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

/** @param cause  of which only the code is looked at */
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
function tryLock(fd: number, kind: number): boolean {
  if (libc !== null) return libc.flock(fd, kind | LOCK_NOT_WAITING) === 0;
  const pid = readPid(fd);
  return pid === null || pid === process.pid || !isAlive(pid);
}

function isAt(fd: number, path: string): boolean {
  const there = statSync(path, { throwIfNoEntry: false });
  const held = fstatSync(fd);
  return there !== undefined && there.ino === held.ino && there.dev === held.dev;
}

function readPid(fd: number): number | null {
  const content = Buffer.alloc(MAX_CONTENT_BYTES);
  const length = readSync(fd, content, 0, MAX_CONTENT_BYTES, 0);
  const digits = /^\d{1,10}(?=\n|$)/.exec(content.toString("latin1", 0, length));
  return digits === null ? null : Number(digits[0]);
}

/** Whether there is a process of this id, whoever's it is. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
