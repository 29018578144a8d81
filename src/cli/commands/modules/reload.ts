/** `hrmr reload [MODULE…]`: has the server load changed modules, waits, and prints the outcome. */
import { defineCommand } from "citty";
import { controlRequest } from "../../../control/client";
import type { ReloadReport } from "../../../reload/operations";
import { CONTROL_ARGS, findServer } from "../../remote/control-target";
import { type Flags, positionals } from "../../flags";
import { cleanText, fitText, lineWidth, printJson } from "../../screen/terminal";

const args = {
  module: {
    type: "positional",
    required: false,
    canRepeat: true,
    description: "Only these modules. Default: all that changed, and the config file, certificates and log files",
  },
  force: { type: "boolean", description: "Also load versions that were rolled back, which are held back otherwise" },
  ...CONTROL_ARGS,
} as const satisfies Flags;

export const reloadCommand = defineCommand({
  meta: { name: "reload", description: "Load changed modules without losing a connection; exit code 1 if one failed" },
  args,
  async run({ args: flags, rawArgs }) {
    const modules = positionals(rawArgs);
    const path = await findServer(flags);
    const wish = { ...(modules.length === 0 ? null : { modules }), ...(flags.force === true ? { force: true } : null) };
    const { body } = await controlRequest<ReloadReport>(path, "POST", "/v1/reload", wish);
    return tellReport(body, flags.json === true);
  },
});

/** Prints a report's text, or the report as JSON; a failure goes to stderr. @returns the exit code */
export function tellReport(report: { readonly ok: boolean; readonly text: string }, isJson: boolean): number {
  const shownOn = (stream: NodeJS.WriteStream) => fitText(cleanText(report.text).trimEnd(), lineWidth(stream));
  if (isJson) printJson(report);
  else if (report.ok) console.log(shownOn(process.stdout));
  else console.error(shownOn(process.stderr));
  return report.ok ? 0 : 1;
}
