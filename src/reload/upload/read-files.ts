/** Reads a module's files from the disk, for `hrmr pull` and `hrmr push`. */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { UserError } from "../../config/user-error";
import { checkPath, type ModuleContent } from "./names";

export interface ReadFiles {
  /** Sorted by path. */
  readonly files: readonly ModuleContent[];
  /**
   * Paths that were left out: packages, names that begin with a dot, symbolic links, and entries that are no plain
   * files.
   */
  readonly skipped: readonly string[];
}

/**
 * Reads a file, or a folder without packages and names that begin with a dot. Follows no symbolic link.
 *
 * @param folder the base of the paths
 * @param entry   "greet.ts", or "greet"
 * @throws UserError UPLOAD_LARGE above the limits, UPLOAD_PATH for a name that cannot be sent
 */
export function readFiles(
  folder: string,
  entry: string,
  { maxBytes, maxFiles }: { maxBytes: number; maxFiles: number },
): ReadFiles {
  const files: ModuleContent[] = [];
  const skipped: string[] = [];
  let sum = 0;
  /** `at` leads to the folder that `path` is in. */
  const visit = (path: string, at: string): void => {
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (name.startsWith(".") || name === "node_modules") return void skipped.push(path);
    const fd = openEntry(join(at, name));
    if (fd === null) return void skipped.push(path);
    try {
      const info = fstatSync(fd);
      const here = byDescriptor(fd, join(at, name));
      if (info.isDirectory())
        return readdirSync(here)
          .sort()
          .forEach((child) => visit(`${path}/${child}`, here));
      if (!info.isFile()) return void skipped.push(path);
      checkPath(path);
      sum += info.size;
      if (files.length === maxFiles || sum > maxBytes) throw tooLarge(join(folder, entry), maxBytes, maxFiles);
      files.push({ path, bytes: readFileSync(fd) });
    } finally {
      closeSync(fd);
    }
  };
  visit(entry, join(folder, dirname(entry)));
  return { files, skipped };
}

/**
 * Opens it first: what is checked is then read, even if a link gets its name meanwhile. A pipe does not block.
 *
 * @returns null for a link, a socket, a device without a driver. @throws Error ENOENT, EACCES
 */
function openEntry(path: string): number | null {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (["ELOOP", "ENXIO", "ENODEV"].includes((error as NodeJS.ErrnoException).code ?? "")) return null;
    throw error;
  }
}

/** A path that leads to the open folder, whatever its name leads to by now. */
function byDescriptor(fd: number, path: string): string {
  return process.platform === "linux" ? `/proc/self/fd/${fd}` : path;
}

function tooLarge(path: string, maxBytes: number, maxFiles: number): UserError {
  return new UserError(`${path} holds more than ${maxFiles} files, or ${maxBytes} bytes.`, {
    code: "UPLOAD_LARGE",
    hint: "Take out files that are not code, or raise control.maxUploadFiles and control.maxUploadBytes on the server.",
  });
}
