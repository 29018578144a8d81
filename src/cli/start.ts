/**
 * `hrmr start`, also `hrmr` alone: starts the server, says where it listens, and hands it the signals.
 */
import { defineCommand } from "citty";
import { createLog, type ServerLog } from "../observe/log";
import type { RunningServer } from "../server/server";
import { onStray } from "./fail";
import { readStartFlags, START_ARGS } from "./start-flags";
import { resolveConfig } from "./start-options";
import { VERSION } from "./version";

/** 128 and the signal's number, as a shell tells it. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

export const startCommand = defineCommand({
  meta: { name: "start", description: "Start the server" },
  args: START_ARGS,
  async run({ args: flags, rawArgs }) {
    const { options } = await resolveConfig(readStartFlags(flags, rawArgs), process.env, process.cwd());
    // Not before: help and wrong usage need no server.
    const { startServer } = await import("../server/server");
    const log = createLog();
    let server: RunningServer | undefined;
    handleSignals(log, () => server);
    server = await startServer(options, log);
    // One stray failure must not cost the others' connections; modules' own go to their module before they get here.
    onStray((error) => log.error("a bug in hrmr; the server goes on. Please report it with these lines:", error));
    console.log(summarize(server));
    await server.closed;
    return 0;
  },
});

/** The first SIGTERM or SIGINT drains, the second ends at once; so does the first before the server is up. SIGHUP reloads. */
function handleSignals(log: ServerLog, getServer: () => RunningServer | undefined): void {
  let isStopping = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      const server = getServer();
      if (isStopping || server === undefined) process.exit(EXIT_CODES[signal]);
      isStopping = true;
      log.info(`${signal}: finishing what is under way; a second one ends at once`);
      void server.shutdown(signal);
    });
  }
  process.on("SIGHUP", () => void reloadAndTell(log, getServer()));
}

async function reloadAndTell(log: ServerLog, server: RunningServer | undefined): Promise<void> {
  if (server === undefined) return;
  const { ok, text } = await server.reload();
  if (ok) log.info("SIGHUP:", text);
  else log.error("SIGHUP:", text);
}

/** `hrmr 1.0.0  listening on tcp://127.0.0.1:8080   4 modules, 9 routes, ready in 41 ms`: a line a listener, the rest on the last, then notes. */
function summarize({ listening, summary }: RunningServer): string {
  const name = `hrmr ${VERSION}`;
  const lines = listening.map((url, at) => `${at === 0 ? name : " ".repeat(name.length)}  listening on ${url}`);
  const counts = `${plural(summary.modules, "module")}, ${plural(summary.routes, "route")}`;
  lines.push(`${lines.pop() ?? name}   ${counts}, ready in ${Math.round(summary.readyMs)} ms`);
  return [...lines, ...summary.notes].join("\n");
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
