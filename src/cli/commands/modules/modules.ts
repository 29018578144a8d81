/** `hrmr modules`: each module that the server has, with its source, state and routes. */
import { relative } from "node:path";
import { defineCommand } from "citty";
import type { ModuleStatus } from "../../../observe/snapshot";
import { askServer, CONTROL_ARGS } from "../../remote/control-target";
import { paintState } from "../../screen/status-screen";
import { cleanText, fitText, lineWidth, type Paint, paintFor, printJson } from "../../screen/terminal";

export const modulesCommand = defineCommand({
  meta: { name: "modules", description: "List the server's modules with their sources, states and routes" },
  args: CONTROL_ARGS,
  async run({ args: flags }) {
    const body = await askServer<readonly ModuleStatus[]>(flags, "GET", "/v1/modules");
    if (flags.json === true) return printJson(body);
    if (body.length === 0) return console.log("The server has no modules.");
    console.log(body.flatMap((module) => moduleLines(module, paintFor(process.stdout))).join("\n"));
  },
});

function moduleLines(module: ModuleStatus, paint: Paint): string[] {
  const { name, state, generation, source, routes, error } = module;
  const version = generation === null ? "" : `  v${generation}`;
  const head = `${paint(cleanText(name), "bold")}${version}  ${paintState(state, paint)}  ${paint(shownSource(source), "dim")}`;
  const cause = error === null ? [] : [`  ${paint(cleanText(error).split("\n")[0] ?? "", "red")}`];
  const about = fitText([head, ...cause].join("\n"), lineWidth());
  return [about, ...routes.map((key) => `  ${JSON.stringify(key)}`)];
}

/** Relative to the working directory if it is below. */
function shownSource(source: string): string {
  const near = relative(process.cwd(), source);
  return cleanText(source.startsWith("/") && near !== "" && !near.startsWith("..") ? near : source);
}
