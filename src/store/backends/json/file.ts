/**
 * The file of a JSON store on the disk. Batches are appended; now and then the whole file is written anew beside it, and
 * put in its place.
 */
import {
  closeSync,
  existsSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { StoreError } from "../../../module/store/error";
import { syncFolder } from "../../../system/files/durable";
import { hasFlock, isFileAt, tryFlock } from "../../../system/files/flock";
import { databaseError } from "../../database-error";
import { PRIVATE_FILE } from "../../../system/private-files";
import { makeFolderOf, mustBeFileOrNew, StoreInUse } from "../place";

/** A writer of the file may have replaced it between opening and locking it. */
const LOCK_ATTEMPTS = 5;
/** Of one write, when the file is written anew. */
const PIECE_LETTERS = 1 << 20;
/** "relaxed": the time until a batch is on the disk. */
const RELAXED_SYNC_MS = 1000;

export class StoreFile {
  readonly path: string;
  readonly isReadOnly: boolean;
  readonly #isRelaxed: boolean;
  #fd: number;
  #bytes: number;
  /** Why the file must be written anew before anything is appended: nobody knows what is on the disk. */
  #isDoubtful = false;
  /** The file's name is not on the disk yet. */
  #isFolderDoubtful = false;
  #syncTimer: NodeJS.Timeout | null = null;

  /**
   * Opens the file and locks it, for this process alone.
   *
   * @param head the content of a new file
   * @throws StoreError UNAVAILABLE (another server has it), READ_ONLY, FULL, FAILED
   */
  constructor(path: string, head: string, isRelaxed: boolean) {
    this.path = existsSync(path) ? realpathSync(path) : path;
    this.#isRelaxed = isRelaxed;
    try {
      mustBeFileOrNew(path);
      if (!existsSync(this.path)) makeFile(this.path, head);
      const { fd, isReadOnly } = openLocked(this.path);
      this.#fd = fd;
      this.isReadOnly = isReadOnly;
      this.#bytes = fstatSync(fd).size;
    } catch (error) {
      throw this.#error(error);
    }
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isDoubtful(): boolean {
    return this.#isDoubtful;
  }

  /** @throws StoreError */
  read(): Uint8Array {
    try {
      return readFileSync(this.#fd);
    } catch (error) {
      throw this.#error(error);
    }
  }

  /** Cuts off what was being written when the server ended. @throws StoreError */
  cut(bytes: number): void {
    if (bytes >= this.#bytes) return;
    try {
      ftruncateSync(this.#fd, bytes);
      fsyncSync(this.#fd);
      this.#bytes = bytes;
    } catch (error) {
      throw this.#error(error);
    }
  }

  /** @throws StoreError; nothing was appended, but for UNKNOWN */
  append(bytes: Uint8Array): void {
    if (this.isReadOnly) throw this.#readOnly();
    try {
      if (this.#isFolderDoubtful) this.#syncFolder();
      writeAll(this.#fd, bytes, this.#bytes);
      if (this.#isRelaxed) this.#syncLater();
      else this.#sync();
    } catch (error) {
      this.#undo();
      throw this.#isDoubtful ? this.#unknown(error) : this.#error(error);
    }
    this.#bytes += bytes.length;
  }

  /**
   * Writes the whole file anew.
   *
   * @returns its bytes. @throws StoreError; the file is as it was
   */
  replace(lines: Iterable<string>): number {
    if (this.isReadOnly) throw this.#readOnly();
    const temporary = join(dirname(this.path), `.${basename(this.path).slice(0, 200)}.${process.pid}.tmp`);
    let fd: number | null = null;
    try {
      rmSync(temporary, { force: true });
      fd = openSync(temporary, "wx+", PRIVATE_FILE);
      const bytes = writeLines(fd, lines);
      fsyncSync(fd);
      // The lock comes before the name: at no time is the file there without it.
      lock(fd);
      renameSync(temporary, this.path);
      this.#become(fd, bytes);
      return bytes;
    } catch (error) {
      if (fd !== null && fd !== this.#fd) {
        closeSync(fd);
        rmSync(temporary, { force: true });
      }
      throw this.#error(error);
    }
  }

  /** Writes the lines into a new file, which is on the disk when this returns. @throws StoreError */
  copyTo(path: string, lines: Iterable<string>): void {
    let fd: number | null = null;
    try {
      fd = openSync(path, "wx", PRIVATE_FILE);
      writeLines(fd, lines);
      fsyncSync(fd);
      syncFolder(dirname(path));
    } catch (error) {
      throw databaseError(error, path);
    } finally {
      if (fd !== null) closeSync(fd);
    }
  }

  close(): void {
    this.#stopTimer();
    try {
      if (this.#isRelaxed && !this.isReadOnly) fdatasyncSync(this.#fd);
    } finally {
      closeSync(this.#fd);
    }
  }

  #become(fd: number, bytes: number): void {
    this.#stopTimer();
    const old = this.#fd;
    this.#fd = fd;
    this.#bytes = bytes;
    this.#isDoubtful = false;
    this.#isFolderDoubtful = true;
    closeSync(old);
    try {
      this.#syncFolder();
    } catch {
      // The next batch tries again, and is refused until it works.
    }
  }

  #syncFolder(): void {
    syncFolder(dirname(this.path));
    this.#isFolderDoubtful = false;
  }

  #sync(): void {
    try {
      fdatasyncSync(this.#fd);
    } catch (error) {
      // The kernel may have dropped pages that it could not write, also those that hold the end of the batch before.
      this.#isDoubtful = true;
      throw error;
    }
  }

  #syncLater(): void {
    this.#syncTimer ??= setTimeout(() => {
      this.#syncTimer = null;
      fdatasync(this.#fd, (error) => {
        if (error !== null) this.#isDoubtful = true;
      });
    }, RELAXED_SYNC_MS).unref();
  }

  #stopTimer(): void {
    if (this.#syncTimer !== null) clearTimeout(this.#syncTimer);
    this.#syncTimer = null;
  }

  /** Takes back a part of a batch. */
  #undo(): void {
    try {
      if (fstatSync(this.#fd).size === this.#bytes) return;
      ftruncateSync(this.#fd, this.#bytes);
      if (!this.#isRelaxed) fdatasyncSync(this.#fd);
    } catch {
      this.#isDoubtful = true;
    }
  }

  #readOnly(): StoreError {
    return new StoreError("READ_ONLY", `the store ${this.path} cannot be written: it, or its disk, is read-only`);
  }

  #unknown(error: unknown): StoreError {
    return new StoreError(
      "UNKNOWN",
      `the store ${this.path} could not be written (${codeOf(error)}), and nobody knows whether the write is there after a crash`,
    );
  }

  #error(error: unknown): StoreError {
    return databaseError(error, this.path);
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

function makeFile(path: string, head: string): void {
  makeFolderOf(path);
  const temporary = join(dirname(path), `.${basename(path).slice(0, 200)}.${process.pid}.tmp`);
  rmSync(temporary, { force: true });
  const fd = openSync(temporary, "wx", PRIVATE_FILE);
  try {
    writeSync(fd, head);
    fsyncSync(fd);
    // Another server may have made the file meanwhile: its lock is asked for below.
    if (!existsSync(path)) renameSync(temporary, path);
  } finally {
    closeSync(fd);
    rmSync(temporary, { force: true });
  }
  syncFolder(dirname(path));
}

function openLocked(path: string): { fd: number; isReadOnly: boolean } {
  for (let attempt = 1; ; attempt++) {
    const opened = openFile(path);
    const isMine = lock(opened.fd);
    if (isMine && isFileAt(opened.fd, path)) return opened;
    closeSync(opened.fd);
    if (!isMine || attempt === LOCK_ATTEMPTS)
      throw new StoreInUse(
        `the store ${path} is open in another process. A JSON store is for one server: stop the other one, or use sqlite:// in \`store.url\``,
      );
  }
}

function openFile(path: string): { fd: number; isReadOnly: boolean } {
  try {
    return { fd: openSync(path, "r+"), isReadOnly: false };
  } catch (error) {
    if (!["EROFS", "EACCES", "EPERM"].includes(codeOf(error))) throw error;
    return { fd: openSync(path, "r"), isReadOnly: true };
  }
}

/** @returns false: another process has the lock. Without the C library nobody locks */
function lock(fd: number): boolean {
  return !hasFlock || tryFlock(fd, "exclusive");
}

function writeAll(fd: number, bytes: Uint8Array, at: number): void {
  for (let written = 0; written < bytes.length;)
    written += writeSync(fd, bytes, written, bytes.length - written, at + written);
}

/** @returns how many bytes */
function writeLines(fd: number, lines: Iterable<string>): number {
  let bytes = 0;
  let piece = "";
  const flush = (): void => {
    const encoded = Buffer.from(piece);
    writeAll(fd, encoded, bytes);
    bytes += encoded.length;
    piece = "";
  };
  for (const line of lines) {
    piece += line;
    if (piece.length >= PIECE_LETTERS) flush();
  }
  flush();
  return bytes;
}
