/** Finds a module's files in a modules folder, and checks whether others may replace them. */
import { lstatSync, readdirSync, type Stats } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../config/user-error";
import { displayPath } from "../../module/graph/describe-error";
import { isModuleFolder, moduleNameOf } from "../../module/build/discover";
import { fold, type Layout } from "./names";

/** An entry of the modules folder. */
export interface FolderEntry {
  /** "greet.ts", or "greet". */
  readonly entry: string;
  readonly isFolder: boolean;
  /** A folder's last access and last change, in seconds. */
  readonly times: readonly [number, number] | null;
}

/**
 * Finds the file `NAME.ts` or the folder `NAME` with an `index.ts`: both of them if two claim the name.
 *
 * @param next the replacement. Default: none
 * @throws UserError UPLOAD_TARGET for a symbolic link, for an entry that is neither file nor folder, and for one that
 *   blocks `next`
 */
export function findEntries(modulesDir: string, module: string, next: Layout | null = null): FolderEntry[] {
  const found: FolderEntry[] = [];
  for (const entry of readEntries(modulesDir)) {
    const info = lstatSync(join(modulesDir, entry), { throwIfNoEntry: false });
    const name = info === undefined ? null : nameOf(entry, info);
    if (info === undefined || name === null) continue;
    if (name !== module && fold(name) === fold(module))
      throw inTheWay(modulesDir, entry, "its name differs only in upper and lower case");
    if (name !== module) continue;
    const replaced = entryAt(modulesDir, entry, info, next);
    if (replaced !== null) found.push(replaced);
  }
  return found;
}

function readEntries(modulesDir: string): string[] {
  try {
    return readdirSync(modulesDir).sort();
  } catch (error) {
    // The default folder may not exist yet.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** The module that an entry is, or could be. */
function nameOf(entry: string, info: Stats): string | null {
  // A folder `greet.ts` blocks a file of that name.
  if (info.isDirectory()) return moduleNameOf(entry) ?? (isModuleFolder(entry) ? entry : null);
  return moduleNameOf(entry) ?? (isModuleFolder(entry) && !entry.includes(".") ? entry : null);
}

function entryAt(modulesDir: string, entry: string, info: Stats, next: Layout | null): FolderEntry | null {
  if (info.isSymbolicLink())
    throw inTheWay(modulesDir, entry, "it is a symbolic link, and the server does not replace a link's target");
  if (info.isDirectory()) {
    if (entry !== next?.entry && moduleNameOf(entry) !== null) return null;
    if (next?.isFolder !== true && entry === next?.entry) throw inTheWay(modulesDir, entry, "it is a folder");
    const isModule = readdirSync(join(modulesDir, entry)).some((file) => moduleNameOf(file) === "index");
    if (isModule) return { entry, isFolder: true, times: [info.atimeMs / 1000, info.mtimeMs / 1000] };
    // A folder beside a module that is a file may hold the module's data.
    if (next?.isFolder !== true) return null;
    throw inTheWay(modulesDir, entry, "it is a folder without an index.ts, which is not a module");
  }
  if (info.isFile() && moduleNameOf(entry) !== null) return { entry, isFolder: false, times: null };
  if (next === null) return null;
  throw inTheWay(modulesDir, entry, "it is not a module");
}

function inTheWay(modulesDir: string, entry: string, why: string): UserError {
  return new UserError(`${displayPath(join(modulesDir, entry))} is in the way: ${why}.`, {
    code: "UPLOAD_TARGET",
    hint: "Move it away on the server, or choose another name.",
  });
}
