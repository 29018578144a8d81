/** `hrmr remove MODULE…`: has a running server delete modules' files, and unload them. */
import { defineCommand } from "citty";
import { controlRequest } from "../../../control/client";
import type { PushReport } from "../../../reload/operations";
import { CONTROL_ARGS, findServer } from "../../remote/control-target";
import { argument, type Flags, positionals } from "../../flags";
import { tellReport } from "./reload";
import { printJson } from "../../screen/terminal";

const args = {
  module: argument("The modules to remove", { canRepeat: true }),
  ...CONTROL_ARGS,
} as const satisfies Flags;

export const removeCommand = defineCommand({
  meta: { name: "remove", description: "Delete modules' files on a running server, and unload them" },
  args,
  async run({ args: flags, rawArgs }) {
    const server = await findServer(flags);
    const reports: PushReport[] = [];
    for (const module of positionals(rawArgs)) {
      const { body } = await controlRequest<PushReport>(server, "DELETE", `/v1/modules/${encodeURIComponent(module)}`);
      reports.push(body);
      if (flags.json !== true) tellReport(body, false);
    }
    if (flags.json === true) printJson(reports.length === 1 ? reports[0] : reports);
    return reports.every(({ ok }) => ok) ? 0 : 1;
  },
});
