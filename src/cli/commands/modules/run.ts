/** `hrmr run MODULE TASK`: has the server run a task of a module's schedule now, waits, and prints the outcome. */
import { defineCommand } from "citty";
import { CONTROL_ARGS } from "../../remote/control-target";
import { argument, type Flags } from "../../flags";
import { orderServer } from "./reload";

const args = {
  module: argument("The module", { required: true }),
  task: argument('The task\'s name in its schedule, such as "tidy" or "every 10s"', { required: true }),
  ...CONTROL_ARGS,
} as const satisfies Flags;

export const runTaskCommand = defineCommand({
  meta: {
    name: "run",
    description: "Run a task of a module's schedule now, and wait for its end; exit code 1 if it fails",
  },
  args,
  async run({ args: flags }) {
    const { module, task } = flags;
    return await orderServer(flags, `/v1/modules/${encodeURIComponent(module)}/run`, { task });
  },
});
