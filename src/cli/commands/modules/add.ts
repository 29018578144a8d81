/**
 * `hrmr add PACKAGE…`: installs npm packages for the modules of a project, with the package manager inside the program.
 */
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { UserError } from "../../../config/user-error";
import { argument, type Flags, positionals, switchFlag, valueFlag } from "../../flags";
import { runOwnBun } from "../../own-bun";

const args = {
  package: argument("hono, hono@4.6.0, or a path", { required: true, canRepeat: true }),
  dir: valueFlag("dir", "Folder of the project, or of one module that has its own packages. Default ."),
  dev: switchFlag("For tests and types only"),
} as const satisfies Flags;

export const addCommand = defineCommand({
  meta: { name: "add", description: "Install npm packages for the project's modules" },
  args,
  async run({ args: { dir, dev }, rawArgs }) {
    const folder = resolve(dir ?? ".");
    if (!existsSync(folder) || !statSync(folder).isDirectory()) {
      throw new UserError(`There is no folder ${folder}.`, {
        code: "NO_PROJECT",
        hint: "Make a project with `hrmr init DIR`.",
      });
    }
    const flags = dev === true ? ["--dev"] : [];
    return await runOwnBun(["add", "--exact", ...flags, ...positionals(rawArgs)], folder);
  },
});
