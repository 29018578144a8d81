/** Reads a module's files from the disk, for `hrmr pull` and `hrmr push`. */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
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
  const visit = (path: string): void => {
    const info = lstatSync(join(folder, path));
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (name.startsWith(".") || name === "node_modules") return void skipped.push(path);
    if (info.isDirectory())
      return readdirSync(join(folder, path))
        .sort()
        .forEach((child) => visit(`${path}/${child}`));
    if (!info.isFile()) return void skipped.push(path);
    checkPath(path);
    sum += info.size;
    if (files.length === maxFiles || sum > maxBytes) throw tooLarge(join(folder, entry), maxBytes, maxFiles);
    files.push({ path, bytes: readFileSync(join(folder, path)) });
  };
  visit(entry);
  return { files, skipped };
}

function tooLarge(path: string, maxBytes: number, maxFiles: number): UserError {
  return new UserError(`${path} holds more than ${maxFiles} files, or ${maxBytes} bytes.`, {
    code: "UPLOAD_LARGE",
    hint: "Take out files that are not code, or raise control.maxUploadFiles and control.maxUploadBytes on the server.",
  });
}
