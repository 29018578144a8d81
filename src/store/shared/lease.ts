/**
 * Which of a server's processes leads the others at the store. A file in the state folder is locked by that process, and
 * names its socket. The kernel frees the lock when the process ends, however it ends.
 */
import { closeSync, constants, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { isFileAt, tryFlock } from "../../system/files/flock";
import { PRIVATE_FILE } from "../../system/private-files";

/** The leading process, as the file names it. */
interface LeaderFacts {
  readonly pid: number;
  /** The name of its socket, in the same folder. */
  readonly socket: string;
}

const MAX_CONTENT_BYTES = 4096;
const HASH_LETTERS = 16;

export class Lease {
  readonly #path: string;
  #fd: number | null = null;

  /**
   * @param folder of this user alone
   * @param database its URL: each database has its own leader
   */
  constructor(folder: string, database: string) {
    const hash = new Bun.CryptoHasher("sha256").update(database).digest("hex").slice(0, HASH_LETTERS);
    this.#path = join(folder, `store-${hash}.lock`);
  }

  /** @returns whether this process leads from now on. @throws Error of the file system */
  take(): boolean {
    const fd = openLockFile(this.#path);
    if (tryFlock(fd, "exclusive") && isFileAt(fd, this.#path)) {
      this.#fd = fd;
      return true;
    }
    closeSync(fd);
    return false;
  }

  /** Tells the others how to reach this process, which leads. */
  name(facts: LeaderFacts): void {
    if (this.#fd === null) return;
    ftruncateSync(this.#fd, 0);
    writeSync(this.#fd, `${JSON.stringify(facts)}\n`, 0);
  }

  /** @returns null: there is none, or it has not written its name yet. @throws Error of the file system */
  leader(): LeaderFacts | null {
    const fd = openLockFile(this.#path);
    try {
      const content = Buffer.alloc(MAX_CONTENT_BYTES);
      return factsIn(content.toString("utf8", 0, readSync(fd, content, 0, MAX_CONTENT_BYTES, 0)));
    } finally {
      closeSync(fd);
    }
  }

  /** Another process may lead from now on. Idempotent. */
  release(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }
}

/** @returns null: it is being written, or of another form */
function factsIn(text: string): LeaderFacts | null {
  if (!text.endsWith("\n")) return null;
  try {
    const { pid, socket } = JSON.parse(text) as Partial<LeaderFacts>;
    return typeof pid === "number" && typeof socket === "string" ? { pid, socket } : null;
  } catch {
    return null;
  }
}

/** Bun opens files with O_CLOEXEC, so no program that is started keeps the lock. */
function openLockFile(path: string): number {
  return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, PRIVATE_FILE);
}
