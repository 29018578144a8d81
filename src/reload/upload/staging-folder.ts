/**
 * The folder in which an exchange keeps new and old files. It lies in the modules folder, whose owner may be another
 * user, so it is opened first and then checked. A link that is put in its place afterwards changes nothing.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { UserError } from "../../config/user-error";
import { displayPath } from "../../module/graph/describe-error";
import { PRIVATE_FOLDER } from "../../system/private-files";

const isLinux = process.platform === "linux";
/** O_PATH of Linux: finds a folder without the right to read it. */
const FIND = isLinux ? 0o10000000 : constants.O_RDONLY;
const OTHERS = 0o077;

/** An open folder. Its paths lead to it whatever its name leads to by now (on Linux). */
class OpenFolder {
  readonly fd: number;
  readonly path: string;

  /** @throws Error ELOOP or ENOTDIR for a link, ENOENT */
  constructor(path: string) {
    this.fd = openSync(path, FIND | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    this.path = isLinux ? `/proc/self/fd/${this.fd}` : path;
  }
}

/** Close it when it is no longer used: it holds two descriptors. */
export class StagingFolder {
  /** Its whole name, for people and for the journal. */
  readonly named: string;
  readonly #home: OpenFolder;
  readonly #folder: OpenFolder;
  #isOpen = true;

  private constructor(named: string, home: OpenFolder, folder: OpenFolder) {
    this.named = named;
    this.#home = home;
    this.#folder = folder;
  }

  /**
   * Makes the folder and the one around it. Both may exist.
   *
   * @param named its path
   * @throws UserError UPLOAD_TARGET if one of them is a link, or it belongs to another user
   */
  static make(named: string): StagingFolder {
    makeFolder(dirname(named));
    return StagingFolder.#open(named, (path) => makeFolder(path)) as StagingFolder;
  }

  /** @returns null: there is none. @throws as `make` */
  static find(named: string): StagingFolder | null {
    return isThere(dirname(named)) ? StagingFolder.#open(named, () => {}) : null;
  }

  static #open(named: string, prepare: (path: string) => void): StagingFolder | null {
    const home = openReal(dirname(named), dirname(named));
    let folder: OpenFolder | null = null;
    try {
      const path = join(home.path, basename(named));
      prepare(path);
      if (isThere(path)) folder = openOwn(path, named);
      return folder === null ? null : new StagingFolder(named, home, folder);
    } finally {
      if (folder === null) closeSync(home.fd);
    }
  }

  /** Leads to the folder until `close`. */
  get path(): string {
    return this.#folder.path;
  }

  /** Removes it with its content, and the folder around it if that is empty. */
  remove(): void {
    for (const entry of readdirSync(this.path)) rmSync(join(this.path, entry), { recursive: true, force: true });
    removeEmpty(join(this.#home.path, basename(this.named)));
    // By its name: a folder cannot be removed by its descriptor. A link is not followed.
    removeEmpty(dirname(this.named));
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeSync(this.#folder.fd);
    closeSync(this.#home.fd);
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: PRIVATE_FOLDER });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** @param named the path for people */
function openReal(path: string, named: string): OpenFolder {
  try {
    return new OpenFolder(path);
  } catch (cause) {
    const { code = "" } = cause as NodeJS.ErrnoException;
    throw ["ELOOP", "ENOTDIR"].includes(code) ? inTheWay(named, "it is a link, or no folder", cause) : cause;
  }
}

/** Nobody else may put anything into it. */
function openOwn(path: string, named: string): OpenFolder {
  const folder = openReal(path, named);
  const { uid, mode } = fstatSync(folder.fd);
  if (uid !== (process.getuid?.() ?? uid)) {
    closeSync(folder.fd);
    throw inTheWay(named, "it belongs to another user");
  }
  if ((mode & OTHERS) !== 0) chmodSync(folder.path, PRIVATE_FOLDER);
  return folder;
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Leaves it if it is not empty, or another entry has got its name. */
function removeEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["ENOENT", "ENOTDIR", "ENOTEMPTY", "EEXIST", "EBUSY"].includes(code)) throw error;
  }
}

function inTheWay(path: string, why: string, cause?: unknown): UserError {
  return new UserError(`${displayPath(path)} is in the way: ${why}.`, {
    code: "UPLOAD_TARGET",
    hint: "Move it away on the server: it needs a folder of that name for the files of uploads.",
    cause,
  });
}
