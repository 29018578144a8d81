/** The files that a computed path may mean, as far as its text and its file tell. */
import { type Dirent, readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/** Only this many characters of an argument are read. */
export const MAX_ARGUMENT = 2000;
/** At most this many files of a folder count as the module's. */
export const MAX_FILES = 1000;

/** The folder at the start of a template or a string; also of the first argument of a URL. */
const RELATIVE = /^\s*\(\s*(?:new URL\(\s*)?[`"'](\.{1,2}\/(?:[^`"'$\\\n]*\/)?)/;
/** A variable at the start, and the folders behind it: `${dir}/words/${name}`, `dir + "/words/" + name`. */
const VARIABLE = /^\s*\(\s*(?:`\$\{([\w$]+)\}|([\w$]+)\s*\+\s*[`"'])((?:[^`"'$\\\n]*\/)?)/;
/** `join(dir, "words", name)`: the texts that more arguments follow are folders. */
const JOINED = /^\s*\(\s*(?:[\w$]+\.)?(?:join|resolve)\d*\(\s*([\w$]+)((?:\s*,\s*"[^"\\\n]*"(?=\s*,))*)/;

/**
 * @param argument what follows `import` or `require` in the bundle, from its parenthesis on
 * @param folder the folder of the author's file
 * @param code the bundle, for the values of its constants
 * @returns the folder that the path leads into; null: it cannot be told
 */
export function folderOf(argument: string, folder: string, code: string): string | null {
  const relative = RELATIVE.exec(argument)?.[1];
  if (relative !== undefined) return resolve(folder, relative);
  const [, inTemplate, added, rest = ""] = VARIABLE.exec(argument) ?? [];
  const start = constantOf(inTemplate ?? added, code);
  // A part of a name may follow the variable, so the last slash counts.
  if (start !== null) return resolve(folder, dirname(`${start}${rest}x`));
  const [, base, texts = ""] = JOINED.exec(argument) ?? [];
  const joined = constantOf(base, code);
  const steps = [...texts.matchAll(/"([^"]*)"/g)].map(([, text]) => text ?? "");
  return joined === null ? null : resolve(folder, joined, ...steps);
}

/** The text of a variable that is set once, to a path: `import.meta.dir` is one in the bundle. */
function constantOf(name: string | undefined, code: string): string | null {
  if (name === undefined) return null;
  const escaped = RegExp.escape(name);
  const sets = [...code.matchAll(new RegExp(`(?<![\\w$.])${escaped}\\s*(?:[-+*/|&?]{0,3}=(?![=>]))\\s*(.*)`, "g"))];
  const [, value = ""] = sets.length === 1 ? (sets[0] ?? []) : [];
  const text = /^"((?:\.{1,2}(?:\/[^"\\]*)?|\/[^"\\]*))"[;,]?/.exec(value)?.[1];
  return text ?? null;
}

/**
 * The helpers that a path may mean if nothing is known of it: all files of a module that is a folder; for a module that
 * is a file, `lib` and names that begin with `_` beside it. At most MAX_FILES.
 *
 * @param entry the module's own file
 */
export function helpersOf(entry: string): string[] {
  const folder = dirname(entry);
  const isFolder = /^index\.[^.]+$/.test(basename(entry));
  const found: string[] = [];
  visit(folder, (name) => isFolder || name === "lib" || name.startsWith("_"), found);
  return found.sort();
}

/** The files of a folder, sorted; not of the folders in it. At most MAX_FILES. */
export function filesIn(folder: string): string[] {
  const files = entriesOf(folder).filter((entry) => entry.isFile() || entry.isSymbolicLink());
  return files
    .slice(0, MAX_FILES)
    .map(({ name }) => join(folder, name))
    .sort();
}

function visit(folder: string, isWanted: (name: string) => boolean, found: string[]): void {
  for (const entry of entriesOf(folder)) {
    const { name } = entry;
    if (found.length >= MAX_FILES) return;
    if (name.startsWith(".") || name === "node_modules" || !isWanted(name)) continue;
    if (entry.isDirectory()) visit(join(folder, name), () => true, found);
    else if (entry.isFile()) found.push(join(folder, name));
  }
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    // The folder does not exist yet.
    return [];
  }
}
