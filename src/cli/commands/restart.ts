/**
 * `hrmr restart`: has the server replace its processes, one after another.
 */
import { defineCommand } from "citty";
import { CONTROL_ARGS } from "../remote/control-target";
import { orderServer } from "./modules/reload";

export const restartCommand = defineCommand({
  meta: {
    name: "restart",
    description: "Replace the server's processes, one after another, without a refused connection",
  },
  args: CONTROL_ARGS,
  run: ({ args: flags }) => orderServer(flags, "/v1/restart", {}),
});
