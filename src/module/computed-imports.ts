/**
 * `import()` and `require()` of a path that is known only when they run. The bundler leaves them as they are, and they would be looked for
 * beside the bundle in the state folder: here they are given the folder of the file that their author wrote.
 */
import { readdirSync, readFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { dirname, join, resolve } from "node:path";

/** `__require` is Bun's own name for what `require` becomes. */
const CALL = /\bimport(?=\()|\b__require\.resolve\b|\b__require\b|\bimport\.meta\.require\b/g;
/** The whole argument is one text: the bundler has seen to it, or it is a package that is not bundled. */
const LITERAL_CALL = /^\s*\(\s*"(?:[^"\\\n]|\\.)*"\s*[,)]/;
/** The folder that an argument begins with, in a template or a text. */
const FOLDER_OF_CALL = /^\s*\(\s*[`"'](\.{1,2}\/(?:[^`"'$\\\n]*\/)?)/;
/** Characters of an argument that are looked at. */
const MAX_ARGUMENT = 2000;
/** Of a folder with more files than that, the rest does not count as the module's. */
const MAX_FILES = 1000;

export interface Rebased {
  readonly code: string;
  /** Files that a computed path may mean, as far as the folder stands in it: a change of them is a change of the module. Absolute. */
  readonly files: readonly string[];
}

/**
 * @param code  a bundle as the bundler gave it
 * @param map  its source map: tells which file a call stands in, and that it is no text. Lines and columns stay as they are
 */
export function rebaseImports(code: string, map: string): Rebased {
  const found = [...code.matchAll(CALL)].filter(({ 0: word, index }) => {
    const isLiteral = LITERAL_CALL.test(code.slice(index + word.length, index + MAX_ARGUMENT));
    return !isLiteral && !code.startsWith("var __require", lineStart(code, index));
  });
  if (found.length === 0) return { code, files: [] };
  const sources = new SourceMap(JSON.parse(map));
  const folders = new Map<string, number>();
  const named = new Set<string>();
  let text = "";
  let at = 0;
  for (const { 0: word, index } of found) {
    const source = sourceAt(sources, code, index);
    if (source === null) continue;
    const folder = dirname(source);
    const number = folders.get(folder) ?? folders.size;
    folders.set(folder, number);
    const prefix = FOLDER_OF_CALL.exec(code.slice(index + word.length, index + MAX_ARGUMENT))?.[1];
    if (prefix !== undefined) named.add(resolve(folder, prefix));
    // As long as what it stands for, so that all behind it stays in its column.
    text += code.slice(at, index) + nameOf(word, number).padEnd(word.length);
    at = index + word.length;
  }
  const files = [...named].sort().flatMap(filesIn);
  if (folders.size === 0) return { code, files: [] };
  return { code: `${text}${code.slice(at)}\n${helpers([...folders.keys()], contentHash(files))}`, files };
}

function lineStart(code: string, index: number): number {
  return code.lastIndexOf("\n", index) + 1;
}

/** @returns the author's file; null: it is part of a text, or the bundler's own */
function sourceAt(sources: SourceMap, code: string, index: number): string | null {
  const column = index - lineStart(code, index);
  const line = code.slice(0, index).split("\n").length - 1;
  const entry = sources.findEntry(line, column);
  if (!("originalSource" in entry) || entry.generatedLine !== line || entry.generatedColumn !== column) return null;
  return resolve(entry.originalSource);
}

function nameOf(word: string, number: number): string {
  const kind = word === "import" ? "$hi" : word.endsWith(".resolve") ? "$hs" : "$hr";
  return `${kind}${number.toString(36)}`;
}

/** Function declarations, which are there before anything of the bundle runs. */
function helpers(folders: readonly string[], hash: string): string {
  const each = folders.map((folder, number) => {
    const [from, name] = [JSON.stringify(folder), number.toString(36)];
    return (
      `async function $hi${name}(path, options) { return import($hrmrPath(path, ${from}), options); }\n` +
      `function $hr${name}(path) { return import.meta.require($hrmrPath(path, ${from})); }\n` +
      `function $hs${name}(path) { return Bun.resolveSync(path, ${from}); }\n` +
      `$hr${name}.resolve = $hs${name};\n`
    );
  });
  return (
    `function $hrmrPath(path, from) { return typeof path !== "string" || path === "hrmr" || /^[\\w-]{2,}:/.test(path) ? path : Bun.resolveSync(path, from); }\n` +
    `${each.join("")}// ${hash}\n`
  );
}

function filesIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile() || entry.isSymbolicLink());
    return entries
      .slice(0, MAX_FILES)
      .map(({ name }) => join(folder, name))
      .sort();
  } catch {
    // It may come later, or never.
    return [];
  }
}

/** They are no part of the bundle, and still of the version. */
function contentHash(files: readonly string[]): string {
  const hash = new Bun.CryptoHasher("sha256");
  for (const file of files) {
    hash.update(`${file}\0`);
    try {
      hash.update(readFileSync(file));
    } catch {
      // Gone since, a folder behind a link, or not to be read: the import tells.
    }
  }
  return hash.digest("hex").slice(0, 12);
}
