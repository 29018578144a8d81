/**
 * The journal of the version store, `approved.log`: one line for each reload, appended before the reload is answered.
 * So an answer waits for one write(2), and the store's other files are written behind it. A start adds the lines that
 * it finds to those files.
 */
import { appendFileSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PRIVATE_FILE } from "../../system/private-files";
import type { ApprovedModule } from "./approved";
import { fromJson, toJson } from "./json";
import type { VersionRecord } from "./versions";

/** The changes that one line stands for. Plain data. */
export interface StoreChange {
  /** The modules that serve another version than before, or have another error or hold. */
  readonly modules: readonly ApprovedModule[];
  /** The modules that are gone, by name. */
  readonly gone: readonly string[];
  /** New and changed records of versions, by module. */
  readonly records: Readonly<Record<string, readonly VersionRecord[]>>;
}

interface JournalContent {
  /** Oldest first. They have the right checksum, and may be of another version of hrmr. */
  readonly changes: readonly unknown[];
  /** The length of the damaged end; 0: there is none. */
  readonly droppedBytes: number;
}

/** A checksum of 8 hexadecimal digits, a space, and the change as JSON. */
const LINE = /^([0-9a-f]{8}) (.*)$/s;
const LINE_FEED = 10;

export class Journal {
  /** Absolute path. The file need not exist. */
  readonly path: string;
  /** The lines that this process has appended, and not dropped. */
  #lines: Buffer[] = [];
  #bytes = 0;

  constructor(stateDir: string) {
    this.path = join(stateDir, "approved.log");
  }

  /** How many lines were appended, and not dropped. */
  get length(): number {
    return this.#lines.length;
  }

  /** Their length. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Reads the lines of the process before. A line that is torn or has a wrong checksum ends them: later lines build on
   * it.
   *
   * @throws Error an error of reading, if the file exists
   */
  read(): JournalContent {
    const bytes = this.#bytesOf();
    const changes: unknown[] = [];
    let at = 0;
    for (;;) {
      const end = bytes.indexOf(LINE_FEED, at);
      const [, sum, json = ""] = (end < 0 ? null : LINE.exec(bytes.toString("utf8", at, end))) ?? [];
      if (sum === undefined || sum !== checksum(json)) return { changes, droppedBytes: bytes.length - at };
      changes.push(fromJson(json));
      at = end + 1;
    }
  }

  #bytesOf(): Buffer {
    try {
      return readFileSync(this.path);
    } catch (error) {
      if (isMissing(error)) return Buffer.alloc(0);
      throw error;
    }
  }

  /**
   * Appends a line. It survives the end of this process at once, and a power cut once the file is synced.
   *
   * @throws Error an error of writing. The file may end in a part of the line then: call `drop` before the next line
   */
  append(change: StoreChange): void {
    const json = toJson(change);
    const line = Buffer.from(`${checksum(json)} ${json}\n`);
    this.#lines.push(line);
    this.#bytes += line.length;
    appendFileSync(this.path, line, { mode: PRIVATE_FILE });
  }

  /**
   * Removes the oldest lines, and all that `read` found. The store's other files have them.
   *
   * @throws Error an error of writing
   */
  drop(count: number): void {
    this.#lines = this.#lines.slice(count);
    const rest = Buffer.concat(this.#lines);
    this.#bytes = rest.length;
    if (rest.length === 0) return this.#empty();
    const temporary = `${this.path}.${process.pid}.tmp`;
    rmSync(temporary, { force: true });
    writeFileSync(temporary, rest, { mode: PRIVATE_FILE });
    renameSync(temporary, this.path);
  }

  #empty(): void {
    try {
      truncateSync(this.path, 0);
    } catch (error) {
      // Nothing was appended, or somebody has deleted the state folder.
      if (!isMissing(error)) throw error;
    }
  }
}

function checksum(text: string): string {
  return Bun.hash.crc32(text).toString(16).padStart(8, "0");
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
