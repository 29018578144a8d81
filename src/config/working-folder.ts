/** The working directory by the name that the user gave it. */
import { realpathSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";

/** For a process that takes over: the name that its predecessor goes by. */
export const FOLDER_VARIABLE = "HRMR_INTERNAL_FOLDER";

let folder: string | null = null;

/**
 * The working directory as the shell names it ($PWD), links included: `cd /srv/current && hrmr` goes by /srv/current, also when that link
 * has been switched to another release. `process.cwd()` names the release. The answer is the same for the life of the process.
 *
 * @returns an absolute path; `process.cwd()` where $PWD is missing, or names another folder
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
    // It names what is not there.
    return real;
  }
}
