/**
 * `hrmr status`: how the server is doing, on one screen.
 */
import { defineCommand } from "citty";
import { CONTROL_ARGS, findServer } from "./control-target";
import { askStatus } from "./silent-server";
import { statusScreen } from "./status-screen";
import { lineWidth, paintFor, printJson } from "./terminal";

export const statusCommand = defineCommand({
  meta: { name: "status", description: "Show how the server is doing: processes, connections, modules, the last reload" },
  args: CONTROL_ARGS,
  async run({ args: flags }) {
    const body = await askStatus(await findServer(flags), flags);
    if (flags.json === true) printJson(body);
    else console.log(statusScreen(body, lineWidth(), paintFor(process.stdout), Date.now()));
  },
});
