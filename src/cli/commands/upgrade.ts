/** `hrmr upgrade`: has the server start the program that is on disk now, and hand over to it. */
import { defineCommand } from "citty";
import { controlRequest } from "../../control/client";
import type { RestartReport } from "../../reload/operations";
import { CONTROL_ARGS, findServer } from "../remote/control-target";
import { tellReport } from "./modules/reload";

export const upgradeCommand = defineCommand({
  meta: {
    name: "upgrade",
    description: "Have a newly installed hrmr take over from the running one, without a refused connection",
  },
  args: CONTROL_ARGS,
  async run({ args: flags }) {
    const { body } = await controlRequest<RestartReport>(await findServer(flags), "POST", "/v1/upgrade", {});
    return tellReport(body, flags.json === true);
  },
});
