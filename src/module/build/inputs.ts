/** The inputs of a bundle. A cheap look at them decides whether another build could give another result. */
import { lstatSync, readdirSync, readFileSync, type Stats, statSync } from "node:fs";
import { isBuiltin } from "node:module";
import { basename, dirname, extname, join, parse, resolve } from "node:path";
import { aliasFolders, findLinks, type Import, leadsTo, type Link, linksOn } from "./links";

/**
 * The state of the inputs when a bundle was built. Not for other threads: `hasChanged` refreshes the folders'
 * signatures.
 */
export interface InputSet {
  /**
   * By path, the result of a stat, "" for a missing file: the sources, and files that would change how imports resolve.
   */
  readonly files: ReadonlyMap<string, string>;
  /** The path of the bundle, and its state. */
  readonly bundle: readonly [path: string, signature: string];
  /** The package.json and tsconfig.json among them, even missing ones, each with the folder that it applies to. */
  readonly configs: ReadonlyMap<string, string>;
  /** The symbolic links on the way to the module's file and to its imports. */
  readonly links: ReadonlyMap<string, Link>;
  /** Folders of the author's own inputs, for new files that an import without extension would prefer. */
  readonly folders: Map<string, FolderView>;
  /** False if a file was written so shortly before the build that a later write may have the same time: build again. */
  readonly isSettled: boolean;
}

interface FolderView {
  signature: string;
  /** The names that an import could mean, in their state at the build. */
  readonly stems: Map<string, string>;
}

/** Signatures taken during one look at many modules, which share most inputs. Use a new one for each look. */
export type SignatureMemo = Map<string, string>;

/** The part of a metafile that says which files were read, and why. Paths are relative to `cwd`. */
export interface BuildGraph {
  readonly inputs: Record<string, { imports: { path: string; original?: string; external?: boolean }[] }>;
}

const RESOLVABLE = new Set([".ts", ".tsx", ".js", ".jsx", ".mjs", ".mts", ".cjs", ".cts", ".json"]);
const CONFIG_FILES = ["package.json", "tsconfig.json", "jsconfig.json"];
// A file's time comes from the kernel's tick: 10 ms at the slowest. Two writes within one tick look the same.
const CLOCK_TICK_MS = 10;

/**
 * Records the state of all files that a build read.
 *
 * @param graph  the build's metafile
 * @param entry the module's file under its own name (the metafile has symbolic links resolved)
 * @param bundle the path of the bundle
 * @param extra  further files that matter: files of external packages
 * @param startedAt Date.now() before the build: later changes count
 */
export function noteInputs(
  graph: BuildGraph,
  entry: string,
  bundle: string,
  extra: readonly string[],
  startedAt: number,
): InputSet {
  const inputs = Object.keys(graph.inputs).filter((path) => !isVirtual(path));
  const paths = new Set([entry, ...inputs.map((path) => resolve(path))]);
  const own = [...paths].filter((path) => !path.includes("/node_modules/"));
  const configs = new Map<string, string>();
  addConfigFiles(configs, own);
  addPackageFolders(configs, graph, inputs);
  for (const path of extra) if (basename(path) === "package.json") configs.set(path, dirname(path));

  const links = linksOfBuild(importsOf(graph, inputs), configs.keys());
  for (const link of linksOn(entry)) links.set(link.path, link);
  const folders = viewFolders(own);
  const files = new Map<string, string>();
  for (const path of [...paths, ...configs.keys(), ...extra]) files.set(path, signatureAt(path));
  const newest = newestChange([...paths, ...configs.keys(), ...folders.keys()]);
  const isSettled = newest < startedAt - CLOCK_TICK_MS;
  return { files, bundle: [bundle, bundleSignature(bundle)], configs, links, folders, isSettled };
}

// In milliseconds since 1970. Times in the future (a wrong clock) are ignored.
function newestChange(paths: readonly string[]): number {
  const now = Date.now() + CLOCK_TICK_MS;
  const times = paths.map((path) => statSync(path, { throwIfNoEntry: false })?.ctimeMs ?? 0);
  return Math.max(0, ...times.filter((time) => time <= now));
}

/**
 * Whether a new build could give another result. Stats the inputs; does not build.
 *
 * @param memo share one among the modules of one look, and drop it afterwards
 */
export function hasChanged(inputs: InputSet, memo: SignatureMemo = new Map()): boolean {
  if (!inputs.isSettled) return true;
  const [bundle, made] = inputs.bundle;
  if (bundleSignature(bundle) !== made) return true;
  for (const [path, signature] of inputs.files) {
    if (currentSignature(path, memo) !== signature) return true;
  }
  for (const { path, leadsTo: before } of inputs.links.values()) if (leadsTo(path) !== before) return true;
  for (const [folder, view] of inputs.folders) {
    const signature = currentSignature(folder, memo);
    if (signature === view.signature) continue;
    const names = namesByStem(folder);
    for (const [stem, seen] of view.stems) if ((names.get(stem) ?? "") !== seen) return true;
    // A save by rename changes the folder too. No name that an import could mean has come or gone.
    view.signature = signature;
  }
  return false;
}

/**
 * Adds the names to watch for a change: the author's own files, and the links on the paths of imports.
 *
 * @param stateDir its files are the server's own, and are left out
 * @param into  names in a folder, by its absolute path
 */
export function addWatched({ files, links }: InputSet, stateDir: string, into: Record<string, string[]>): void {
  const add = (path: string): void => {
    const names = (into[dirname(path)] ??= []);
    if (!names.includes(basename(path))) names.push(basename(path));
  };
  for (const [path, signature] of files) {
    if (signature !== "" && !path.includes("/node_modules/") && !path.startsWith(`${stateDir}/`)) add(path);
  }
  for (const path of links.keys()) add(path);
}

function currentSignature(path: string, memo: SignatureMemo): string {
  let signature = memo.get(path);
  if (signature === undefined) {
    signature = signatureAt(path);
    memo.set(path, signature);
  }
  return signature;
}

/** The result of a stat of `path`, "" if it does not exist. */
export function signatureAt(path: string): string {
  const info = statSync(path, { throwIfNoEntry: false });
  return info === undefined ? "" : signatureOf(info);
}

// The change time detects changes that keep the modification time: copies that restore it, a rename over the file.
function signatureOf({ ino, size, mtimeMs, ctimeMs }: Stats): string {
  return `${ino}:${size}:${mtimeMs}:${ctimeMs}`;
}

/** Without the change time: each link to the bundle, such as the one that keeps its version, changes it. */
function bundleSignature(path: string): string {
  const info = statSync(path, { throwIfNoEntry: false });
  return info === undefined ? "" : `${info.ino}:${info.size}:${info.mtimeMs}`;
}

function isVirtual(path: string): boolean {
  return /^[\w-]{2,}:/.test(path);
}

// A package.json decides how a folder's files are read, a tsconfig.json how its imports resolve. Both apply to all
// folders below.
function addConfigFiles(configs: Map<string, string>, own: readonly string[]): void {
  for (const folder of new Set(own.flatMap((path) => foldersUpward(dirname(path))))) {
    for (const name of CONFIG_FILES) configs.set(join(folder, name), folder);
    for (const name of ["tsconfig.json", "jsconfig.json"]) {
      for (const base of basesOf(join(folder, name), 0)) configs.set(base, folder);
    }
  }
}

const MAX_EXTENDS = 8;

// The files that a tsconfig.json extends, except those in packages, which change with their package.
function basesOf(path: string, depth: number): string[] {
  if (depth === MAX_EXTENDS || statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return [];
  const bases = [readExtends(path)].flat().filter((base) => typeof base === "string" && /^[./]/.test(base));
  return bases.flatMap((base) => {
    const file = resolve(dirname(path), extname(String(base)) === ".json" ? String(base) : `${String(base)}.json`);
    return [file, ...basesOf(file, depth + 1)];
  });
}

function readExtends(path: string): unknown {
  try {
    const config: unknown = Bun.JSONC.parse(readFileSync(path, "utf8"));
    return typeof config === "object" && config !== null && "extends" in config ? config.extends : undefined;
  } catch {
    // Being written, or broken: the bundler speaks of it, or passes it over.
    return undefined;
  }
}

function importsOf(graph: BuildGraph, inputs: readonly string[]): Import[] {
  return inputs.flatMap((importer) => {
    const from = resolve(importer);
    const imports = (graph.inputs[importer]?.imports ?? []).filter(
      ({ path, original }) => !isVirtual(original ?? path) && !isVirtual(path),
    );
    return imports.map(({ path, original }) => ({
      importer: from,
      specifier: original ?? path,
      target: resolve(path),
    }));
  });
}

/** @param configFiles  read if they may name more folders to look in */
export function linksOfBuild(imports: readonly Import[], configFiles: Iterable<string>): Map<string, Link> {
  const homes = new Map<string, string | null>();
  const homeOf = (specifier: string, folder: string): string | null => {
    const name = packageName(specifier);
    if (name === null) return null;
    const key = `${folder}\0${name}`;
    const known = homes.get(key);
    if (known !== undefined) return known;
    const home = foldersUpward(folder)
      .map((each) => join(each, "node_modules", name))
      .find((path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined);
    homes.set(key, home ?? null);
    return home ?? null;
  };
  const tsconfigs = [...configFiles].filter((path) => path.endsWith(".json") && basename(path) !== "package.json");
  return findLinks(imports, homeOf, tsconfigs.flatMap(aliasFolders));
}

// Each folder up to the one where a package was found: an installation in a nearer one would win.
function addPackageFolders(configs: Map<string, string>, graph: BuildGraph, inputs: readonly string[]): void {
  const seen = new Set<string>();
  for (const importer of inputs) {
    for (const { path, original } of graph.inputs[importer]?.imports ?? []) {
      const name = packageName(original ?? path);
      const folder = dirname(resolve(importer));
      if (name === null || seen.has(`${folder}\0${name}`)) continue;
      seen.add(`${folder}\0${name}`);
      for (const above of foldersUpward(folder)) {
        const home = join(above, "node_modules", name);
        configs.set(join(home, "package.json"), home);
        if (statSync(join(home, "package.json"), { throwIfNoEntry: false }) !== undefined) break;
      }
    }
  }
}

/** The package that a specifier names, or null for paths and built-in modules. */
export function packageName(specifier: string): string | null {
  if (!/^[@a-z0-9]/i.test(specifier) || isBuiltin(specifier) || specifier.startsWith("bun:") || specifier === "hrmr")
    return null;
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}

/** `folder` and all above it, the nearest first. */
export function foldersUpward(folder: string): string[] {
  const { root } = parse(folder);
  const folders = [folder];
  for (let at = folder; at !== root; folders.push(at)) at = dirname(at);
  return folders;
}

function viewFolders(own: readonly string[]): Map<string, FolderView> {
  const folders = new Map<string, FolderView>();
  for (const path of own) {
    const stem = basename(path, extname(path));
    viewStem(folders, dirname(path), stem);
    // NAME.ts wins over NAME/index.ts.
    if (stem === "index") viewStem(folders, dirname(dirname(path)), basename(dirname(path)));
  }
  for (const [folder, view] of folders) {
    view.signature = signatureAt(folder);
    const names = namesByStem(folder);
    for (const stem of view.stems.keys()) view.stems.set(stem, names.get(stem) ?? "");
  }
  return folders;
}

function viewStem(folders: Map<string, FolderView>, folder: string, stem: string): void {
  const view = folders.get(folder) ?? { signature: "", stems: new Map<string, string>() };
  view.stems.set(stem, "");
  folders.set(folder, view);
}

/** Many modules share a folder, and a look at each asks for its names. */
const listings = new Map<string, { readonly signature: string; readonly names: ReadonlyMap<string, string> }>();
const MAX_LISTINGS = 100;

/** @returns by stem, the files of a folder that an import of that stem could mean, in one string */
function namesByStem(folder: string): ReadonlyMap<string, string> {
  const now = Date.now();
  const info = statSync(folder, { throwIfNoEntry: false });
  const signature = info === undefined ? "" : signatureOf(info);
  const known = listings.get(folder);
  if (known?.signature === signature) return known.names;
  const names = listNames(folder);
  if (listings.size >= MAX_LISTINGS) listings.clear();
  // After a change within this tick, the folder would look the same.
  if (info !== undefined && info.ctimeMs < now - CLOCK_TICK_MS) listings.set(folder, { signature, names });
  else listings.delete(folder);
  return names;
}

function listNames(folder: string): ReadonlyMap<string, string> {
  let entries: string[] = [];
  try {
    entries = readdirSync(folder).sort();
  } catch {
    // The folder is gone with all its names.
  }
  const names = new Map<string, string>();
  for (const name of entries) {
    const ending = extname(name);
    if (!RESOLVABLE.has(ending)) continue;
    const stem = name.slice(0, -ending.length);
    const before = names.get(stem);
    names.set(stem, before === undefined ? name : `${before}/${name}`);
  }
  return names;
}
