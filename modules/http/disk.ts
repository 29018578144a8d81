/** Finds files on the disk, and checks that they are in the folder. */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
  type Stats,
} from "node:fs";
import { diskPath } from "./names";

/**
 * The facts that identify a state of a file. They include ctime, since mtime can be set back, and inode and device,
 * since a link may point elsewhere later.
 */
export interface FileFacts {
  readonly size: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  readonly ino: number;
  readonly dev: number;
}

const STAT_OPTIONS = { throwIfNoEntry: false } as const;

/**
 * undefined if the file is not available: missing, a file in place of a folder, a name that is too long, no permission.
 */
export function stat(path: string): Stats | undefined {
  try {
    return statSync(diskPath(path), STAT_OPTIONS);
  } catch {
    return undefined;
  }
}

export function factsOf({ size, mtimeMs, ctimeMs, ino, dev }: Stats): FileFacts {
  return { size, mtimeMs, ctimeMs, ino, dev };
}

export function isSame(known: FileFacts, now: FileFacts | undefined): boolean {
  return (
    now !== undefined &&
    now.mtimeMs === known.mtimeMs &&
    now.ctimeMs === known.ctimeMs &&
    now.size === known.size &&
    now.ino === known.ino &&
    now.dev === known.dev
  );
}

// ---- open first, then check ----

/**
 * O_PATH of Linux: finds a file or folder without opening it. So a pipe does not block, and no read permission is
 * needed.
 */
const O_PATH = 0o10000000;
/** O_NOFOLLOW_ANY of macOS: fails if any part of the path is a link. */
const O_NOFOLLOW_ANY = 0x20000000;
/** Flags to read a file. If a pipe is in its place by now, opening it must not block. */
export const READ_FLAGS: number = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
const isLinux = process.platform === "linux";

/**
 * A file or folder in the site's folder. It is opened first and then checked: between a check and the opening, its name
 * could be replaced by a link to the outside.
 */
export class Entry implements Disposable {
  readonly stats: Stats;
  readonly #fd: number;
  /** A path that leads to it while it is open. */
  readonly path: string;

  constructor(fd: number, path: string) {
    this.#fd = fd;
    this.path = isLinux ? `/proc/self/fd/${fd}` : path;
    this.stats = fstatSync(fd);
  }

  /** Opens the entry at a path below this folder. @returns null as `openInside` does */
  below(root: string, name: string): Entry | null {
    return openInside(root, `${this.path}/${name}`);
  }

  /** @returns null if it cannot be read. Throws OutOfDescriptors. */
  read(): Buffer | null {
    const fd = this.open();
    if (fd === null) return null;
    try {
      return readFileSync(fd);
    } catch {
      return null;
    } finally {
      closeSync(fd);
    }
  }

  isReadable(): boolean {
    const fd = this.open();
    if (fd !== null) closeSync(fd);
    return fd !== null;
  }

  /** For a file: a descriptor to read from, which the caller closes. null: no permission. Throws OutOfDescriptors. */
  open(): number | null {
    return tryOpen(this.path, READ_FLAGS | (isLinux ? 0 : O_NOFOLLOW_ANY));
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** The process or the system has no descriptor left, so it is not known whether the file exists. */
export class OutOfDescriptors extends Error {
  constructor(cause: unknown) {
    super("No descriptor is left to open a file: too many files are open.", { cause });
  }
}

/**
 * @param root  the site's folder. It may be a link to the current release, so it is resolved each time.
 * @returns null if it does not exist, or is outside of the folder once all links are resolved. Throws OutOfDescriptors.
 */
export function openInside(root: string, path: string): Entry | null {
  return isLinux ? openOnLinux(root, path) : openElsewhere(root, path);
}

function openOnLinux(root: string, path: string): Entry | null {
  const fd = tryOpen(path, O_PATH);
  if (fd === null) return null;
  let isKept = false;
  try {
    // The kernel gives the opened file's present path. Latin-1, one letter for each byte: names need not be UTF-8.
    const real = readlinkSync(`/proc/self/fd/${fd}`, "latin1");
    isKept = isBelow(realRoot(root), real);
    return isKept ? new Entry(fd, path) : null;
  } catch {
    isKept = false;
    return null;
  } finally {
    if (!isKept) closeSync(fd);
  }
}

function openElsewhere(root: string, path: string): Entry | null {
  let real: string;
  try {
    real = realpathSync(path);
    if (!isBelow(realpathSync(root), real)) return null;
  } catch {
    return null;
  }
  // Open the path without links; the system does not follow a link that was put into it since.
  const fd = tryOpen(real, READ_FLAGS | O_NOFOLLOW_ANY);
  return fd === null ? null : new Entry(fd, real);
}

/** @returns a descriptor, which the caller closes. Throws the error of node:fs */
export function openToRead(path: string): number {
  return openSync(diskPath(path), READ_FLAGS);
}

function realRoot(root: string): string {
  return realpathSync(root, "buffer").toString("latin1");
}

function isBelow(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);
}

/** @returns null if it cannot be opened. Throws OutOfDescriptors. */
function tryOpen(path: string, flags: number): number | null {
  try {
    return openSync(diskPath(path), flags);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EMFILE" || code === "ENFILE") throw new OutOfDescriptors(error);
    return null;
  }
}
