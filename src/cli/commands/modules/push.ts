/** `hrmr push FILE…`: sends modules to a running server. The server loads them, or changes nothing and says why. */
import { statSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { defineCommand } from "citty";
import { UserError } from "../../../config/user-error";
import { type ControlTarget, controlRequest } from "../../../control/client";
import type { PushReport } from "../../../reload/operations";
import { discoverModules, moduleNameOf } from "../../../module/build/discover";
import { type ReadFiles, readFiles } from "../../../reload/upload/read-files";
import { CONTROL_ARGS, findServer } from "../../remote/control-target";
import { argument, badValue, type Flags, positionals } from "../../flags";
import { tellReport } from "./reload";
import { cleanText, printJson } from "../../screen/terminal";

const args = {
  file: argument(
    "A module: greet.ts, or a folder with an index.ts; or a folder of modules. Packages (node_modules) are not sent",
    { canRepeat: true },
  ),
  ...CONTROL_ARGS,
} as const satisfies Flags;

/** One module to send. */
interface Parcel extends ReadFiles {
  readonly module: string;
}

/** More than servers accept. The server checks its own limits. */
const LIMITS = { maxBytes: 1_073_741_824, maxFiles: 100_000 };

export const pushCommand = defineCommand({
  meta: {
    name: "push",
    description: "Send modules to a running server; exit code 1, and nothing changed, if one does not load",
  },
  args,
  async run({ args: flags, rawArgs }) {
    const parcels = await pack(positionals(rawArgs));
    const server = await findServer(flags);
    const reports: PushReport[] = [];
    let exitCode = 0;
    for (const parcel of parcels) {
      tellSkipped(parcel);
      const report = await send(server, parcel);
      reports.push(report);
      if (flags.json !== true) exitCode = Math.max(exitCode, tellReport(report, false));
    }
    if (flags.json !== true) return exitCode;
    printJson(reports.length === 1 ? reports[0] : reports);
    return reports.every(({ ok }) => ok) ? 0 : 1;
  },
});

/** Reads all modules before the first is sent, so that a mistake in the last one changes nothing. */
async function pack(paths: readonly string[]): Promise<Parcel[]> {
  const sources: { module: string; path: string }[] = [];
  for (const path of paths) sources.push(...(await modulesAt(resolve(path), path)));
  return sources.map(({ module, path }) => ({ module, ...readFiles(dirname(path), basename(path), LIMITS) }));
}

/** A file, a folder that is a module, or a folder of modules. @param given  for messages */
async function modulesAt(path: string, given: string): Promise<{ module: string; path: string }[]> {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info === undefined) throw notModule(given, "there is no such file");
  const name = basename(path);
  if (info.isFile()) {
    const module = moduleNameOf(name);
    if (module === null) throw notModule(given, "its name is not that of a module");
    if (module === "index")
      throw badValue(`${given} is a part of the module ${basename(dirname(path))}.`, "Push its folder.");
    return [{ module, path }];
  }
  const { modules: found, refused } = await discoverModules(path);
  if (refused[0] !== undefined) throw refused[0].error;
  if (found.some((module) => module.name === "index")) return [{ module: name, path }];
  if (found.length === 0) throw notModule(given, "it holds no index.ts and no modules");
  return found.map((module) => ({
    module: module.name,
    path: dirname(module.file) === path ? module.file : dirname(module.file),
  }));
}

function notModule(given: string, why: string): UserError {
  return new UserError(`${given} is not a module: ${why}.`, {
    code: "NOT_A_MODULE",
    hint: "Name a file like greet.ts, a folder with an index.ts, or a folder of modules.",
  });
}

/** On stderr: stdout is for the verdicts. */
function tellSkipped({ module, skipped }: Parcel): void {
  if (skipped.length > 0) console.error(`${cleanText(module)}: not sent: ${cleanText(skipped.join(", "))}`);
}

async function send(server: ControlTarget, { module, files }: Parcel): Promise<PushReport> {
  const form = new FormData();
  for (const { path, bytes } of files) form.append("file", new File([Buffer.from(bytes)], path));
  return (await controlRequest<PushReport>(server, "POST", `/v1/modules/${encodeURIComponent(module)}`, form)).body;
}
