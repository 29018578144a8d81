/**
 * A file as a log's destination. Each event is one write(2) at the file's end: it is in the file when the call returns,
 * even if the process then dies. Several processes can share the file.
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, statSync, writeSync, type Stats } from "node:fs";
import { UserError } from "../../config/user-error";
import { logFileMode, PRIVATE_FILE, setFileMode } from "../../system/private-files";
import { asHost } from "../../system/leave-graph";
import { isRotationDue, periodOf, putAside, type RotationRules } from "./rotate";

/** "owner" rotates the file when that is due; "shared" follows the owner. A file has one owner. */
export type LogFileRole = "owner" | "shared";

interface LogFileSettings extends RotationRules {
  readonly path: string;
  readonly role: LogFileRole;
}

export interface LogFileOwner {
  /** Takes events that cannot be written to the file. */
  fallback(text: string): void;
  /** A line about the file itself. It must not come back to the file. */
  tell(level: "warn" | "info", text: string): void;
  /** The file was put aside: the processes that share it should reopen. */
  rotated(): void;
  /** Milliseconds since 1970. Default: the clock. */
  now?(): number;
}

/** How often it checks whether the name still leads to this file, and whether rotation is due. */
const CHECK_MS = 1000;
/** The pause after a failure. */
const RETRY_MS = 30_000;

/** O_NONBLOCK: if the path is a pipe, opening must not wait for a reader. */
const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;

const REASONS: Record<string, string> = {
  ENOENT: "its folder does not exist",
  ENOTDIR: "what should be its folder is a file",
  EACCES: "this user may not write there",
  EPERM: "this user may not write there",
  EROFS: "the file system is read-only",
  EISDIR: "that is a folder",
  ENXIO: "that is no regular file",
  ENOSPC: "the disk is full",
  EDQUOT: "this user's share of the disk is used up",
  ENAMETOOLONG: "the path is too long",
};

export class LogFile {
  readonly path: string;
  readonly #owner: LogFileOwner;
  readonly #now: () => number;
  #settings: LogFileSettings;
  #fd: number | null = null;
  #bytes = 0;
  /** Device and inode of the open file. */
  #identity = "";
  #period = "";
  #checkAtMs = 0;
  #rotateAtMs = 0;
  #isRotating = false;
  #isClosed = false;
  /** The file has only a part of the last event: the disk was full. */
  #isTorn = false;
  #timer: Timer | null = null;

  /** @throws UserError LOG_FILE */
  constructor(settings: LogFileSettings, owner: LogFileOwner) {
    this.path = settings.path;
    this.#settings = settings;
    this.#owner = owner;
    this.#now = owner.now?.bind(owner) ?? Date.now;
    try {
      this.#open();
    } catch (error) {
      throw logFileError(this.path, error);
    }
    this.configure(settings);
  }

  /** Takes over all settings except the path. */
  configure(settings: LogFileSettings): void {
    this.#settings = settings;
    this.#period = this.#periodOfFile();
    const mayRotate = settings.role === "owner" && (settings.maxFileBytes > 0 || settings.rotate !== "never");
    if (this.#timer !== null) clearInterval(this.#timer);
    // Midnight passes without a line, and other processes that share the file fill it.
    this.#timer = mayRotate ? asHost(() => setInterval(() => this.check(), CHECK_MS).unref()) : null;
  }

  /** @param text one event with its line feed */
  write(text: string): void {
    const nowMs = this.#now();
    if (nowMs >= this.#checkAtMs) this.check();
    if (this.#fd === null) return this.#owner.fallback(text);
    try {
      this.#append(this.#fd, text);
    } catch (error) {
      this.#fail(error);
      return this.#owner.fallback(text);
    }
    this.#rotateIfDue(nowMs);
  }

  /**
   * Opens the path again: for logrotate, which has renamed the file, and after a failure. Earlier events are in the old
   * file.
   */
  reopen(): void {
    if (this.#isClosed) return;
    const hadFailed = this.#fd === null;
    try {
      asHost(() => this.#open());
    } catch (error) {
      return this.#fail(error);
    }
    if (hadFailed) this.#owner.tell("info", `The log goes to ${this.path} again.`);
  }

  /** Follows a file that was renamed or removed, tries again after a failure, and rotates it when that is due. */
  check(): void {
    const nowMs = this.#now();
    if (this.#isClosed || this.#isRotating || (this.#fd === null && nowMs < this.#checkAtMs)) return;
    this.#checkAtMs = nowMs + (this.#fd === null ? RETRY_MS : CHECK_MS);
    try {
      if (this.#fd === null || !this.#isCurrent()) this.reopen();
      if (this.#fd === null) return;
      // Others write to it too.
      this.#bytes = fstatSync(this.#fd).size;
    } catch (error) {
      return this.#fail(error);
    }
    this.#rotateIfDue(nowMs);
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    closeQuietly(this.#fd);
    this.#fd = null;
  }

  /** Closes the old descriptor only once there is a new one. */
  #open(): void {
    const mode = logFileMode(this.path);
    const fd = openSync(this.path, FLAGS, mode);
    const stats = fstatSync(fd);
    if (!stats.isFile()) {
      closeSync(fd);
      throw Object.assign(new Error("not a regular file"), { code: "ENXIO" });
    }
    if (mode === PRIVATE_FILE) setFileMode(fd, mode);
    closeQuietly(this.#fd);
    this.#fd = fd;
    this.#identity = identityOf(stats);
    this.#bytes = stats.size;
    this.#period = this.#periodOfFile(stats);
    this.#checkAtMs = this.#now() + CHECK_MS;
  }

  /** The content of the file is at least as old as its last line. */
  #periodOfFile(stats: Stats | null = this.#fd === null ? null : fstatSync(this.#fd)): string {
    const isEmpty = stats === null || stats.size === 0;
    return periodOf(isEmpty ? this.#now() : stats.mtimeMs, this.#settings.rotate);
  }

  #isCurrent(): boolean {
    const stats = statSync(this.path, { throwIfNoEntry: false });
    return stats !== undefined && identityOf(stats) === this.#identity;
  }

  #append(fd: number, text: string): void {
    const bytes = Buffer.from(this.#isTorn ? `\n${text}` : text);
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(fd, bytes, written);
    } finally {
      this.#isTorn = written > 0 ? written < bytes.length : this.#isTorn;
      this.#bytes += written;
    }
  }

  #fail(error: unknown): void {
    const hadFailed = this.#fd === null;
    closeQuietly(this.#fd);
    this.#fd = null;
    this.#checkAtMs = this.#now() + RETRY_MS;
    if (!hadFailed)
      this.#owner.tell(
        "warn",
        `Cannot write to the log file ${this.path}: ${reasonOf(error)}. The log goes to stderr until it can.`,
      );
  }

  #rotateIfDue(nowMs: number): void {
    const settings = this.#settings;
    if (settings.role !== "owner" || this.#isRotating || nowMs < this.#rotateAtMs) return;
    if (this.#bytes === 0) this.#period = periodOf(nowMs, settings.rotate);
    if (!isRotationDue(this.#bytes, this.#period, nowMs, settings)) return;
    // Another program has rotated it: the large or old file no longer has the name.
    if (!this.#isCurrent()) return this.reopen();
    this.#isRotating = true;
    void asHost(() => this.#rotate());
  }

  async #rotate(): Promise<void> {
    const { maxFiles } = this.#settings;
    try {
      // Emptied in place, the file stays open for all its writers. Renamed and removed, it would take their lines with
      // it.
      if (maxFiles === 0 && this.#fd !== null) ftruncateSync(this.#fd, 0);
      else await putAside(this.path, maxFiles);
      this.reopen();
      this.#owner.rotated();
    } catch (error) {
      this.#rotateAtMs = this.#now() + RETRY_MS;
      this.#owner.tell("warn", `Cannot put the log file ${this.path} aside: ${reasonOf(error)}. It grows on.`);
    } finally {
      this.#isRotating = false;
    }
  }
}

/** @param error the reason why opening failed */
export function logFileError(path: string, error: unknown): UserError {
  return new UserError(`Cannot open the log file ${path}: ${reasonOf(error)}.`, {
    code: "LOG_FILE",
    hint: "Set log.file to a path that this user may write to, or leave it out: the log then goes to stderr.",
    cause: error,
  });
}

/** A module can close any descriptor of its process. */
function closeQuietly(fd: number | null): void {
  try {
    if (fd !== null) closeSync(fd);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EBADF") throw error;
  }
}

function identityOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`;
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const reason = code === undefined ? undefined : REASONS[code];
  return reason === undefined ? message : `${reason} (${code})`;
}
