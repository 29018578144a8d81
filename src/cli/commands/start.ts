/**
 * `hrmr start`, also `hrmr` alone: starts the server and says where it listens.
 */
import { readlinkSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { defineCommand } from "citty";
import { keepConfig } from "../../config/resolve/kept-config";
import type { ResolvedConfig } from "../../config/resolve/resolved";
import { workingFolder } from "../../config/working-folder";
import { createLog, type ProcessLog, tellStray } from "../../observe/log/log";
import { hasLauncher, tellLauncher } from "../../supervise/takeover/daemon";
import type { StartSummary } from "../../supervise/serve/group";
import { reapOrphans } from "../../system/reaper";
import { selfCommand } from "../../system/self";
import { failureOf, onStray } from "../fail";
import { readStartFlags, START_ARGS } from "../start/flags";
import { resolveConfig } from "../start/options";
import { cleanText, plural } from "../screen/terminal";
import { VERSION } from "./version";

export const startCommand = defineCommand({
  meta: { name: "start", description: "Start the server" },
  args: START_ARGS,
  async run({ args: flags, rawArgs }) {
    const startFlags = readStartFlags(flags, rawArgs);
    const cwd = workingFolder();
    // A copy: the server adds the variables of .env to its environment, and another .env must be able to change them.
    const env = { ...process.env };
    const resolve = keepConfig(() => resolveConfig(startFlags, env, cwd), {
      env,
      cwd,
      file: startFlags.config,
    });
    const args = ["start", ...rawArgs.filter((word) => !DAEMON_WORDS.includes(word))];
    if (startFlags.daemonize === true) return await startDaemon(await resolve(), args);
    // Imported late: help and wrong usage need no server.
    const { runMaster } = await import("../../supervise/master");
    reapOrphans();
    let serverLog: ProcessLog | null = null;
    let logFile: string | null = null;
    const started = runMaster({
      resolve,
      makeLog(options) {
        const log = createLog(options.log);
        serverLog = log;
        logFile = options.log.file;
        // One stray failure must not cost other connections. Failures of modules go to their module and do not get
        // here.
        onStray((error) => tellStray(log, error));
        return log;
      },
      args,
      async ready(summary, readyMs, failures) {
        // Only a launcher needs them.
        const told = hasLauncher() ? await failures() : [];
        const text = summarize(summary, readyMs);
        // In the background stdout is the log, which machines may read.
        if (hasLauncher() || isLogOnStdout(logFile)) serverLog?.info(text);
        else console.log(text);
        tellLauncher({ type: "ready", summary: text, failures: told });
      },
    });
    return await started.catch((error: unknown) => {
      const failure = failureOf(error);
      // The launcher shows it to the user. Our stderr is the log: machines may read it, or it belongs to a running
      // server.
      if (tellLauncher({ type: "failed", ...failure })) return failure.exitCode;
      throw error;
    });
  },
});

/** In the form of `checkArgs`. */
const DAEMON_WORDS = ["--daemonize", "--no-daemonize"];

/** `-d`: the launcher's part. */
async function startDaemon({ options }: ResolvedConfig, args: readonly string[]): Promise<number> {
  const { findFolders } = await import("../../server/folders");
  const { daemonize } = await import("../../supervise/takeover/daemon");
  const { stateDir, notes } = findFolders(options);
  const logFile = options.log.file ?? join(stateDir, "hrmr.log");
  // Nobody reads its stderr, and without a file the log could not be rotated.
  const logArgs = options.log.file === null ? [`--log-file=${logFile}`] : [];
  const end = args.indexOf("--");
  const { pid, summary, failures } = await daemonize(selfCommand(args.toSpliced(end, 0, ...logArgs)), {
    logFile,
    env: process.env,
  });
  // Notes about this command only. The server does not see them.
  for (const note of notes.filter((each) => !summary.includes(each))) console.log(note);
  for (const failure of failures) console.error(cleanText(failure));
  console.log(`${summary}\nin the background: pid ${pid}, log ${logFile}`);
  return 0;
}

/**
 * After an upgrade of a server in the background: stdout is still the log file that `start -d` opened, even if it was
 * rotated since.
 */
function isLogOnStdout(logFile: string | null): boolean {
  if (logFile === null) return false;
  try {
    const path = readlinkSync("/proc/self/fd/1").replace(/(?:\.\d+)?(?: \(deleted\))?$/, "");
    return path === join(realpathSync(dirname(logFile)), basename(logFile));
  } catch {
    // There is no /proc, or stdout is closed.
    return false;
  }
}

/**
 * `hrmr 1.0.0  http://127.0.0.1:8080/   4 modules, 9 routes, ready in 41 ms`: one line for each listener, then notes.
 */
function summarize({ listening, modules, routes, notes }: StartSummary, readyMs: number): string {
  const name = `hrmr ${VERSION}`;
  const lines = listening.map((url, at) => `${at === 0 ? name : " ".repeat(name.length)}  ${webUrl(url)}`);
  lines.push(
    `${lines.pop() ?? name}   ${plural(modules, "module")}, ${plural(routes, "route")}, ready in ${Math.round(readyMs)} ms`,
  );
  return [...lines, ...notes].join("\n");
}

/** A listener's URL for a browser: a TCP port speaks HTTP too. */
function webUrl(url: string): string {
  const scheme = { "tcp:": "http:", "tls:": "https:" }[url.slice(0, 4)];
  return scheme === undefined ? url : `${scheme}${url.slice(4)}/`;
}
