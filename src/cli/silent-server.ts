/**
 * A server that does not answer, since its event loop is blocked: what its watchdog knows, and its end.
 */
import { UserError } from "../config/user-error";
import { type ControlTarget, controlRequest } from "../control/client";
import { readBlocked } from "../observe/blocked-file";
import type { ServerStatus } from "../observe/snapshot";
import { type ControlFlags, findHolder } from "./control-target";
import { cleanText } from "./terminal";

/** From then on the watchdog's note is looked for. In milliseconds. */
const PATIENCE_MS = 1000;
const POLL_MS = 200;

/**
 * The server's status; while it does not answer, its watchdog's note is looked for.
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

/** Rejects with SERVER_BLOCKED once the watchdog has noted it; never resolves. */
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
      hint: '`hrmr stop --force` ends it. What takes long belongs into run: "pool" or run: "process", where its deadline ends it.',
    },
  );
}

/**
 * For `hrmr stop --force`: ends the process that holds the state folder's lock, and does not answer.
 *
 * @returns its id; null: the lock names nobody
 */
export async function killHolder(flags: ControlFlags): Promise<number | null> {
  const holder = await findHolder(flags);
  if (holder === null) return null;
  try {
    process.kill(holder.pid, "SIGKILL");
  } catch (error) {
    // It has ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw cannotKill(holder.pid, error);
  }
  return holder.pid;
}

/** Another user's. */
export function cannotKill(pid: number, cause: unknown): UserError {
  return new UserError(`This user may not end the server, pid ${pid}.`, {
    code: "CANNOT_STOP",
    hint: "Run it as the server's user, or with sudo.",
    cause,
  });
}
