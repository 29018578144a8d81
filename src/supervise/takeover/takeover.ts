/**
 * Upgrades the binary: a new process of this program takes a running server's listeners over, and the old one leaves.
 *
 * The old one starts the new one with its descriptors, and serves until the new one reports that it serves too. Both
 * then accept on the same sockets, so that no client is refused at any moment.
 */
import { closeSync } from "node:fs";
import type { Subprocess } from "bun";
import { messageOf, UserError } from "../../config/user-error";
import { FOLDER_VARIABLE, workingFolder } from "../../config/working-folder";
import type { BoundSocket } from "../../system/bind";
import { outerEnvironment } from "../../system/environment";
import { systemdForSuccessor } from "./notify";
import { selfCommand } from "../../system/self";

/** The estate for a new process, as JSON. */
const TAKEOVER_VARIABLE = "HRMR_INTERNAL_TAKEOVER";

export interface HeldSocket extends BoundSocket {
  /** The configured URL. Its port may be 0, unlike the real one. */
  readonly asked: string;
  /** It is systemd's: we must not remove the file of a unix socket. */
  readonly isForeign: boolean;
}

/** The handed-over descriptors, and the modules that failed already. Each descriptor is the new process's own copy. */
export interface Estate {
  /** Lock files by path. */
  readonly locks: readonly { readonly path: string; readonly fd: number }[];
  readonly sockets: readonly HeldSocket[];
  /** Modules that failed in the old process, too. */
  readonly failing: readonly string[];
}

/** The messages of the new process. */
type ToOld = { readonly type: "serving" } | { readonly type: "failed"; readonly message: string };

/** The process that has taken over. */
export interface Successor {
  readonly pid: number;
  /** This process has stopped the background work. Its end says so too. */
  release(): void;
}

/** Loading many modules may take long. */
const TAKEOVER_MS = 120_000;
const FIRST_FD = 3;
const FIRST_PROCESS = 1;

/**
 * Starts the new process and waits until it serves.
 *
 * @param args  of the command line
 * @returns its process id, and a function that lets it take over the background work
 * @throws UserError FIRST_PROCESS, or TAKEOVER_FAILED with its reason; the new process is gone then, and this one still
 *   serves
 */
export async function handOver(estate: Estate, args: readonly string[]): Promise<Successor> {
  if (process.pid === FIRST_PROCESS) {
    throw new UserError("Process 1 cannot be replaced: a container ends with it, and the new process would end too.", {
      code: "FIRST_PROCESS",
      hint: "Start a new container instead; nothing was changed.",
    });
  }
  const fds = [...estate.locks, ...estate.sockets].map(({ fd }) => fd);
  const renumbered: Estate = {
    failing: estate.failing,
    locks: estate.locks.map((lock, at) => ({ ...lock, fd: FIRST_FD + at })),
    sockets: estate.sockets.map((socket, at) => ({ ...socket, fd: FIRST_FD + estate.locks.length + at })),
  };
  const told = Promise.withResolvers<ToOld>();
  const child = spawnSuccessor(args, renumbered, fds, (message) => told.resolve(message));
  const timer = setTimeout(
    () => told.resolve({ type: "failed", message: `it did not serve within ${TAKEOVER_MS / 1000} s` }),
    TAKEOVER_MS,
  );
  void child.exited.then(() =>
    told.resolve({ type: "failed", message: `it ended: ${child.signalCode ?? `exit code ${child.exitCode}`}` }),
  );
  const answer = await told.promise;
  clearTimeout(timer);
  if (answer.type === "serving") {
    child.unref();
    return { pid: child.pid, release: () => child.disconnect() };
  }
  child.kill("SIGKILL");
  await child.exited;
  throw takeoverFailed(answer.message);
}

/** @throws UserError TAKEOVER_FAILED if the program's file is gone, or is no program */
function spawnSuccessor(
  args: readonly string[],
  estate: Estate,
  fds: readonly number[],
  told: (message: ToOld) => void,
): Subprocess {
  try {
    return Bun.spawn(selfCommand(args), {
      env: {
        ...systemdForSuccessor(outerEnvironment()),
        [TAKEOVER_VARIABLE]: JSON.stringify(estate),
        [FOLDER_VARIABLE]: workingFolder(),
      },
      stdio: ["inherit", "inherit", "inherit", ...fds],
      ipc: told,
    });
  } catch (cause) {
    throw takeoverFailed(`it cannot be started: ${messageOf(cause)}`, cause);
  }
}

function takeoverFailed(reason: string, cause?: unknown): UserError {
  // Another line follows, and the reason may be a complete sentence.
  const end = /[.!?]$/.test(reason) ? "" : ".";
  return new UserError(`The new process did not take over: ${reason}${end}`, {
    code: "TAKEOVER_FAILED",
    hint: "The old one goes on serving; nothing was changed.",
    cause,
  });
}

/** @returns the estate of this process, removed from `env`; null: it was not started by an old server */
export function takeEstate(env: Record<string, string | undefined>): Estate | null {
  const text = env[TAKEOVER_VARIABLE];
  delete env[TAKEOVER_VARIABLE];
  return text === undefined || !process.connected ? null : (JSON.parse(text) as Estate);
}

/** Tells the old process that it may leave, or why this one failed. */
export function tellOld(message: ToOld): void {
  if (process.connected) process.send?.(message);
}

/** Resolves when the old process has stopped the background work, or is gone. */
export function oldHasStopped(): Promise<void> {
  if (!process.connected) return Promise.resolve();
  return new Promise((resolve) => process.once("disconnect", resolve));
}

/** The inherited socket for a configured URL, taken out of `sockets`. */
export function takeSocket(sockets: HeldSocket[], asked: string): HeldSocket | null {
  const at = sockets.findIndex((socket) => socket.asked === asked);
  return at === -1 ? null : (sockets.splice(at, 1)[0] ?? null);
}

/** Closes sockets that the new configuration does not have. */
export function closeUnused(sockets: readonly BoundSocket[]): void {
  for (const { fd } of sockets) closeSync(fd);
}
