/** Reads what a definition says about its life in the server: `start`, `stop`, `background` and `needs`. */
import { type Fields, isObject, kindOf, shapeError, shown } from "./errors";
import type { RouteSpec } from "../route";

/** How `start`, `stop` and `on` of a module run. Plain data: it crosses processes. */
export interface LifeSpec {
  /** "server": they run in one process of the server. "process": in each. */
  readonly background: "server" | "process";
  /** Where they run: in the main thread, or in the module's process. */
  readonly host: "main" | "process";
}

/** Options of a definition that are read here, besides the hooks. */
export const LIFE_OPTIONS = ["background", "needs"];

/**
 * Whether a module has something to do besides answering messages, so that it may have no routes. This is the only place
 * that decides it.
 */
export function hasWork({ start, services, on, schedule, program }: Fields, hasMiddleware: boolean): boolean {
  return (
    hasMiddleware ||
    start !== undefined ||
    isFilled(services) ||
    isFilled(on) ||
    isFilled(schedule) ||
    program !== undefined
  );
}

function isFilled(named: unknown): boolean {
  return isObject(named) && Object.keys(named).length > 0;
}

/**
 * Where `start`, `stop`, `on` and `schedule` run.
 *
 * @param parts its routes and services. @throws Error for a wrong `background`
 */
export function readLife(
  name: string,
  definition: Fields,
  parts: readonly Pick<RouteSpec, "run">[],
  place: LifePlace,
): LifeSpec {
  const { background = "server" } = definition;
  if (background !== "server" && background !== "process")
    throw shapeError(name, `"background" is ${shown(background)}, and must be "server" or "process"`);
  return { background, host: hostOf(parts, place) };
}

/** Further facts that decide where they run. */
interface LifePlace {
  /** A part of the module besides its routes runs in the main thread. */
  readonly needsMain: boolean;
  /** The `run` of its settings. */
  readonly run: RouteSpec["run"] | undefined;
}

/** In the main thread, if `setup` runs there for another reason, or nothing of the module has a process. */
function hostOf(parts: readonly Pick<RouteSpec, "run">[], { needsMain, run }: LifePlace): LifeSpec["host"] {
  if (needsMain) return "main";
  if (parts.length === 0) return run === "process" ? "process" : "main";
  return parts.every(({ run: each }) => each !== "inline") && parts.some(({ run: each }) => each === "process")
    ? "process"
    : "main";
}

/** @returns names of modules, each once */
export function readNeeds(name: string, { needs }: Fields): readonly string[] {
  if (needs === undefined) return [];
  if (!Array.isArray(needs)) throw shapeError(name, `"needs" is ${kindOf(needs)}. Write needs: ["kv"]`);
  for (const need of needs as unknown[]) {
    if (typeof need !== "string" || need === "")
      throw shapeError(name, `"needs" holds ${shown(need)}, and must hold names of modules only`);
    if (need === name) throw shapeError(name, `"needs" names the module itself`);
  }
  return [...new Set(needs as string[])];
}
