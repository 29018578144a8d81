/**
 * `hrmr start`, also `hrmr` alone: starts the server and says where it listens.
 */
import { defineCommand } from "citty";
import { createLog } from "../observe/log";
import type { StartSummary } from "../supervise/group";
import { onStray } from "./fail";
import { readStartFlags, START_ARGS } from "./start-flags";
import { resolveConfig } from "./start-options";
import { VERSION } from "./version";

export const startCommand = defineCommand({
  meta: { name: "start", description: "Start the server" },
  args: START_ARGS,
  async run({ args: flags, rawArgs }) {
    const startFlags = readStartFlags(flags, rawArgs);
    const cwd = process.cwd();
    // Not before: help and wrong usage need no server.
    const { runMaster } = await import("../supervise/master");
    return await runMaster({
      resolve: () => resolveConfig(startFlags, process.env, cwd),
      makeLog(options) {
        const log = createLog(options.log);
        // One stray failure must not cost the others' connections; modules' own go to their module before they get here.
        onStray((error) => log.error("a bug in hrmr; the server goes on. Please report it with these lines:", error));
        return log;
      },
      args: process.argv.slice(2),
      ready(summary, readyMs) {
        console.log(summarize(summary, readyMs));
      },
    });
  },
});

/** `hrmr 1.0.0  listening on tcp://127.0.0.1:8080   4 modules, 9 routes, ready in 41 ms`: a line a listener, the rest on the last, then notes. */
function summarize({ listening, modules, routes, notes }: StartSummary, readyMs: number): string {
  const name = `hrmr ${VERSION}`;
  const lines = listening.map((url, at) => `${at === 0 ? name : " ".repeat(name.length)}  listening on ${url}`);
  lines.push(`${lines.pop() ?? name}   ${plural(modules, "module")}, ${plural(routes, "route")}, ready in ${Math.round(readyMs)} ms`);
  return [...lines, ...notes].join("\n");
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
