/**
 * Bundles of the modules that ship with hrmr, made when the binary is built, so that a start need not build them. From
 * source there are none.
 */
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import type { ModuleFile } from "./discover";
import type { BuildGraph } from "./inputs";

/** The folder in the state folder where the shipped modules' files lie. */
export const SHIPPED_FOLDER = "shipped";
/** The build packs the bundles into this file: an object of `Prebuilt`, by the path of the module's file. */
export const PREBUILT_FILE = "prebuilt.json";

/** A source map of the bundler, or of a bundle. */
export interface SourceMap {
  sources: string[];
  sourcesContent?: (string | null)[];
}

/** The bundler's result for a module. Paths are absolute. */
interface Bundled {
  readonly code: string;
  readonly map: SourceMap;
  readonly graph: BuildGraph;
}

/** A `Bundled` whose paths are relative to the folder of all shipped modules. */
export type Prebuilt = Bundled;

/** @param folder the folder of all shipped modules, absolute path */
export function toPrebuilt({ code, map, graph }: Bundled, folder: string): Prebuilt {
  return { code, ...movePaths({ map, graph }, (path) => relative(folder, path)) };
}

/** @returns null: the files in `folder` are not the ones that it was built from */
export function fromPrebuilt({ code, map, graph }: Prebuilt, folder: string): Bundled | null {
  const moved = movePaths({ map, graph }, (path) => join(folder, path));
  return isAsBuilt(moved.map) ? { code, ...moved } : null;
}

let all: Record<string, Prebuilt> | null = null;

/** @returns null: the file is not a shipped one, or has changed since the binary was built */
export function prebuiltOf({ file }: ModuleFile, stateDir: string): Bundled | null {
  const folder = join(stateDir, SHIPPED_FOLDER);
  if (!Bun.isStandaloneExecutable || !file.startsWith(`${folder}/`)) return null;
  all ??= JSON.parse(readFileSync(join(import.meta.dir, PREBUILT_FILE), "utf8")) as Record<string, Prebuilt>;
  const found = all[relative(folder, file)];
  return found === undefined ? null : fromPrebuilt(found, folder);
}

/** Another version of hrmr with the same state folder may have put its own files there. */
function isAsBuilt({ sources, sourcesContent }: SourceMap): boolean {
  try {
    return sources.every((path, index) => readFileSync(path, "utf8") === sourcesContent?.[index]);
  } catch {
    return false;
  }
}

function movePaths(
  { map, graph }: Pick<Bundled, "map" | "graph">,
  move: (path: string) => string,
): Pick<Bundled, "map" | "graph"> {
  const own = new Set(Object.keys(graph.inputs));
  const inputs = Object.entries(graph.inputs).map(([path, { imports }]) => {
    const moved = imports.map((each) => (own.has(each.path) ? { ...each, path: move(each.path) } : each));
    return [move(path), { imports: moved }] as const;
  });
  return { map: { ...map, sources: map.sources.map(move) }, graph: { inputs: Object.fromEntries(inputs) } };
}
