/**
 * The modules and the site that ship with hrmr, as text in the binary. They are written to the state folder and loaded
 * from there like any module.
 */
import { existsSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { assetFiles } from "../config/assets";
import type { ModuleSettings, Options } from "../config/options";
import { SHIPPED_FOLDER } from "../module/build/prebuilt";
import type { LoadSettings } from "../reload/module-set";
import type { Folders } from "./folders";
import { makePrivateFolder, PRIVATE_FILE } from "../system/private-files";

/** By module, its files in the layout of a modules folder: a file, or a folder with an index.ts. */
let modules: Partial<Record<string, ShippedFile[]>> | null = null;
let pages: ShippedFile[] | null = null;

type ShippedFile = readonly [path: string, text: string];

function shippedModules(): [name: string, files: ShippedFile[]][] {
  modules ??= Object.groupBy(assetFiles("modules"), ([path]) => path.replace(/(?:\.ts$|\/).*/, ""));
  return Object.entries(modules).map(([name, files = []]) => [name, files]);
}

function shippedPages(): ShippedFile[] {
  return (pages ??= assetFiles("static_html"));
}

/** On by default. */
const IMPLICIT = new Set(["http"]);
/** Their routes give way to those of users' modules. */
const GIVING_WAY = new Set([...IMPLICIT, "events", "store"]);

/** A module that ships with hrmr and is on. */
interface ShippedModule {
  name: string;
  file: string;
  isImplicit: boolean;
}

/**
 * Writes the modules that are on to the state folder.
 *
 * @param settings `modules` of the config: naming one switches it on, `enabled: false` off
 */
export async function unpackModules(
  stateDir: string,
  settings: Record<string, ModuleSettings>,
): Promise<ShippedModule[]> {
  const shipped: ShippedModule[] = [];
  for (const [name, files] of shippedModules()) {
    if (!isOn(name, settings)) continue;
    for (const [path, text] of files) await writeIfDifferent(join(stateDir, SHIPPED_FOLDER, path), text);
    const entry = files.length === 1 ? `${name}.ts` : join(name, "index.ts");
    shipped.push({ name, file: join(stateDir, SHIPPED_FOLDER, entry), isImplicit: GIVING_WAY.has(name) });
  }
  return shipped;
}

/** @returns whether all files of `unpackModules` and, with `hasPages`, of `unpackPages` exist */
export function isUnpacked(stateDir: string, settings: Record<string, ModuleSettings>, hasPages: boolean): boolean {
  const files = shippedModules().flatMap(([name, each]) => (isOn(name, settings) ? each : []));
  const paths = files.map(([path]) => join(stateDir, SHIPPED_FOLDER, path));
  if (hasPages) paths.push(...shippedPages().map(([path]) => join(stateDir, "static_html", path)));
  return paths.every((path) => existsSync(path));
}

function isOn(name: string, settings: Record<string, ModuleSettings>): boolean {
  return settings[name] === undefined ? IMPLICIT.has(name) : settings[name].enabled !== false;
}

/** @returns the folder with the embedded site */
export async function unpackPages(stateDir: string): Promise<string> {
  const dir = join(stateDir, "static_html");
  for (const [path, text] of shippedPages()) await writeIfDifferent(join(dir, path), text);
  return dir;
}

/** Writes each file in one step: another server may be starting from the same folder. */
async function writeIfDifferent(file: string, text: string): Promise<void> {
  const there = await readFile(file, "utf8").catch(() => null);
  if (there === text) return;
  makePrivateFolder(dirname(file));
  const fresh = `${file}.${process.pid}`;
  await writeFile(fresh, text, { mode: PRIVATE_FILE });
  await rename(fresh, file);
}

/** The part of the configuration for loading modules. */
export async function loadSettings(
  { modules, http, timeouts, limits, places, environment }: Options,
  { staticDir, stateDir }: Folders,
): Promise<LoadSettings> {
  const root = staticDir ?? (await unpackPages(stateDir));
  // Without a prototype: a module may be named "constructor".
  const settings: Options["modules"] = Object.assign(Object.create(null), modules, {
    http: { root, ...modules["http"] },
  });
  return {
    settings,
    shipped: await unpackModules(stateDir, settings),
    use: [...http.use],
    drainMs: timeouts.drainMs,
    loadMs: timeouts.loadMs,
    maxLiveGenerations: limits.maxLiveGenerations,
    ...(places === undefined ? null : { places }),
    ...(environment === undefined ? null : { environment }),
  };
}
