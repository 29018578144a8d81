/**
 * A server that is named by its pid file (`hrmr start -P FILE`): for `hrmr stop -P FILE` and `hrmr status -P FILE`,
 * from any folder.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { UserError } from "../../config/user-error";
import { controlRequest } from "../../control/client";
import { controlPath } from "../../control/paths";
import type { ServerStatus } from "../../observe/snapshot";
import { readHolder } from "../../supervise/takeover/lock";
import { type Flags, valueFlag } from "../flags";

/** How long a possible socket of the server has to answer. In milliseconds. */
const LOOK_MS = 2000;

export const PID_FILE_ARGS = {
  "pid-file": valueFlag("file", "The pid file of the server: as in hrmr start -P FILE", { alias: "P" }),
} as const satisfies Flags;

/**
 * Reads the process id from the pid file of a running server. The server holds a lock on the file: without the lock,
 * the id may belong to another program by now.
 *
 * @throws UserError NO_SERVER
 */
export function readPidFile(file: string): number {
  const path = resolve(file);
  const pid = readHolder(path);
  if (pid !== null) return pid;
  throw new UserError(`No hrmr server runs with the pid file ${path}: ${whyNot(path)}.`, {
    code: "NO_SERVER",
    hint: "`hrmr start -P FILE` writes one. Without -P the server of this folder is meant.",
  });
}

function whyNot(path: string): string {
  try {
    return /^\d+\n/.test(readFileSync(path, "latin1"))
      ? "the server that wrote it has ended"
      : "it holds no process id";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "ENOENT" ? "there is no such file" : `it cannot be read (${code})`;
  }
}

/**
 * @returns the control socket that answers with this process id; null: not found. Needs /proc, and permission to read
 *   it
 */
export async function findControlOf(pid: number): Promise<string | null> {
  for (const stateDir of stateDirsOf(pid)) {
    const path = controlPath(stateDir);
    const reply = await controlRequest<ServerStatus>(path, "GET", "/v1/status", undefined, {
      timeoutMs: LOOK_MS,
    }).catch(() => null);
    if (reply?.body.pid === pid) return path;
  }
  return null;
}

/** Folders of the lock files that the process has open (proc(5)). */
function stateDirsOf(pid: number): string[] {
  try {
    const folder = `/proc/${pid}/fd`;
    const open = readdirSync(folder).map((fd) => linkOf(join(folder, fd)));
    return [...new Set(open.filter((path) => basename(path) === "lock").map((path) => dirname(path)))];
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    // The descriptor was closed meanwhile.
    return "";
  }
}
