/** Makes one version of a module: one file with all its imports, named by its content. */
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { readdir, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { externalPlugin, IMPORT_META_DEFINES, importMetaPlugin, needsImportMeta, withoutAddedImport } from "./plugins";
import { makePrivateFolder, PRIVATE_FILE } from "../../system/private-files";
import { bundleC, isC } from "../c/sources";
import { buildLogsError, unresolvedSpecifier, wholeFileError } from "../graph/describe-error";
import { rebaseImports } from "./computed-imports";
import type { ModuleFile } from "./discover";
import { linksOfBuild, noteInputs, type BuildGraph, type InputSet, type SignatureMemo } from "./inputs";
import { findKeptBuild, keepBuild } from "./kept-build";
import { type Import, leadsTo } from "./links";
import { transpilePlain } from "./plain";
import { withProgramFiles } from "./program-files";
import { type Prebuilt, prebuiltOf, type SourceMap, toPrebuilt } from "./prebuilt";
import { followAgain, forgetFoldersOf, refreshView, rememberView } from "./resolver-view";

interface BuildOptions {
  /** Absolute path of the state folder; bundles go to `bundles/MODULE/HASH.js` in it. */
  readonly stateDir: string;
  /** Packages that must not be bundled. */
  readonly external: readonly string[];
  /** Of a module in C: libraries to link, by name or path. Default: the ones that its files name. */
  readonly libs?: readonly string[];
  /** Of a module in C: folders with headers. Default: the ones that its files name. */
  readonly include?: readonly string[];
}

/** @param config a module's settings. The config was checked when it was read: values of a wrong type are ignored */
export function buildOptions(
  stateDir: string,
  { external, libs, include }: Readonly<Record<string, unknown>>,
): BuildOptions {
  return { stateDir, external: texts(external), libs: texts(libs), include: texts(include) };
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

export interface BuiltModule {
  readonly name: string;
  /** The author's file, absolute path. */
  readonly source: string;
  /** The bundle, absolute path. */
  readonly file: string;
  /** 12 hexadecimal digits, a hash of the bundle's content: the version's identity. */
  readonly hash: string;
  /** Noted a turn of the loop after the build, or when it is first read. @throws Error if an input cannot be looked at */
  readonly inputs: InputSet;
  /** Whether it was built without the bundler. */
  readonly isPlain: boolean;
  readonly buildMs: number;
}

interface Bundle {
  readonly text: string;
  readonly graph: BuildGraph;
  /**
   * Further files that decide about the bundle, by absolute path: files that it imports, and missing files that it
   * would import instead.
   */
  readonly externals: readonly string[];
  /** Default false. */
  readonly isPlain?: boolean;
}

/**
 * Builds `file` and all its imports into one file in the state folder. An existing bundle stays unchanged.
 *
 * @param isExact true: by the bundler in any case. Its source map is the one that errors are worded by. Default false
 * @throws ModuleError for a mistake in the module; a plain Error if the state folder cannot be written
 */
export async function buildModule(file: ModuleFile, options: BuildOptions, isExact = false): Promise<BuiltModule> {
  noteNow();
  const startedAt = Date.now();
  const startedMs = performance.now();
  const made: Bundle = isC(file.file)
    ? bundleC(file, options)
    : ((isExact ? null : bundlePlain(file)) ?? (await bundleModule(file, options)));
  const { text, files } = isC(file.file) ? { text: made.text, files: [] } : withProgramFiles(made.text, file.file);
  const bundle = files.length === 0 ? made : { ...made, text, externals: [...made.externals, ...files] };
  const hash = hashOf(bundle.text);
  const path = join(options.stateDir, "bundles", file.name, `${hash}.js`);
  writeBundle(options.stateDir, path, bundle.text);
  const buildMs = performance.now() - startedMs;
  const isPlain = bundle.isPlain === true;
  let noted: InputSet | null = null;
  // Only this part, and until it is noted: the build stays as long as the module.
  let facts: Pick<Bundle, "graph" | "externals"> | null = { graph: bundle.graph, externals: bundle.externals };
  const inputsOf = (): InputSet => {
    if (noted !== null) return noted;
    const { graph, externals } = facts ?? { graph: { inputs: {} }, externals: [] };
    noted = noteInputs(graph, file.file, path, externals, startedAt);
    facts = null;
    // Without the bundler, Bun has not resolved anything.
    if (!isPlain) rememberView(noted);
    // A bundle of C code also depends on the compiler and on the system's libraries.
    if (!isC(file.file)) keepBuild({ source: file.file, file: path, hash, inputs: noted }, JSON.stringify(options));
    return noted;
  };
  if (isPlain) noteSoon(inputsOf);
  else inputsOf();
  return {
    name: file.name,
    source: file.file,
    file: path,
    hash,
    isPlain,
    buildMs,
    get inputs() {
      return inputsOf();
    },
  };
}

let unnoted: (() => InputSet) | null = null;

/**
 * Notes a build's inputs in the next turn of the loop, while the probe loads the bundle. If a file changes before that,
 * it is newer than the build, and the build counts as not settled.
 */
function noteSoon(inputsOf: () => InputSet): void {
  unnoted = inputsOf;
  setImmediate(noteNow);
}

/** Also before the next build, so that each of several in one turn is noted. */
function noteNow(): void {
  const inputsOf = unnoted;
  unnoted = null;
  try {
    inputsOf?.();
  } catch {
    // An input cannot be looked at any more. The next look at the module throws that, too.
  }
}

/**
 * The build of an earlier process, if its bundle is whole and no input has changed since.
 *
 * @param memo as for `hasChanged`
 * @returns null: the module has to be built
 */
export function keptBuild(file: ModuleFile, options: BuildOptions, memo: SignatureMemo): BuiltModule | null {
  const startedMs = performance.now();
  const folder = join(options.stateDir, "bundles", file.name);
  const kept = findKeptBuild(folder, file.file, JSON.stringify(options), memo);
  if (kept === null || !isBundleWhole(kept.file, kept.hash)) return null;
  return { name: file.name, ...kept, isPlain: false, buildMs: performance.now() - startedMs };
}

/**
 * Builds like `buildModule`, for a version whose bundle is gone. If one way to build gives another version, it tries the
 * other way.
 *
 * @param hash the version's hash
 * @returns a build; its hash is another one if the files have changed since
 */
export async function buildAgain(file: ModuleFile, options: BuildOptions, hash: string): Promise<BuiltModule> {
  const built = await buildModule(file, options);
  return built.hash === hash || !built.isPlain ? built : await buildModule(file, options, true);
}

function hashOf(text: string | Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 12);
}

/** Whether the bundle exists and its content fits its hash. */
export function isBundleWhole(path: string, hash: string): boolean {
  try {
    return hashOf(readFileSync(path)) === hash;
  } catch {
    // It was pruned, or its folder cleared: it can be built again.
    return false;
  }
}

/** Enough for the server's other processes, which may still load older ones, and for a few steps back. */
const KEPT_BUNDLES = 5;

/**
 * Deletes old bundles of module `name`, except the newest ones and those in `keep`. Each import lists the bundle's
 * folder again and keeps the list in memory: hundreds of bundles would cost hundreds of megabytes. Several processes
 * may call it at once.
 */
export async function pruneBundles(
  stateDir: string,
  name: string,
  keep: ReadonlySet<string>,
  newest = KEPT_BUNDLES,
): Promise<void> {
  const folder = join(stateDir, "bundles", name);
  const entries = (await readdir(folder).catch(ifMissing<string[]>([]))).filter((entry) => entry.endsWith(".js"));
  if (entries.length <= newest) return;
  const bundles = await Promise.all(
    entries.map(async (entry) => ({
      entry,
      madeMs: (await stat(join(folder, entry)).catch(ifMissing(null)))?.mtimeMs ?? 0,
    })),
  );
  bundles.sort((a, b) => b.madeMs - a.madeMs);
  for (const { entry } of bundles.slice(newest)) {
    if (!keep.has(entry.slice(0, -3))) await rm(join(folder, entry), { force: true });
  }
}

function bundlePlain({ file }: ModuleFile): Bundle | null {
  const path = leadsTo(file);
  const plain = path === "" ? null : transpilePlain(path);
  if (plain === null) return null;
  const graph = { inputs: { [path]: { imports: [] } } };
  return { text: plain.code + inlineMap(plain.map), graph, externals: [], isPlain: true };
}

async function bundleModule(file: ModuleFile, { stateDir, external }: BuildOptions): Promise<Bundle> {
  const prebuilt = external.length === 0 ? prebuiltOf(file, stateDir) : null;
  if (prebuilt !== null) return { text: prebuilt.code + inlineMap(prebuilt.map), graph: prebuilt.graph, externals: [] };
  const { code, map, graph, externals } = await bundleFiles(file, external);
  return { text: code + (map === null ? "" : inlineMap(map)), graph, externals };
}

/** For the build of the binary. @param folder the folder of all shipped modules, absolute path */
export async function prebuild(file: ModuleFile, folder: string): Promise<Prebuilt> {
  const { code, map, graph, externals } = await bundleFiles(file, []);
  if (map === null || externals.length > 0) throw new Error(`${file.file} cannot be built beforehand`);
  const inputs = Object.entries(graph.inputs).map(([path, { imports }]) => {
    const absolute = imports.map((each) => (each.path in graph.inputs ? { ...each, path: resolve(each.path) } : each));
    return [resolve(path), { imports: absolute }] as const;
  });
  return toPrebuilt({ code, map, graph: { inputs: Object.fromEntries(inputs) } }, folder);
}

interface BundledFiles {
  readonly code: string;
  /** Its sources are absolute paths. null: there is none. */
  readonly map: SourceMap | null;
  readonly graph: BuildGraph;
  readonly externals: readonly string[];
}

async function bundleFiles(file: ModuleFile, external: readonly string[]): Promise<BundledFiles> {
  const externals = new Set<string>();
  // A plugin costs a call from the bundler's threads for each import.
  const plugins = external.length === 0 ? [] : [externalPlugin(external, externals)];
  refreshView();
  let output = await runBuild(file, plugins);
  if (needsImportMeta(await entryOf(output).text())) output = await runBuild(file, [...plugins, importMetaPlugin]);
  const map = output.outputs.find((artifact) => artifact.kind === "sourcemap");
  const mapText = map === undefined ? null : await map.text();
  const bundled = await entryOf(output).text();
  const { code, files } = mapText === null ? { code: bundled, files: [] } : rebaseImports(bundled, mapText, file.file);
  return {
    code: stripComments(code),
    map: mapText === null ? null : readMap(mapText),
    graph: output.metafile ?? { inputs: {} },
    externals: [...externals, ...files],
  };
}

// A file found in one round may import another one, found in the next. Each round must find something.
const MAX_ROUNDS = 5;

async function runBuild(file: ModuleFile, plugins: Bun.BunPlugin[]): Promise<Bun.BuildOutput> {
  let output = await callBundler(file, plugins);
  for (let round = 1, missing = missingOf(output); missing !== "" && round < MAX_ROUNDS; round++) {
    for (const { message, position } of output.logs) {
      const specifier = unresolvedSpecifier(message);
      if (specifier !== undefined) forgetFoldersOf(position?.file || file.file, specifier);
    }
    output = await callBundler(file, plugins);
    const before = missing;
    missing = missingOf(output);
    if (missing === before) break;
  }
  // A failed build does not list its imports, of which one may pass a link that was switched after Bun had followed it.
  if (!output.success && followAgain(linksOfBuild(await importsOf(file, plugins), []).values()))
    output = await callBundler(file, plugins);
  if (!output.success) throw buildLogsError(file.name, file.file, output.logs);
  return output;
}

/** Collects the imports of the module's files, even from a build that fails. */
async function importsOf(file: ModuleFile, plugins: Bun.BunPlugin[]): Promise<Import[]> {
  const imports: Import[] = [{ importer: file.file, specifier: file.file, target: null }];
  const noting: Bun.BunPlugin = {
    name: "hrmr imports",
    setup(build) {
      build.onResolve({ filter: /^/ }, ({ path, importer }) => {
        if (importer !== "" && !importer.includes("/node_modules/"))
          imports.push({ importer, specifier: path, target: null });
        return undefined;
      });
    },
  };
  await callBundler(file, [noting, ...plugins]);
  return imports;
}

function missingOf(output: Bun.BuildOutput): string {
  if (output.success) return "";
  return output.logs
    .map(({ message, position }) =>
      unresolvedSpecifier(message) === undefined ? "" : `${position?.file} ${message}\n`,
    )
    .join("");
}

async function callBundler(file: ModuleFile, plugins: Bun.BunPlugin[]): Promise<Bun.BuildOutput> {
  try {
    return await Bun.build({
      // Resolve links here: for the life of the process, Bun remembers where a link led.
      entrypoints: [leadsTo(file.file) || file.file],
      target: "bun",
      format: "esm",
      sourcemap: "external",
      external: ["hrmr"],
      throw: false,
      metafile: true,
      define: IMPORT_META_DEFINES,
      // Files imported as files (images, .wasm) stay where they are: with this root their public path is their absolute
      // path.
      root: "/",
      publicPath: "/",
      naming: { asset: "[dir]/[name].[ext]" },
      plugins,
    });
  } catch (cause) {
    throw wholeFileError(
      file.name,
      file.file,
      `the build failed: ${cause instanceof Error ? cause.message : Bun.inspect(cause)}`,
      cause,
    );
  }
}

function entryOf(output: Bun.BuildOutput): Bun.BuildArtifact {
  const entry = output.outputs.find((artifact) => artifact.kind === "entry-point");
  if (entry === undefined) throw new Error("Bun.build succeeded and gave no entry point");
  return entry;
}

// The debug id names the map file, which is deleted.
function stripComments(code: string): string {
  return code.replace(/\n\/\/# (?:debugId|sourceMappingURL)=.*/g, "");
}

// Sources are relative to the working folder, but stacks would read them as relative to the bundle.
function readMap(json: string): SourceMap {
  const map: SourceMap & { debugId?: string } = JSON.parse(json);
  delete map.debugId;
  map.sources = map.sources.map((source) => resolve(source));
  map.sourcesContent = map.sourcesContent?.map((text, index) => {
    // Code frames show only the author's files. The text of packages would double the bundle.
    if (text === null || map.sources[index]?.includes("/node_modules/")) return null;
    return withoutAddedImport(text);
  });
  return map;
}

function inlineMap(map: SourceMap): string {
  return `\n//# sourceMappingURL=data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString("base64")}\n`;
}

let temporaryFiles = 0;

/**
 * Writes without waiting, like every step between a save and the swap: under load each wait costs a turn of the loop.
 */
function writeBundle(stateDir: string, path: string, text: string): void {
  const bytes = Buffer.from(text);
  const existing = statSync(path, { throwIfNoEntry: false });
  // Bundles are put in place whole, so a file of the same name and size has the same content.
  if (existing?.size === bytes.length) return;
  makePrivateFolder(resolve(path, ".."));
  const temporary = join(stateDir, "bundles", `.${process.pid}-${++temporaryFiles}.tmp`);
  try {
    writeFileSync(temporary, bytes, { mode: PRIVATE_FILE });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function ifMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return value;
    throw error;
  };
}
