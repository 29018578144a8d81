/** Looking at the disk: what a file is, and whether it is in the folder. Nothing here throws. */
import { accessSync, constants, readFileSync, realpathSync, statSync, type Stats } from "node:fs";

/** What tells one state of a file from another. ctime as well: mtime can be set back. Inode and device: a link may point elsewhere now. */
export interface FileFacts {
  readonly size: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  readonly ino: number;
  readonly dev: number;
}

const STAT_OPTIONS = { throwIfNoEntry: false } as const;

/** undefined for whatever cannot be had: absent, a file in place of a folder, a name that is too long, no permission. */
export function stat(path: string): Stats | undefined {
  try {
    return statSync(path, STAT_OPTIONS);
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

/** Whether `path` is in the folder once all links are resolved. The folder is resolved too, each time: it may be a link to the current release. */
export function isInside(root: string, path: string): boolean {
  try {
    const folder = realpathSync(root);
    const real = realpathSync(path);
    return real === folder || real.startsWith(folder.endsWith("/") ? folder : folder + "/");
  } catch {
    return false;
  }
}

/** @returns null when it cannot be read */
export function read(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch {
    return null;
  }
}

export function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
