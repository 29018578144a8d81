/**
 * `hrmr restart`: has the server replace its processes, one after another.
 */
import { defineCommand } from "citty";
import { controlRequest } from "../../control/client";
import type { RestartReport } from "../../reload/operations";
import { CONTROL_ARGS, findServer } from "../remote/control-target";
import { tellReport } from "./modules/reload";

export const restartCommand = defineCommand({
  meta: {
    name: "restart",
    description: "Replace the server's processes, one after another, without a refused connection",
  },
  args: CONTROL_ARGS,
  async run({ args: flags }) {
    const { body } = await controlRequest<RestartReport>(await findServer(flags), "POST", "/v1/restart", {});
    return tellReport(body, flags.json === true);
  },
});
