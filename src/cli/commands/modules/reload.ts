/** `hrmr reload [MODULE…]`: has the server load changed modules, waits, and prints the outcome. */
import { defineCommand } from "citty";
import { askServer, CONTROL_ARGS, type ControlFlags } from "../../remote/control-target";
import { argument, type Flags, positionals, switchFlag } from "../../flags";
import { cleanText, fitText, lineWidth, printJson } from "../../screen/terminal";

const args = {
  module: argument("Only these modules. Default: all that changed, and the config file, certificates and log files", {
    required: false,
    canRepeat: true,
  }),
  force: switchFlag("Also load versions that were rolled back, which are held back otherwise"),
  ...CONTROL_ARGS,
} as const satisfies Flags;

export const reloadCommand = defineCommand({
  meta: { name: "reload", description: "Load changed modules without losing a connection; exit code 1 if one failed" },
  args,
  async run({ args: flags, rawArgs }) {
    const modules = positionals(rawArgs);
    const wish = { ...(modules.length === 0 ? null : { modules }), ...(flags.force === true ? { force: true } : null) };
    return await orderServer(flags, "/v1/reload", wish);
  },
});

interface Report {
  readonly ok: boolean;
  readonly text: string;
}

/** Has the server do what `route` says, waits, and prints its report. @returns the exit code */
export async function orderServer(flags: ControlFlags & { json?: boolean }, route: string, body: object) {
  return tellReport(await askServer<Report>(flags, "POST", route, body), flags.json === true);
}

/** Prints a report's text, or the report as JSON; a failure goes to stderr. @returns the exit code */
export function tellReport(report: Report, isJson: boolean): number {
  const shownOn = (stream: NodeJS.WriteStream) => fitText(cleanText(report.text).trimEnd(), lineWidth(stream));
  if (isJson) printJson(report);
  else if (report.ok) console.log(shownOn(process.stdout));
  else console.error(shownOn(process.stderr));
  return report.ok ? 0 : 1;
}
