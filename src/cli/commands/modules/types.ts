/** `hrmr types`: writes the types of the project's services, for editors and for `hrmr check`. */
import { statSync } from "node:fs";
import { relative } from "node:path";
import { defineCommand } from "citty";
import { UserError } from "../../../config/user-error";
import { type WrittenTypes, writeServiceTypes } from "../../../module/build/service-types";
import { type Flags, valueFlag } from "../../flags";
import { modulesFolder } from "../../remote/modules-folder";

const args = { modules: valueFlag("dir", "Folder of the modules. Default: the project's") } as const satisfies Flags;

export const typesCommand = defineCommand({
  meta: { name: "types", description: "Write the types of the modules' services, for editors" },
  args,
  async run({ args: { modules: named } }) {
    const { path, modules, hasChanged } = await writeTypes((await modulesFolder(named)).folder);
    const list = modules.length === 0 ? "no module in TypeScript or C has services" : modules.join(", ");
    console.log(`${hasChanged ? "wrote    " : "unchanged"}  ${relative(process.cwd(), path)} (${list})`);
  },
});

/** @throws UserError NO_MODULES: there is no such folder; CANNOT_WRITE */
export async function writeTypes(modulesDir: string): Promise<WrittenTypes> {
  if (statSync(modulesDir, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new UserError(`There is no folder ${modulesDir}.`, {
      code: "NO_MODULES",
      hint: "Run this in the project's folder, or name the folder: --modules DIR.",
    });
  }
  try {
    return await writeServiceTypes(modulesDir);
  } catch (cause) {
    if (cause instanceof UserError) throw cause;
    throw new UserError(`The types in ${modulesDir} cannot be written: ${(cause as Error).message}.`, {
      code: "CANNOT_WRITE",
      hint: "Choose a folder that you may write to.",
      cause,
    });
  }
}
