/**
 * `import()` and `require()` of a path that is computed at run time. The bundler leaves them unchanged, so the path
 * would be resolved against the bundle in the state folder. The code here resolves it against the folder of the
 * author's file.
 */
import { readFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { dirname, extname, resolve, sep } from "node:path";
import { filesIn, folderOf, helpersOf, MAX_ARGUMENT, MAX_FILES } from "./computed-folder";

/** In a bundle, `require` has Bun's name `__require`. */
const CALL = /\bimport(?=\()|\b__require\.resolve\b|\b__require\b|\bimport\.meta\.require\b/g;
/** The whole argument is one string: the bundler has resolved it, or it names a package that is not bundled. */
const LITERAL_CALL = /^\s*\(\s*"(?:[^"\\\n]|\\.)*"\s*[,)]/;
const SOURCE = /\.[cm]?[jt]sx?$/;

interface Rebased {
  readonly code: string;
  /** Files that a computed path may mean. A change of one changes the module. Absolute paths. */
  readonly files: readonly string[];
}

/**
 * @param code the bundler's output
 * @param map its source map: it gives the file of a call, and separates calls from text in a string. Lines and columns
 *   do not change
 * @param entry the module's own file
 */
export function rebaseImports(code: string, map: string, entry: string): Rebased {
  const found = [...code.matchAll(CALL)].filter(({ 0: word, index }) => {
    const isLiteral = LITERAL_CALL.test(code.slice(index + word.length, index + MAX_ARGUMENT));
    return !isLiteral && !code.startsWith("var __require", lineStart(code, index));
  });
  if (found.length === 0) return { code, files: [] };
  const sources = new SourceMap(JSON.parse(map));
  const folders = new Map<string, number>();
  const meant = new Set<string>();
  let text = "";
  let at = 0;
  for (const { 0: word, index } of found) {
    const source = sourceAt(sources, code, index);
    if (source === null) continue;
    const folder = dirname(source);
    const number = folders.get(folder) ?? folders.size;
    folders.set(folder, number);
    // A package may import anything, and does not change with the module: only its own folders count.
    const isPackage = source.includes(`${sep}node_modules${sep}`);
    const named = folderOf(code.slice(index + word.length, index + MAX_ARGUMENT), folder, isPackage ? "" : code);
    if (named !== null) filesIn(named).forEach((file) => meant.add(file));
    else if (!isPackage) helpersOf(entry).forEach((file) => meant.add(file));
    // Padded to the old length, so that the following code stays in its column.
    text += code.slice(at, index) + nameOf(word, number).padEnd(word.length);
    at = index + word.length;
  }
  const files = withImports([...meant].sort());
  if (folders.size === 0) return { code, files: [] };
  return { code: `${text}${code.slice(at)}\n${helpers([...folders.keys()], contentHash(files))}`, files };
}

function lineStart(code: string, index: number): number {
  return code.lastIndexOf("\n", index) + 1;
}

/** @returns the author's file; null: the match is part of a string, or the bundler's own code */
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

/** Function declarations: they are hoisted, so they exist before the bundle runs. */
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

/** These files, with their relative imports and the imports of those. */
function withImports(files: readonly string[]): string[] {
  const all = new Set(files);
  // The loop also visits entries that are added to the set meanwhile.
  for (const file of all)
    if (all.size < MAX_FILES && SOURCE.test(file)) for (const each of importsOf(file)) all.add(each);
  return [...all].sort();
}

function importsOf(file: string): string[] {
  const ending = extname(file);
  const loader = ending === ".tsx" ? "tsx" : ending.endsWith("ts") ? "ts" : "jsx";
  try {
    const imports = new Bun.Transpiler({ loader }).scanImports(readFileSync(file, "utf8"));
    return imports.filter(({ path }) => path.startsWith(".")).flatMap(({ path }) => resolved(path, dirname(file)));
  } catch {
    // It has a mistake, or is gone: the import itself will fail with the reason.
    return [];
  }
}

function resolved(path: string, folder: string): string[] {
  try {
    return [Bun.resolveSync(path, folder)];
  } catch {
    // The file may appear later, or never.
    return [];
  }
}

/** The files are not in the bundle, but a change of them must make a new version. */
function contentHash(files: readonly string[]): string {
  const hash = new Bun.CryptoHasher("sha256");
  for (const file of files) {
    hash.update(`${file}\0`);
    try {
      hash.update(readFileSync(file));
    } catch {
      // Deleted since, a folder behind a link, or not readable: the import itself will fail with the reason.
    }
  }
  return hash.digest("hex").slice(0, 12);
}
