/** The working directory under the name that the user gave it. */
import { realpathSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";

/** The names of a config file in the working directory, in the order of the search. */
export const CONFIG_FILES = ["hrmr.json", "hrmr.toml", "hrmr.yaml", "hrmr.yml"] as const;

/** The name of a file with variables, beside the config file or in the working directory. */
export const ENV_FILE = ".env";

/** Passes the folder's name to a process that takes over. */
export const FOLDER_VARIABLE = "HRMR_INTERNAL_FOLDER";

let folder: string | null = null;

/**
 * The working directory in the shell's words ($PWD), with its links: after `cd /srv/current && hrmr` it is
 * /srv/current, even if that link is switched to another release. `process.cwd()` names the release. The answer is the
 * same for the life of the process, unless `env` names a folder in FOLDER_VARIABLE.
 *
 * @returns an absolute path; `process.cwd()` if $PWD is missing or names another folder
 */
export function workingFolder(env: Record<string, string | undefined> = process.env): string {
  folder = env[FOLDER_VARIABLE] ?? folder ?? namedFolder(env["PWD"]);
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
