/**
 * A server that does not answer because its event loop is blocked: reads its watchdog's note, and ends the process.
 */
import { UserError } from "../../config/user-error";
import { type ControlTarget, controlRequest } from "../../control/client";
import { readBlocked } from "../../observe/blocked-file";
import type { ServerStatus } from "../../observe/snapshot";
import { type ControlFlags, findHolder } from "./control-target";
import { cleanText } from "../screen/terminal";

/** After this time without an answer, the watchdog's note is read. In milliseconds. */
const PATIENCE_MS = 1000;
const POLL_MS = 200;

/**
 * Asks for the server's status. Reads its watchdog's note while no answer comes.
 *
 * @throws UserError SERVER_BLOCKED; and as `controlRequest`
 */
export async function askStatus(target: ControlTarget, flags: ControlFlags): Promise<ServerStatus> {
  const asked = controlRequest<ServerStatus>(target, "GET", "/v1/status").then(({ body }) => body);
  if (typeof target !== "string") return await asked;
  const silence = new AbortController();
  try {
    return await Promise.race([asked, whenBlocked(flags, silence.signal)]);
  } finally {
    silence.abort();
    asked.catch(() => {});
  }
}

/** Rejects with SERVER_BLOCKED once the watchdog has noted a block. Never resolves. */
async function whenBlocked(flags: ControlFlags, signal: AbortSignal): Promise<never> {
  for (let waitMs = PATIENCE_MS; !signal.aborted; waitMs = POLL_MS) {
    await Bun.sleep(waitMs);
    const error = signal.aborted ? null : await blockedError(flags);
    if (error !== null) throw error;
  }
  return await new Promise<never>(() => {});
}

async function blockedError(flags: ControlFlags): Promise<UserError | null> {
  const holder = await findHolder(flags);
  const note = holder === null ? null : readBlocked(holder.stateDir, holder.pid);
  if (holder === null || note === null) return null;
  const { module, generation, what, sinceMs } = note;
  const seconds = Math.max(0, (Date.now() - sinceMs) / 1000).toFixed(1);
  const who = module === null ? "" : `${cleanText(module)} v${generation}: `;
  return new UserError(
    `The server, pid ${holder.pid}, does not answer: ${who}${cleanText(what)} has been blocking its event loop for ${seconds} s.`,
    {
      code: "SERVER_BLOCKED",
      hint: '`hrmr stop --force` ends it. Give slow routes run: "pool" or run: "process", where their deadline ends them.',
    },
  );
}

/**
 * For `hrmr stop --force`: kills the process that holds the state folder's lock but does not answer.
 *
 * @returns its process id; null: no process holds the lock
 */
export async function killHolder(flags: ControlFlags): Promise<number | null> {
  const holder = await findHolder(flags);
  if (holder === null) return null;
  try {
    process.kill(holder.pid, "SIGKILL");
  } catch (error) {
    // The process has ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw cannotKill(holder.pid, error);
  }
  return holder.pid;
}

/** The error for a process of another user. */
export function cannotKill(pid: number, cause: unknown): UserError {
  return new UserError(`The server, pid ${pid}, was not stopped: it belongs to another user.`, {
    code: "CANNOT_STOP",
    hint: "Run it as the server's user, or with sudo.",
    cause,
  });
}
