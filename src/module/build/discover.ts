/** Finds the modules of a folder. */
import { type Dirent, lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { join, parse } from "node:path";
import { UserError } from "../../config/user-error";
import { displayPath } from "../graph/describe-error";

/** A module by its name and the absolute path of the file that its author wrote. */
export interface ModuleFile {
  readonly name: string;
  readonly file: string;
}

/** A module that cannot be loaded because of its name or path, and why. Other modules load as usual. */
interface RefusedModule extends ModuleFile {
  readonly error: UserError;
}

/** The content of a modules folder. Each list is sorted by name. */
export interface Discovered {
  readonly modules: readonly ModuleFile[];
  readonly refused: readonly RefusedModule[];
  /** One sentence for each file that its author may take for a module, but is none: C++ and libraries. */
  readonly overlooked: readonly string[];
}

const MODULE_FILE = /^(.+)\.(?:[cm]?[jt]s|[jt]sx|c)$/s;
const NOT_A_MODULE = /\.d\.[cm]?ts$|\.test\.[^.]+$/;
const SKIPPED_NAMES = new Set(["lib", "node_modules"]);
/** Characters with another meaning in an import, or that would break a line of the log. */
// oxlint-disable-next-line no-control-regex
const UNFIT = /[\\?#\u0000-\u001f\u007f]/;
/** Names of procedures that begin with it are the server's: `rpc.discover`. */
export const RPC = "rpc";
const CPP_FILE = /\.(?:cc|cpp|cxx|c\+\+)$/i;
const LIBRARY_FILE = /\.(?:so|dylib|dll)(?:\.\d+)*$/i;

/**
 * Lists the modules of `dir`: `NAME.{ts,tsx,mts,cts,js,jsx,mjs,cjs,c}` and `NAME/index.*` with one of these endings.
 * Names that begin with `_` or `.`, `lib`, `node_modules`, type declarations and tests are no modules.
 *
 * Reads without waiting. A folder is read in microseconds, but under load each wait costs a turn of the loop behind all
 * other traffic.
 *
 * @throws UserError if the folder itself cannot be read
 */
export async function discoverModules(dir: string): Promise<Discovered> {
  const found = new Map<string, string[]>();
  const unreadable: RefusedModule[] = [];
  const overlooked: string[] = [];
  const listed = readModulesDir(dir);
  const entries = listed.map(({ name }) => name);
  let linking: string | null = null;
  for (const each of listed) {
    const entry = each.name;
    const sentence = overlookedText(dir, entry, () => (linking ??= linkingModules(dir, entries)));
    if (sentence !== null) overlooked.push(sentence);
    const name = nameOfEntry(entry);
    if (name === null) continue;
    try {
      for (const file of moduleFilesAt(dir, each)) found.set(name, [...(found.get(name) ?? []), file]);
    } catch (cause) {
      const file = join(dir, entry);
      unreadable.push({ name, file, error: cause instanceof UserError ? cause : modulesDirError(file, cause) });
    }
  }
  const modules: ModuleFile[] = [];
  const refused = unreadable;
  const alike = Map.groupBy(found, ([name]) => name.toLowerCase());
  for (const [name, [file = "", second]] of found) {
    const [twin] = alike.get(name.toLowerCase())?.find(([each]) => each !== name)?.[1] ?? [];
    if (second !== undefined) refused.push({ name, file, error: twoFilesError(name, file, second) });
    else if (twin !== undefined) refused.push({ name, file, error: caseError(file, twin) });
    else if (name === RPC) refused.push({ name, file, error: takenError(file) });
    else if (UNFIT.test(name)) refused.push({ name, file, error: unfitError(file) });
    else modules.push({ name, file });
  }
  return { modules: modules.sort(byName), refused: refused.sort(byName), overlooked };
}

function byName(a: ModuleFile, b: ModuleFile): number {
  return a.name < b.name ? -1 : 1;
}

/** @returns the name of the module that a file of this name makes in a modules folder; null: none */
export function moduleNameOf(file: string): string | null {
  if (file.startsWith("_") || file.startsWith(".") || NOT_A_MODULE.test(file)) return null;
  const name = MODULE_FILE.exec(file)?.[1] ?? null;
  return name === null || SKIPPED_NAMES.has(name) ? null : name;
}

/** Whether a folder of this name could be a module. */
export function isModuleFolder(name: string): boolean {
  return !name.startsWith("_") && !name.startsWith(".") && !SKIPPED_NAMES.has(name);
}

function readModulesDir(dir: string): Dirent[] {
  try {
    return readdirSync(dir, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (cause) {
    throw modulesDirError(dir, cause);
  }
}

function nameOfEntry(entry: string): string | null {
  return MODULE_FILE.test(entry) || NOT_A_MODULE.test(entry)
    ? moduleNameOf(entry)
    : isModuleFolder(entry)
      ? entry
      : null;
}

/** The file itself, or the index files of a folder. */
function moduleFilesAt(dir: string, listed: Dirent): string[] {
  const entry = listed.name;
  const path = join(dir, entry);
  // The listing tells plain files from links and folders. A name that is not UTF-8 is another file's, or none's.
  if (listed.isFile() && !entry.includes("\ufffd")) return MODULE_FILE.test(entry) ? [path] : [];
  // A save by rename may remove the file between the listing and here. The next look sees it.
  const info = statSync(path, { throwIfNoEntry: false });
  if (info === undefined && lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true)
    throw deadLinkError(path);
  if (info?.isFile()) return MODULE_FILE.test(entry) ? [path] : [];
  if (info?.isDirectory() !== true || MODULE_FILE.test(entry)) return [];
  return readdirSync(path)
    .filter((each) => MODULE_FILE.exec(each)?.[1] === "index" && !NOT_A_MODULE.test(each))
    .sort()
    .map((each) => join(path, each));
}

/** No sentence for a library that a module in C links, or for its source: they belong there. */
function overlookedText(dir: string, entry: string, linking: () => string): string | null {
  const isCpp = CPP_FILE.test(entry);
  // Node puts U+FFFD in place of bytes that are no UTF-8, and no file has the resulting name.
  if (entry.includes("\ufffd") && lstatSync(join(dir, entry), { throwIfNoEntry: false }) === undefined)
    return `${displayPath(join(dir, entry))} has a name that is not UTF-8, and is left out. Rename it.`;
  if (!isModuleFolder(entry) || (!isCpp && !LIBRARY_FILE.test(entry))) return null;
  if (linking().includes(isCpp ? parse(entry).name : entry)) return null;
  const shown = displayPath(join(dir, entry));
  const way = `write a module in C that declares those functions and names it: #pragma hrmr link "${isCpp ? `lib${parse(entry).name}.so` : `./${entry}`}"`;
  if (isCpp)
    return `${shown} is C++, which hrmr does not compile. Build a library of it with extern "C" functions, and ${way}`;
  return `${shown} is a library, and no module by itself. Give it extern "C" functions, and ${way}`;
}

/** The texts of the modules in C that link a library. */
function linkingModules(dir: string, entries: readonly string[]): string {
  const texts = entries.filter((entry) => entry.endsWith(".c")).map((entry) => readIfThere(join(dir, entry)));
  return texts.filter((text) => /#[ \t]*pragma[ \t]+hrmr[ \t]+link/.test(text)).join("\n");
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    // Deleted since, or not readable: its build reports that.
    return "";
  }
}

/** Bun's resolver ignores case here, so either module could get the other's code. */
function caseError(file: string, twin: string): UserError {
  return new UserError(
    `The names of ${displayPath(file)} and ${displayPath(twin)} differ only in upper and lower case.`,
    {
      code: "MODULE_NAME_TWICE",
      hint: "Rename one of them. Neither is loaded: not every system tells such names apart.",
    },
  );
}

function unfitError(file: string): UserError {
  return new UserError(
    `${JSON.stringify(displayPath(file))} cannot be a module: its name has a character that an import cannot have.`,
    {
      code: "MODULE_NAME_UNFIT",
      hint: "Rename it: letters, digits, - and _ are always right.",
    },
  );
}

function takenError(file: string): UserError {
  return new UserError(`${displayPath(file)} cannot be a module: procedures of that name are the server's own.`, {
    code: "MODULE_NAME_UNFIT",
    hint: "Rename it.",
  });
}

function twoFilesError(name: string, one: string, other: string): UserError {
  return new UserError(`Two files claim the module name "${name}": ${displayPath(one)} and ${displayPath(other)}.`, {
    code: "MODULE_NAME_TWICE",
    hint: "Rename or remove one of them. A name that begins with _ is not a module.",
  });
}

/** A dead link is an error and does not remove the module: its target may have been deleted by mistake. */
function deadLinkError(path: string): UserError {
  return new UserError(`${displayPath(path)} is a link to ${readlinkSync(path)}, which is not there.`, {
    code: "MODULE_LINK_DEAD",
    hint: "Point it to an existing file or folder, or remove it.",
  });
}

function modulesDirError(dir: string, cause: unknown): UserError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "UNKNOWN";
  const shown = displayPath(dir);
  if (code === "ENOENT") {
    const hint = "Create it, or name another folder with --modules DIR.";
    return new UserError(`Cannot read the modules folder ${shown}: there is no such folder.`, {
      code: "MODULES_DIR_MISSING",
      hint,
      cause,
    });
  }
  if (code === "ENOTDIR") {
    const hint = "Name the folder that holds the modules with --modules DIR.";
    return new UserError(`Cannot read the modules folder ${shown}: it is not a folder.`, {
      code: "MODULES_DIR_NOT_A_FOLDER",
      hint,
      cause,
    });
  }
  return new UserError(`Cannot read the modules folder ${shown} (${code}).`, {
    code: "MODULES_DIR_UNREADABLE",
    hint: "Let the user that runs the server read it.",
    cause,
  });
}
