/** The working directory by the name that the user gave it. */
import { realpathSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";

/** The names under which a config file is found in the working directory, the first one first. */
export const CONFIG_FILES = ["hrmr.json", "hrmr.toml", "hrmr.yaml", "hrmr.yml"] as const;

/** Passes the folder's name to a process that takes over. */
export const FOLDER_VARIABLE = "HRMR_INTERNAL_FOLDER";

let folder: string | null = null;

/**
 * The working directory as the shell names it ($PWD), links included: after `cd /srv/current && hrmr` it is
 * /srv/current, also when that link is switched to another release. `process.cwd()` names the release. The answer is
 * the same for the life of the process.
 *
 * @returns an absolute path; `process.cwd()` if $PWD is missing or names another folder
 */
export function workingFolder(env: Record<string, string | undefined> = process.env): string {
  folder ??= env[FOLDER_VARIABLE] ?? namedFolder(env["PWD"]);
  delete env[FOLDER_VARIABLE];
  return folder;
}

function namedFolder(named: string | undefined): string {
  const real = process.cwd();
  if (named === undefined || !isAbsolute(named) || resolve(named) !== named) return real;
  try {
    return realpathSync(named) === realpathSync(real) ? named : real;
  } catch {
    // The named folder does not exist.
    return real;
  }
}
