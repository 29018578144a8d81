/** Adds a module to the modules folder: for `hrmr new` and `hrmr examples`. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { UserError } from "../../config/user-error";
import { moduleNameOf } from "../../module/build/discover";
import { writeNewFile } from "../commands/init";

/**
 * Writes the files of a module, and prints their paths. Of the files behind the first one, those that are there stay.
 *
 * @param files path below `folder` and text; the module's own file first
 * @throws UserError MODULE_EXISTS, NO_MODULES_DIR, CANNOT_WRITE
 */
export function addFiles(folder: string, name: string, files: readonly [path: string, text: string][]): void {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) {
    throw new UserError(`There is no modules folder ${folder}.`, {
      code: "NO_MODULES_DIR",
      hint: "Run this in a project, pass --modules DIR, or make a project with `hrmr init DIR`.",
    });
  }
  const taken = readdirSync(folder).find((entry) => isModuleOf(name, entry));
  for (const [at, [path, text]] of files.entries()) {
    const isWritten = (at > 0 || taken === undefined) && writeNewFile(join(folder, path), text);
    if (isWritten) console.log(`wrote  ${relative(process.cwd(), join(folder, path))}`);
    else if (at === 0) {
      const there = relative(process.cwd(), join(folder, taken ?? path));
      throw new UserError(`There is a module "${name}" already: ${there}.`, {
        code: "MODULE_EXISTS",
        hint: "Nothing was changed. Choose another name.",
      });
    }
  }
}

/**
 * Whether a folder's entry is this module: a file such as NAME.ts, or a folder NAME. Case does not count, since some
 * file systems ignore it.
 */
function isModuleOf(name: string, entry: string): boolean {
  return (moduleNameOf(entry) ?? entry).toLowerCase() === name.toLowerCase();
}
