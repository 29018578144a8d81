/**
 * The modules and the site that ship with hrmr, as text in the binary. They are written to the state folder and loaded
 * from there like any module.
 */
import { existsSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ModuleSettings, Options } from "../config/options";
import { SHIPPED_FOLDER } from "../module/build/prebuilt";
import type { LoadSettings } from "../reload/module-set";
import type { Folders } from "./folders";
import { makePrivateFolder, PRIVATE_FILE } from "../system/private-files";
import accessSource from "../../modules/access.ts" with { type: "text" };
import counterSource from "../../modules/counter.ts" with { type: "text" };
import echoSource from "../../modules/echo.ts" with { type: "text" };
import * as httpConditions from "../../modules/http/conditions.ts" with { type: "text" };
import * as httpDisk from "../../modules/http/disk.ts" with { type: "text" };
import * as httpEncoding from "../../modules/http/encoding.ts" with { type: "text" };
import * as httpFileBody from "../../modules/http/file-body.ts" with { type: "text" };
import * as httpIndex from "../../modules/http/index.ts" with { type: "text" };
import * as httpListing from "../../modules/http/listing.ts" with { type: "text" };
import * as httpNames from "../../modules/http/names.ts" with { type: "text" };
import * as httpPaths from "../../modules/http/paths.ts" with { type: "text" };
import * as httpRanges from "../../modules/http/ranges.ts" with { type: "text" };
import * as httpReply from "../../modules/http/reply.ts" with { type: "text" };
import * as httpSettings from "../../modules/http/settings.ts" with { type: "text" };
import * as httpSite from "../../modules/http/site.ts" with { type: "text" };
import * as httpTypes from "../../modules/http/types.ts" with { type: "text" };
import notFoundPage from "../../static_html/404.html" with { type: "text" };
import faviconImage from "../../static_html/favicon.svg" with { type: "text" };
import indexPage from "../../static_html/index.html" with { type: "text" };
import styleSheet from "../../static_html/style.css" with { type: "text" };

/**
 * By module, its files in the layout of a modules folder; the first is the one to load. The types of text imports
 * follow the file's own kind, but the value is its text.
 */
const MODULES: Record<string, Record<string, unknown>> = {
  access: { "access.ts": accessSource },
  counter: { "counter.ts": counterSource },
  echo: { "echo.ts": echoSource },
  http: {
    "http/index.ts": textOf(httpIndex),
    "http/conditions.ts": textOf(httpConditions),
    "http/disk.ts": textOf(httpDisk),
    "http/encoding.ts": textOf(httpEncoding),
    "http/file-body.ts": textOf(httpFileBody),
    "http/listing.ts": textOf(httpListing),
    "http/names.ts": textOf(httpNames),
    "http/paths.ts": textOf(httpPaths),
    "http/ranges.ts": textOf(httpRanges),
    "http/reply.ts": textOf(httpReply),
    "http/settings.ts": textOf(httpSettings),
    "http/site.ts": textOf(httpSite),
    "http/types.ts": textOf(httpTypes),
  },
};
const PAGES: Record<string, unknown> = {
  "404.html": notFoundPage,
  "favicon.svg": faviconImage,
  "index.html": indexPage,
  "style.css": styleSheet,
};

/** For files without a default export: the types do not know that their text is imported. */
function textOf(imported: object): unknown {
  return (imported as { default?: unknown }).default;
}

/** On by default, and the first to give way. */
const IMPLICIT = new Set(["http"]);

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
  for (const [name, files] of Object.entries(MODULES)) {
    if (!isOn(name, settings)) continue;
    const paths = Object.keys(files).map((path) => join(stateDir, SHIPPED_FOLDER, path));
    for (const [index, source] of Object.values(files).entries())
      await writeIfDifferent(paths[index] ?? "", String(source));
    shipped.push({ name, file: paths[0] ?? "", isImplicit: IMPLICIT.has(name) });
  }
  return shipped;
}

/** @returns whether all files of `unpackModules` and, with `hasPages`, of `unpackPages` exist */
export function isUnpacked(stateDir: string, settings: Record<string, ModuleSettings>, hasPages: boolean): boolean {
  const modules = Object.entries(MODULES).filter(([name]) => isOn(name, settings));
  const paths = modules.flatMap(([, files]) => Object.keys(files).map((path) => join(stateDir, SHIPPED_FOLDER, path)));
  if (hasPages) paths.push(...Object.keys(PAGES).map((name) => join(stateDir, "static_html", name)));
  return paths.every((path) => existsSync(path));
}

function isOn(name: string, settings: Record<string, ModuleSettings>): boolean {
  return settings[name] === undefined ? IMPLICIT.has(name) : settings[name].enabled !== false;
}

/** @returns the folder with the embedded site */
export async function unpackPages(stateDir: string): Promise<string> {
  const dir = join(stateDir, "static_html");
  for (const [name, text] of Object.entries(PAGES)) await writeIfDifferent(join(dir, name), String(text));
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
  { modules, http, timeouts, limits }: Options,
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
  };
}
