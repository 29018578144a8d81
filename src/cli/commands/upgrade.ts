/** `hrmr upgrade`: has the server start the program that is on disk now, and hand over to it. */
import { defineCommand } from "citty";
import { CONTROL_ARGS } from "../remote/control-target";
import { orderServer } from "./modules/reload";

export const upgradeCommand = defineCommand({
  meta: {
    name: "upgrade",
    description: "Have a newly installed hrmr take over from the running one, without a refused connection",
  },
  args: CONTROL_ARGS,
  run: ({ args: flags }) => orderServer(flags, "/v1/upgrade", {}),
});
