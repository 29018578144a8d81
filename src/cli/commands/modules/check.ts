/** `hrmr check`: checks the types of a project, with the type checker inside the program. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { defineCommand } from "citty";
import { UserError } from "../../../config/user-error";
import { type Flags, valueFlag } from "../../flags";
import { runOwnBun } from "../../own-bun";
import { modulesFolder } from "../../remote/modules-folder";
import { writeTypes } from "./types";

const args = { modules: valueFlag("dir", "Folder of the modules. Default: the project's") } as const satisfies Flags;

export const checkCommand = defineCommand({
  meta: { name: "check", description: "Check the types of the project: also who calls which service, with what" },
  args,
  async run({ args: { modules: named } }) {
    const { project, folder } = await modulesFolder(named);
    if (!existsSync(join(project, "tsconfig.json"))) {
      throw new UserError(`There is no tsconfig.json in ${project}.`, {
        code: "NO_PROJECT",
        hint: "Run `hrmr init .` to write it. Existing files stay as they are.",
      });
    }
    await writeTypes(folder);
    return await runOwnBun(["check", "--no-script"], project);
  },
});
