/** `hrmr stop`: has the server finish its open work and end, and waits for the end. */
import { readFileSync } from "node:fs";
import { defineCommand } from "citty";
import { UserError } from "../../config/user-error";
import { type ControlTarget, controlRequest } from "../../control/client";
import type { ServerStatus } from "../../observe/snapshot";
import { isAlive } from "../../supervise/takeover/lock";
import { CONTROL_ARGS, type ControlFlags, findServer } from "../remote/control-target";
import { type Flags, type Given, switchFlag, valueFlag } from "../flags";
import { PID_FILE_ARGS, readPidFile } from "../remote/pid-file";
import { cannotKill, killHolder } from "../remote/silent-server";
import { printJson } from "../screen/terminal";

const POLL_MS = 25;
/** How long the server may take to answer the request to stop. In milliseconds. */
const STOP_TIMEOUT_MS = 15_000;
const FORCE_TIMEOUT_MS = 2000;
/** Pause between two signals: without it the kernel may merge them. In milliseconds. */
const PAUSE_MS = 200;
/** After this time a message says what it waits for. */
const PATIENCE_MS = 1000;
const MAX_TIMEOUT_S = 86_400;

const args = {
  ...CONTROL_ARGS,
  ...PID_FILE_ARGS,
  force: switchFlag("Cut open work; kill a server that does not answer"),
  timeout: valueFlag(
    "seconds",
    "Fail if the server has not ended by then (it goes on ending). Default 0: wait as long as it takes",
    { integer: { min: 0, max: MAX_TIMEOUT_S } },
  ),
} as const satisfies Flags;

type StopFlags = Given<typeof args>;

export const stopCommand = defineCommand({
  meta: { name: "stop", description: "Stop the server: it finishes its open work first" },
  args,
  async run({ args: flags }) {
    const startedAt = performance.now();
    const timeoutMs = Number(flags.timeout ?? 0) * 1000;
    const pid =
      flags["pid-file"] === undefined
        ? await stopFound(flags, timeoutMs)
        : await stopNamed(flags["pid-file"], flags, timeoutMs);
    if (flags.json === true) printJson({ ok: true, pid, elapsedMs: Math.round(performance.now() - startedAt) });
    else console.log(`hrmr has stopped${pid === null ? "" : ` (pid ${pid})`}.`);
  },
});

async function stopFound(flags: StopFlags, timeoutMs: number): Promise<number | null> {
  const path = await findServer(flags);
  const pid = await beginStop(path, flags, flags.force === true);
  await waitUntilGone(path, pid, timeoutMs);
  return pid;
}

/** Stops the server by signals alone: the process id is enough. */
async function stopNamed(file: string, { force }: StopFlags, timeoutMs: number): Promise<number> {
  const pid = readPidFile(file);
  end(pid, "SIGTERM");
  if (force === true) {
    const isGone = async (ms: number): Promise<boolean> => {
      for (const until = performance.now() + ms; performance.now() < until; await Bun.sleep(POLL_MS))
        if (!isRunning(pid)) return true;
      return false;
    };
    // The second SIGTERM ends the server at once. If its event loop is blocked, only SIGKILL helps.
    if (!(await isGone(PAUSE_MS))) end(pid, "SIGTERM");
    if (!(await isGone(FORCE_TIMEOUT_MS))) end(pid, "SIGKILL");
  }
  await waitUntilGone(null, pid, timeoutMs);
  return pid;
}

function end(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // The process has ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw cannotKill(pid, error);
  }
}

/** @returns the server's process id; null if it ended before it could answer */
async function beginStop(path: ControlTarget, flags: ControlFlags, force: boolean): Promise<number | null> {
  try {
    const timeoutMs = force ? FORCE_TIMEOUT_MS : STOP_TIMEOUT_MS;
    const { body } = await controlRequest<{ pid: number }>(path, "POST", "/v1/stop", { force }, { timeoutMs });
    return body.pid;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    if (error.code === "CONTROL_LOST") return null;
    const killed = force && error.code === "CONTROL_TIMEOUT" ? await killHolder(flags) : null;
    if (killed === null) throw error;
    console.error(`The server, pid ${killed}, did not answer within ${FORCE_TIMEOUT_MS / 1000} s, and was killed.`);
    return killed;
  }
}

/** @param path null: watch only the process @param timeoutMs 0 waits for ever @throws UserError STOP_TIMEOUT */
async function waitUntilGone(path: ControlTarget | null, pid: number | null, timeoutMs: number): Promise<void> {
  const startedAt = performance.now();
  let isPatient = process.stderr.isTTY === true;
  // The process id of a remote server means nothing on this machine.
  const isHere = typeof path !== "object" || path === null;
  while ((isHere && pid !== null && isRunning(pid)) || (path !== null && (await isServing(path, pid)))) {
    const waitedMs = performance.now() - startedAt;
    if (timeoutMs > 0 && waitedMs >= timeoutMs) {
      throw new UserError(
        `The server${pid === null ? "" : `, pid ${pid},`} still finishes what is under way, after ${timeoutMs / 1000} s.`,
        { code: "STOP_TIMEOUT", hint: "`hrmr status` shows what that is; `hrmr stop --force` cuts it." },
      );
    }
    if (isPatient && waitedMs > PATIENCE_MS) {
      isPatient = false;
      console.error("Waiting for what is under way. Ctrl-C stops waiting, `hrmr stop --force` cuts it.");
    }
    await Bun.sleep(POLL_MS);
  }
}

/** A zombie does not run. */
function isRunning(pid: number): boolean {
  if (!isAlive(pid)) return false;
  try {
    // The state follows the name, which stands in brackets and may hold any character.
    return !/\) [ZX] [^)]*$/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    // There is no /proc: the signal's result counts.
    return true;
  }
}

/**
 * Whether the same server still answers. Its process may be in another container, where it cannot be seen. A successor
 * does not count.
 */
async function isServing(path: ControlTarget, pid: number | null): Promise<boolean> {
  try {
    const { body } = await controlRequest<ServerStatus>(path, "GET", "/v1/status", undefined, { timeoutMs: 1000 });
    return pid === null || body.pid === pid;
  } catch (error) {
    return error instanceof UserError && error.code === "CONTROL_TIMEOUT";
  }
}
