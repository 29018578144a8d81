/** Which modules a folder holds. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../config/user-error";
import { displayPath } from "./describe-error";

/** A module by its name and the absolute path of the file that its author wrote. */
export interface ModuleFile {
  readonly name: string;
  readonly file: string;
}

const MODULE_FILE = /^(.+)\.(?:ts|tsx|js|mjs|c)$/;
const NOT_A_MODULE = /\.d\.ts$|\.test\.[^.]+$/;
const SKIPPED_NAMES = new Set(["lib", "node_modules"]);

/**
 * Lists the modules of `dir`: `NAME.{ts,tsx,js,mjs,c}` and `NAME/index.{ts,tsx,js,mjs,c}`, sorted by name. What begins with `_` or
 * `.`, `lib`, `node_modules`, type declarations and tests are no modules.
 *
 * Reads without waiting: under load, each wait is a turn of the loop behind everybody's traffic, and a folder is read in microseconds.
 *
 * @throws UserError when the folder cannot be read, or when two files claim one name
 */
export async function discoverModules(dir: string): Promise<ModuleFile[]> {
  const found = new Map<string, string>();
  for (const name of readModulesDir(dir)) {
    const module = moduleAt(dir, name);
    if (module === null) continue;
    const other = found.get(module.name);
    if (other !== undefined) throw twoFilesError(module.name, other, module.file);
    found.set(module.name, module.file);
  }
  return [...found].map(([name, file]) => ({ name, file })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** @returns the name of the module that a file of this name would be in a modules folder; null: it would be none */
export function moduleNameOf(file: string): string | null {
  if (file.startsWith("_") || file.startsWith(".") || NOT_A_MODULE.test(file)) return null;
  const name = MODULE_FILE.exec(file)?.[1] ?? null;
  return name === null || SKIPPED_NAMES.has(name) ? null : name;
}

/** Whether a folder of this name could be a module. */
export function isModuleFolder(name: string): boolean {
  return !name.startsWith("_") && !name.startsWith(".") && !SKIPPED_NAMES.has(name);
}

function readModulesDir(dir: string): string[] {
  try {
    return readdirSync(dir).sort();
  } catch (cause) {
    throw modulesDirError(dir, cause);
  }
}

function moduleAt(dir: string, entry: string): ModuleFile | null {
  if (entry.startsWith("_") || entry.startsWith(".") || NOT_A_MODULE.test(entry)) return null;
  const path = join(dir, entry);
  const name = MODULE_FILE.exec(entry)?.[1];
  if (SKIPPED_NAMES.has(name ?? entry)) return null;
  // A save by rename may take the file away between the listing and here; it is seen at the next look.
  const info = statSync(path, { throwIfNoEntry: false });
  if (info?.isFile()) return name === undefined ? null : { name, file: path };
  return info?.isDirectory() ? indexOf(path, entry) : null;
}

function indexOf(folder: string, name: string): ModuleFile | null {
  let entries: string[];
  try {
    entries = readdirSync(folder);
  } catch (cause) {
    throw modulesDirError(folder, cause);
  }
  const files = entries
    .filter((entry) => MODULE_FILE.exec(entry)?.[1] === "index")
    .sort()
    .map((entry) => join(folder, entry));
  const [file, other] = files;
  if (file === undefined) return null;
  if (other !== undefined) throw twoFilesError(name, file, other);
  return { name, file };
}

function twoFilesError(name: string, one: string, other: string): UserError {
  return new UserError(`Two files claim the module name "${name}": ${displayPath(one)} and ${displayPath(other)}.`, {
    code: "MODULE_NAME_TWICE",
    hint: "Rename or remove one of them. A name that begins with _ is no module.",
  });
}

function modulesDirError(dir: string, cause: unknown): UserError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "UNKNOWN";
  const shown = displayPath(dir);
  if (code === "ENOENT") {
    const hint = "Create it, or name another folder with --modules DIR.";
    return new UserError(`Cannot read the modules folder ${shown}: there is no such folder.`, { code: "MODULES_DIR_MISSING", hint, cause });
  }
  if (code === "ENOTDIR") {
    const hint = "Name the folder that holds the modules with --modules DIR.";
    return new UserError(`Cannot read the modules folder ${shown}: it is not a folder.`, { code: "MODULES_DIR_NOT_A_FOLDER", hint, cause });
  }
  return new UserError(`Cannot read the modules folder ${shown} (${code}).`, {
    code: "MODULES_DIR_UNREADABLE",
    hint: "Let the user that runs the server read it.",
    cause,
  });
}
