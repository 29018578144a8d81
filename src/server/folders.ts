/**
 * Which folders a server works with, from its options and from what is there.
 */
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, mkdirSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { Options } from "../config/options";
import { UserError } from "../config/user-error";

export interface Folders {
  modulesDir: string;
  /** False: it is the default folder, and it is not there. */
  hasModulesDir: boolean;
  stateDir: string;
  /** null: serve the embedded pages. */
  staticDir: string | null;
  /** For the person who started the server. */
  notes: string[];
}

/** @throws UserError for a named folder that is missing, unreadable, no folder, or a modules folder that is empty */
export function findFolders(options: Options): Folders {
  const notes: string[] = [];
  const base = options.modulesDir === null ? process.cwd() : dirname(resolve(options.modulesDir));
  const modulesDir = resolve(options.modulesDir ?? "modules");
  const hasModulesDir = hasModules(modulesDir, options.modulesDir !== null, notes);
  return {
    modulesDir,
    hasModulesDir,
    stateDir: makeStateDir(options.stateDir, base, notes),
    staticDir: findStatic(options.staticDir, base),
    notes,
  };
}

function hasModules(dir: string, isNamed: boolean, notes: string[]): boolean {
  if (!isNamed && !existsSync(dir)) {
    notes.push(
      "There is no modules folder here, so this serves the page that comes with hrmr.",
      "`hrmr init hub` makes a project to go on with.",
    );
    return false;
  }
  mustBeFolder(dir, "modules", "Name an existing one with --modules DIR, or make a project with `hrmr init DIR`.");
  return true;
}

/** @throws UserError for a folder that was named and holds no module */
export function mustHaveModules(options: Options, count: number): void {
  if (options.modulesDir === null || count > 0) return;
  throw new UserError(`The modules folder ${resolve(options.modulesDir)} is empty: it holds no module.`, {
    code: "MODULES_EMPTY",
    hint: "Add a module with `hrmr new NAME`, or make a project with `hrmr init DIR`.",
  });
}

function findStatic(named: string | null, base: string): string | null {
  if (named !== null) {
    mustBeFolder(resolve(named), "static", "Name an existing one with --static DIR.");
    return resolve(named);
  }
  const dir = join(base, "static_html");
  return existsSync(dir) ? dir : null;
}

function mustBeFolder(dir: string, what: string, hint: string): void {
  const stat = statSync(dir, { throwIfNoEntry: false });
  if (stat === undefined) throw new UserError(`The ${what} folder ${dir} does not exist.`, { code: "FOLDER_MISSING", hint });
  if (!stat.isDirectory()) throw new UserError(`The ${what} folder ${dir} is not a folder.`, { code: "FOLDER_WRONG", hint });
  try {
    accessSync(dir, constants.R_OK | constants.X_OK);
  } catch (cause) {
    throw new UserError(`The ${what} folder ${dir} cannot be read: permission denied.`, {
      code: "FOLDER_UNREADABLE",
      hint: "Give this user the right to read it, or name another.",
      cause,
    });
  }
}

/** `.hrmr` beside the modules; where that cannot be written and nobody named one, a folder of this user's in the temporary folder. */
function makeStateDir(named: string | null, base: string, notes: string[]): string {
  const dir = resolve(named ?? join(base, ".hrmr"));
  try {
    mkdirSync(dir, { recursive: true });
    accessSync(dir, constants.W_OK);
    return dir;
  } catch (cause) {
    if (named !== null) {
      throw new UserError(`The state folder ${dir} cannot be written.`, {
        code: "STATE_UNWRITABLE",
        hint: "Give this user the right to write to it, or name another with --state DIR.",
        cause,
      });
    }
  }
  const user = process.getuid?.() ?? 0;
  const fallback = fallbackStateDir(base);
  mkdirSync(fallback, { recursive: true, mode: 0o700 });
  // Somebody else may have made it first, to have their code run as this user.
  if (statSync(fallback).uid !== user) {
    throw new UserError(`The state folder ${fallback} belongs to another user.`, {
      code: "STATE_FOREIGN",
      hint: "Name another with --state DIR.",
    });
  }
  notes.push(`${dir} cannot be written, so state is kept in ${fallback} (--state DIR names another).`);
  return fallback;
}

/** @returns the state folder of a project that cannot be written: in the temporary folder, of this user's. @param base  what the modules folder is in */
export function fallbackStateDir(base: string): string {
  const user = process.getuid?.() ?? 0;
  return join(tmpdir(), `hrmr-${user}-${createHash("sha256").update(base).digest("hex").slice(0, 8)}`);
}
