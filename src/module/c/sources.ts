/** The sources of a module in C: its file, the files that it includes, and the libraries that it names. */
import { readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { type ModuleError, wholeFileError } from "../graph/describe-error";
import type { ModuleFile } from "../build/discover";
import type { BuildGraph } from "../build/inputs";

/** Plain data: the content of a bundle. */
export interface CSources {
  readonly name: string;
  /** The folder that all files lie in, absolute. */
  readonly root: string;
  /** The module's own file, by its path in `root`. */
  readonly entry: string;
  /** By their paths in `root`. As latin1, so that every byte is kept, whatever the text's encoding. */
  readonly files: Readonly<Record<string, string>>;
  readonly libs: readonly LinkedLibrary[];
  /** Folders with headers, absolute, in the order of the search. */
  readonly include: readonly string[];
}

interface LinkedLibrary {
  /** "z", or the absolute path of a file. */
  readonly name: string;
  /** The `#pragma` that names it: the file by its path in `root`, and the line. null: the config names it. */
  readonly position: { readonly file: string; readonly line: number } | null;
}

interface CSettings {
  /** Names of libraries, or paths: relative ones from the module's folder. */
  readonly libs: readonly string[];
  /** Folders with headers; relative ones from the module's folder. */
  readonly include: readonly string[];
}

interface ReadSources {
  readonly sources: CSources;
  /** Absolute paths of the files that were read. */
  readonly inputs: readonly string[];
  /** Absolute paths of files that were missing. If one appears, the sources change. */
  readonly missing: readonly string[];
}

/** The server's own, even if another file has that name. */
const OWN_HEADER = "hrmr.h";
const INCLUDE = /^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)/gm;
const PRAGMA = /^[ \t]*#[ \t]*pragma[ \t]+hrmr[ \t]+(link|include)[ \t]+"([^"\n]+)"/gm;

/** Whether a module's file is in C. */
export function isC(file: string): boolean {
  return file.endsWith(".c");
}

/**
 * Reads a module's file and all files that it includes by name. The compiler finds the system's headers (`<stdio.h>`)
 * itself.
 *
 * @throws ModuleError if the file itself cannot be read
 */
function readSources({ name, file }: ModuleFile, settings: CSettings): ReadSources {
  const reader = new SourceReader(dirname(file), settings);
  const text = readText(file);
  if (text === null) throw wholeFileError(name, file, "the file cannot be read");
  reader.take(file, text);
  return reader.finish(name, file);
}

class SourceReader {
  readonly #texts = new Map<string, string>();
  readonly #missing = new Set<string>();
  /** Their positions with absolute paths. */
  readonly #libs: LinkedLibrary[];
  readonly #include: string[];

  constructor(folder: string, { libs, include }: CSettings) {
    this.#libs = libs.map((lib) => ({ name: libraryName(folder, lib), position: null }));
    this.#include = include.map((dir) => resolve(folder, dir));
  }

  take(file: string, text: string): void {
    this.#texts.set(file, text);
    const code = withoutComments(text);
    // Before the includes, which it may help to find.
    for (const match of code.matchAll(PRAGMA)) this.#obey(file, code, match);
    for (const [, quoted, angled] of code.matchAll(INCLUDE)) this.#follow(file, quoted, angled);
  }

  finish(name: string, file: string): ReadSources {
    const inputs = [...this.#texts.keys()];
    // Includes the folders with headers, so that relative paths such as "../x.h" still lead to the same files.
    const root = commonFolder([
      ...inputs.map((path) => dirname(path)),
      ...this.#include.filter((dir) => !isSystems(dir)),
    ]);
    const inRoot = (path: string): string => relative(root, path);
    const files = inputs.map((path): [string, string] => [inRoot(path), this.#texts.get(path) ?? ""]);
    const libs = this.#libs.map((lib) => ({
      ...lib,
      position: lib.position === null ? null : { ...lib.position, file: inRoot(lib.position.file) },
    }));
    const sources = { name, root, entry: inRoot(file), files: Object.fromEntries(files), libs, include: this.#include };
    return { sources, inputs, missing: [...this.#missing] };
  }

  #obey(file: string, code: string, { 1: what, 2: value = "", index }: RegExpExecArray): void {
    if (what === "include") this.#include.push(resolve(dirname(file), value));
    else this.#libs.push({ name: libraryName(dirname(file), value), position: { file, line: lineAt(code, index) } });
  }

  #follow(file: string, quoted: string | undefined, angled: string | undefined): void {
    const named = quoted ?? angled ?? "";
    if (named === OWN_HEADER) return;
    const folders = [
      ...(quoted === undefined ? [] : [dirname(file)]),
      ...this.#include.filter((dir) => !isSystems(dir)),
    ];
    for (const folder of folders) {
      const path = resolve(folder, named);
      if (this.#texts.has(path)) return;
      const text = readText(path);
      if (text !== null) return this.take(path, text);
      this.#missing.add(path);
    }
  }
}

/** Files of system packages change only with those, so they are not copied or watched. */
function isSystems(folder: string): boolean {
  return /^\/(?:usr|Library)\//.test(`${folder}/`);
}

function libraryName(folder: string, named: string): string {
  return named.includes("/") ? resolve(folder, named) : named;
}

/** @returns as latin1; null if it is missing, or no file */
function readText(path: string): string | null {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return null;
  try {
    return readFileSync(path, "latin1");
  } catch {
    // It was removed, or is not readable: the compiler names the line that needs it.
    return null;
  }
}

/** Keeps the length and the lines. */
function withoutComments(code: string): string {
  return code.replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g, (part) =>
    part.startsWith("/") ? part.replace(/[^\n]/g, " ") : part,
  );
}

function lineAt(text: string, index: number): number {
  return text.slice(0, index).split("\n").length;
}

function commonFolder(folders: readonly string[]): string {
  const [first = "/", ...rest] = folders;
  let common = first;
  for (const folder of rest)
    while (!`${folder}/`.startsWith(common === "/" ? "/" : `${common}/`)) common = dirname(common);
  return common;
}

/** @returns absolute path of one of the sources */
export function authorsPath({ root }: Pick<CSources, "root">, file: string): string {
  return join(root, file);
}

/** An error of the whole module, at its first file. */
export function sourcesError(sources: CSources, message: string, cause?: unknown): ModuleError {
  return wholeFileError(sources.name, authorsPath(sources, sources.entry), message, cause);
}

/** @throws ModuleError if the module's file cannot be read. Mistakes in it show when it is compiled */
export function bundleC(
  file: ModuleFile,
  { libs = [], include = [] }: Partial<CSettings>,
): { text: string; graph: BuildGraph; externals: readonly string[] } {
  const { sources, inputs, missing } = readSources(file, { libs, include });
  const text = `// ${JSON.stringify(file.file)}: compiled when it is loaded.
import { nativeModule } from "hrmr/native";
export default nativeModule(${JSON.stringify(sources)}, (body, init) => new Response(body, init));
`;
  return {
    text,
    graph: { inputs: Object.fromEntries(inputs.map((path) => [path, { imports: [] }])) },
    externals: missing,
  };
}
