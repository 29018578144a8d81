/** The project that a command is run in, from any of its folders, as git finds its repository. */
import { existsSync, lstatSync, type Stats } from "node:fs";
import { basename, dirname, join } from "node:path";
import { CONFIG_FILES } from "../../config/working-folder";

/** A server has been started there. The folder `.hrmr` alone may be one of an upload, in a modules folder. */
const STARTED = join(".hrmr", "lock");

/**
 * Looks in `cwd` and upwards for the nearest folder that has a config file, or in which a server has been started. A
 * folder with `modules` in it is a project, too, if the command is run in it, or in its modules.
 *
 * Another user's files above count only where `cwd` is that user's as well: a stranger's hrmr.json in /tmp must not
 * choose the server that gets the order.
 *
 * @param cwd absolute
 * @returns `cwd` if there is no project
 */
export function projectFolder(cwd: string): string {
  if (hasMark(cwd) || existsSync(join(cwd, "modules"))) return cwd;
  const owners = new Set([0, process.getuid?.(), find(cwd)?.uid]);
  for (let inner = cwd, folder = dirname(cwd); folder !== inner; inner = folder, folder = dirname(folder)) {
    if (basename(inner) === "modules" && owners.has(find(folder)?.uid)) return folder;
    if (hasMark(folder, owners)) return folder;
  }
  return cwd;
}

function hasMark(folder: string, owners: ReadonlySet<number | undefined> | null = null): boolean {
  return [...CONFIG_FILES, STARTED].some((name) => {
    const found = find(join(folder, name));
    return found !== null && (owners === null || owners.has(found.uid));
  });
}

/** null: there is none, or it cannot be looked at. */
function find(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch {
    return null;
  }
}
