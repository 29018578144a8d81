/**
 * `hrmr start -d`: a server in its own session, which survives its terminal. A launcher starts it and stays until it
 * serves.
 */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, fstatSync, mkdirSync, openSync, readSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import type { Readable } from "node:stream";
import { UserError } from "../../config/user-error";
import { logFileMode, PRIVATE_FILE, setFileMode } from "../../system/private-files";

/** The launcher's process id, for the server. Programs that inherit the variable have another parent. */
const LAUNCHER_VARIABLE = "HRMR_INTERNAL_LAUNCHER";
/** The server's end of the pipe to its launcher. */
const LAUNCHER_FD = 3;
/** How much of the log's end is shown if the server ends without a message. */
const MAX_TAIL_BYTES = 16_384;
const MAX_TAIL_LINES = 20;
/** Like a shell's. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/** The server's one message to its launcher. */
type LauncherMessage =
  /**
   * It serves; `summary` is the output of a start in the foreground, `failures` its log lines about modules that do not
   * serve.
   */
  | { readonly type: "ready"; readonly summary: string; readonly failures?: readonly string[] }
  /** It cannot serve, and ends. The fields are a `UserError`'s. */
  | {
      readonly type: "failed";
      readonly message: string;
      readonly hint?: string;
      readonly code: string;
      readonly exitCode: number;
    };

/** A server in the background. */
interface Launched {
  readonly pid: number;
  readonly summary: string;
  readonly failures: readonly string[];
}

interface DaemonOptions {
  /** Takes the server's stdout and stderr. It is appended to, and made with its folder if it is missing. */
  readonly logFile: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * Starts `command` in a new session, without a terminal and in this working directory, and waits until it reports that
 * it serves. There is no deadline: SIGINT and SIGTERM end it.
 *
 * @param command  the program and its arguments, without -d
 * @throws UserError the server's error; DAEMON_ENDED with the end of its log if it reported nothing; CANNOT_WRITE for
 *   the log file
 */
export async function daemonize(command: readonly string[], options: DaemonOptions): Promise<Launched> {
  const log = openLog(options.logFile);
  const startedAtBytes = fstatSync(log).size;
  try {
    const { child, answer } = await startAndWait(() => launch(command, options.env, log));
    if (answer === null) throw endedSilently(child, options.logFile, readTail(log, startedAtBytes));
    if (answer.type === "failed") throw new UserError(answer.message, answer);
    child.unref();
    return { pid: child.pid ?? 0, summary: answer.summary, failures: answer.failures ?? [] };
  } finally {
    closeSync(log);
  }
}

/** Whether a launcher started this process and still waits for its message, which it shows to the user. */
export function hasLauncher(): boolean {
  return process.env[LAUNCHER_VARIABLE] === String(process.ppid);
}

/**
 * Sends the message to the launcher, if there is one that waits. Synchronous: the process may end right after.
 *
 * @returns whether the launcher got it
 */
export function tellLauncher(message: LauncherMessage): boolean {
  const launcher = process.env[LAUNCHER_VARIABLE];
  delete process.env[LAUNCHER_VARIABLE];
  if (launcher !== String(process.ppid)) return false;
  try {
    const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
    for (let sent = 0; sent < bytes.length;) sent += writeSync(LAUNCHER_FD, bytes, sent);
    closeSync(LAUNCHER_FD);
    return true;
  } catch {
    // The launcher is gone. The server stays.
    return false;
  }
}

function openLog(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
    const mode = logFileMode(path);
    const fd = openSync(path, "a+", mode);
    if (mode === PRIVATE_FILE) setFileMode(fd, mode);
    return fd;
  } catch (cause) {
    throw new UserError(`Cannot write the log file ${path} (${(cause as NodeJS.ErrnoException).code}).`, {
      code: "CANNOT_WRITE",
      hint: "A server in the background needs one: name a file in a folder that you may write to.",
      cause,
    });
  }
}

function launch([program = "", ...args]: readonly string[], env: DaemonOptions["env"], log: number): ChildProcess {
  const own: Record<string, string | undefined> = { ...env, [LAUNCHER_VARIABLE]: String(process.pid) };
  // It would end the server with its launcher.
  delete own["BUN_FEATURE_FLAG_NO_ORPHANS"];
  // Loaded late: only the launcher needs node:child_process.
  const { spawn } = process.getBuiltinModule("node:child_process");
  return spawn(program, args, { detached: true, stdio: ["ignore", log, log, "pipe"], env: own });
}

/** @returns `answer` is null if the server ended without a message */
async function startAndWait(
  start: () => ChildProcess,
): Promise<{ child: ChildProcess; answer: LauncherMessage | null }> {
  let interrupted: keyof typeof EXIT_CODES | null = null;
  let child: ChildProcess | null = null;
  const giveUp = (signal: keyof typeof EXIT_CODES) => {
    interrupted = signal;
    child?.kill("SIGTERM");
  };
  // Before the start: a signal right after it would end the launcher, and leave an unknown server.
  process.on("SIGINT", giveUp).on("SIGTERM", giveUp);
  let ended: Promise<unknown> | null = null;
  try {
    child = start();
    ended = once(child, "exit");
    const line = await firstLine(child.stdio[LAUNCHER_FD] as Readable);
    const answer = line === null ? null : (JSON.parse(line) as LauncherMessage);
    if (answer?.type === "ready" && interrupted === null) return { child, answer };
    // After its end its locks and ports are free.
    await ended;
    if (interrupted !== null) throw gaveUp(interrupted);
    return { child, answer };
  } finally {
    process.off("SIGINT", giveUp).off("SIGTERM", giveUp);
    ended?.catch(() => {});
  }
}

/** @returns null if the pipe ends before a line, as it does with the process */
async function firstLine(pipe: Readable): Promise<string | null> {
  let text = "";
  try {
    for await (const piece of pipe.setEncoding("utf8")) {
      text += piece;
      const end = text.indexOf("\n");
      if (end !== -1) return text.slice(0, end);
    }
    return null;
  } finally {
    pipe.destroy();
  }
}

function gaveUp(signal: keyof typeof EXIT_CODES): UserError {
  return new UserError(`${signal}: the server was ended before it was ready.`, {
    code: "INTERRUPTED",
    exitCode: EXIT_CODES[signal],
  });
}

function endedSilently(child: ChildProcess, logFile: string, tail: string): UserError {
  const how = child.signalCode ?? `exit code ${child.exitCode}`;
  const lines = tail === "" ? "It wrote nothing" : `The end of its output:\n${tail}\nThis is`;
  return new UserError(`The server ended before it was ready (${how}).`, {
    code: "DAEMON_ENDED",
    hint: `${lines} to ${logFile}. Start it without -d to see more.`,
    exitCode: child.exitCode || 1,
  });
}

/** The last lines behind `fromBytes`, indented. */
function readTail(log: number, fromBytes: number): string {
  const size = fstatSync(log).size;
  const from = Math.max(fromBytes, size - MAX_TAIL_BYTES);
  const bytes = Buffer.alloc(Math.max(0, size - from));
  const count = readSync(log, bytes, 0, bytes.length, from);
  const lines = bytes.subarray(0, count).toString().trimEnd().split("\n");
  return lines[0] === "" && lines.length === 1 ? "" : lines.slice(-MAX_TAIL_LINES).join("\n    ").replace(/^/, "    ");
}
