/** `hrmr status`: the state of the server on one screen. */
import { defineCommand } from "citty";
import { CONTROL_ARGS, findServer } from "../remote/control-target";
import { findControlOf, PID_FILE_ARGS, readPidFile } from "../remote/pid-file";
import { askStatus } from "../remote/silent-server";
import { statusScreen } from "../screen/status-screen";
import { lineWidth, paintFor, printJson } from "../screen/terminal";

export const statusCommand = defineCommand({
  meta: {
    name: "status",
    description: "Show how the server is doing: processes, connections, modules, the last reload",
  },
  args: { ...CONTROL_ARGS, ...PID_FILE_ARGS },
  async run({ args: flags }) {
    const pid = flags["pid-file"] === undefined ? null : readPidFile(flags["pid-file"]);
    const control = pid === null ? null : await findControlOf(pid);
    if (pid !== null && control === null) return tellPid(pid, flags.json === true);
    const body = await askStatus(control ?? (await findServer(flags)), control === null ? flags : { control });
    if (flags.json === true) printJson(body);
    else console.log(statusScreen(body, lineWidth(), paintFor(process.stdout), Date.now()));
  },
});

/** Prints only the process id, if the control socket was not found. */
function tellPid(pid: number, isJson: boolean): void {
  if (isJson) printJson({ pid });
  else console.log(`hrmr runs: pid ${pid}. Its control socket was not found. For more, name it: --control PATH.`);
}
