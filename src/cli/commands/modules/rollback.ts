/** `hrmr rollback MODULE [VERSION]`: has an earlier version of a module serve again, and prints the outcome. */
import { defineCommand } from "citty";
import { CONTROL_ARGS } from "../../remote/control-target";
import { argument, type Flags } from "../../flags";
import { orderServer } from "./reload";

const args = {
  module: argument("The module", { required: true }),
  version: argument(
    "A number (7, v7) or a hash, as `hrmr versions` lists them. Default: the last good one before the serving version",
    { required: false },
  ),
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
    return await orderServer(flags, route, version === undefined ? {} : { version });
  },
});
