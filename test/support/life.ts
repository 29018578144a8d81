/** Modules that write each step of their life into a file, one line a step, with the process that took it. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Hub } from "./hub";

/** A step: "start v2", by the process `pid`. */
export interface Step {
  readonly text: string;
  readonly pid: number;
}

interface LifeOptions {
  /** Of the definition, each with a comma at its end. */
  readonly options?: string;
  /** Entries of `routes`. Default: none. "": there is no `routes`. */
  readonly routes?: string;
  /** At the begin of `start`, with `context` and `note`. */
  readonly start?: string;
  /** At the begin of `stop`. */
  readonly stop?: string;
}

/** The source of a module that notes setup, check, start, stop and dispose in `life.txt` of the project. */
export function lifeModule(
  name: string,
  { options = "", routes = "", start = "", stop = "" }: LifeOptions = {},
): string {
  return `import { appendFileSync } from "node:fs";
const note = (step) => appendFileSync("life.txt", step + " " + process.pid + "\\n");
export default {
  ${options}
  ${routes === "" ? "" : `routes: { ${routes} },`}
  setup() { note("${name} setup"); },
  check() { note("${name} check"); },
  async start(context) { note("${name} start v" + context.generation); ${start} },
  async stop(context, reason) { ${stop} note("${name} stop v" + context.generation + " " + reason); },
  dispose() { note("${name} dispose"); },
};
`;
}

/** The steps so far. */
export function stepsIn(hub: Pick<Hub, "dir">): Step[] {
  const file = join(hub.dir, "life.txt");
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => {
    const at = line.lastIndexOf(" ");
    return { text: line.slice(0, at), pid: Number(line.slice(at + 1)) };
  });
}

export function textsIn(hub: Pick<Hub, "dir">): string[] {
  return stepsIn(hub).map(({ text }) => text);
}
