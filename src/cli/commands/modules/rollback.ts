/** `hrmr rollback MODULE [VERSION]`: has an earlier version of a module serve again, and prints the outcome. */
import { defineCommand } from "citty";
import { controlRequest } from "../../../control/client";
import type { ReloadReport } from "../../../reload/operations";
import { CONTROL_ARGS, findServer } from "../../remote/control-target";
import type { Flags } from "../../flags";
import { tellReport } from "./reload";

const args = {
  module: { type: "positional", required: true, description: "The module" },
  version: {
    type: "positional",
    required: false,
    description:
      "A number (7, v7) or a hash, as `hrmr versions` lists them. Default: the last good one before what serves",
  },
  ...CONTROL_ARGS,
} as const satisfies Flags;

export const rollbackCommand = defineCommand({
  meta: {
    name: "rollback",
    description: "Go back to an earlier version of a module, in all processes, and hold the replaced one back",
  },
  args,
  async run({ args: flags }) {
    const { module, version } = flags;
    const route = `/v1/modules/${encodeURIComponent(module)}/rollback`;
    const { body } = await controlRequest<ReloadReport>(
      await findServer(flags),
      "POST",
      route,
      version === undefined ? {} : { version },
    );
    return tellReport(body, flags.json === true);
  },
});
