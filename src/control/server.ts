/**
 * The control socket: HTTP on a unix socket that only its owner may open, for `hrmr status`, `hrmr reload` and the
 * like.
 */
import { chmodSync, lstatSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { UserError } from "../config/user-error";
import type { ServerLog } from "../observe/log/log";
import { answerControl } from "./api";
import type { Audit } from "./audit";
import type { Operations } from "../reload/operations";
import { currentUser, shortFolder, temporaryPath } from "./paths";
import { AF_UNIX, SO_ACCEPTCONN, socketAddress, socketOption, SOL_SOCKET, userOf } from "../system/sockets";

interface ControlOptions {
  /** From `controlPath`. Its folder must exist. */
  readonly path: string;
  readonly operations: Operations;
  readonly log: Pick<ServerLog, "error">;
  readonly audit: Audit;
}

/** `readBytes` limits bodies. A body that nobody reads stays in the socket. */
export const NO_BODY_LIMIT: number = 2 ** 40;

export interface ControlServer {
  readonly path: string;
  /**
   * Takes no more requests, lets open ones end (for a second at most), and removes the socket's file unless another
   * server has replaced it. Safe to call twice.
   */
  close(): Promise<void>;
  /** Whether the socket's file is still in its place. */
  isInPlace(): boolean;
  /** Call it when another socket has replaced this one: takes no more requests, and finishes the open ones. */
  retire(): void;
}

const OWNER_ONLY = 0o600;
/** Not 0o177: another thread may make a folder at that moment, and must be able to enter it. */
const OWNER_UMASK = 0o077;
/**
 * A reload may take longer than any limit, and `Server.timeout` does nothing on unix sockets. The type is `object`:
 * Bun's types lack the option there.
 */
const NO_IDLE_TIMEOUT: object = { idleTimeout: 0 };
/** How long open requests may take when the server ends. In milliseconds. */
const CLOSE_DEADLINE_MS = 1000;

/**
 * Opens the control socket. It is bound beside `path` and renamed to it. The file of a killed server is no obstacle
 * then, and a server that takes over leaves no moment without a socket. The state folder's lock decides whether another
 * server may be there.
 *
 * Access: the file is 0600 from its first moment, so the kernel lets only the server's user and root connect. No
 * further check of the peer is needed.
 * @throws UserError CANNOT_CONTROL if the socket cannot be made
 */
export async function openControlSocket({ path, operations, log, audit }: ControlOptions): Promise<ControlServer> {
  const api = { operations, audit, report: (error: unknown) => log.error("control socket:", error) };
  const bound = temporaryPath(path);
  const server = bindOwnerOnly(path, () =>
    Bun.serve({
      unix: bound,
      maxRequestBodySize: NO_BODY_LIMIT,
      development: false,
      fetch: (request) => answerControl(request, peerOf(bound), api),
      ...NO_IDLE_TIMEOUT,
    }),
  );
  const inode = lstatSync(path).ino;
  const isInPlace = () => lstatSync(path, { throwIfNoEntry: false })?.ino === inode;
  let closed: Promise<void> | undefined;
  const close = async () => {
    // Before it stops: while the socket is open, no other socket can have its inode.
    if (isInPlace()) unlinkSync(path);
    await Promise.race([server.stop(), Bun.sleep(CLOSE_DEADLINE_MS)]);
    await server.stop(true);
  };
  return { path, close: () => (closed ??= close()), isInPlace, retire: () => void server.stop() };
}

/** Runs `bind`, which makes a socket at `temporaryPath(path)`, and puts it at `path`, never open to other users. */
function bindOwnerOnly<Server extends { stop(isForced: boolean): Promise<void> }>(
  path: string,
  bind: () => Server,
): Server {
  const temporary = temporaryPath(path);
  const umask = process.umask(OWNER_UMASK);
  let server: Server | undefined;
  try {
    if (dirname(path) === shortFolder()) makeShortFolder(shortFolder());
    mustBeFree(path);
    // An earlier process with the same id may have left it.
    rmSync(temporary, { force: true });
    server = bind();
    chmodSync(temporary, OWNER_ONLY);
    renameSync(temporary, path);
    return server;
  } catch (cause) {
    void server?.stop(true);
    rmSync(temporary, { force: true });
    throw cause instanceof UserError ? cause : cannotControl(path, cause as NodeJS.ErrnoException);
  } finally {
    process.umask(umask);
  }
}

/** A socket may be replaced. A file that a user named by mistake must not be. @throws UserError CANNOT_CONTROL */
export function mustBeFree(path: string): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined || there.isSocket()) return;
  throw new UserError(`Cannot open the control socket ${path}: a file that is not a socket is there.`, {
    code: "CANNOT_CONTROL",
    hint: "Remove it, or name another path as control.socket.",
  });
}

/** Its parent is open to everybody. Another user may have made it first, to have clients take their socket for ours. */
function makeShortFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const found = lstatSync(folder);
  if (found.isDirectory() && found.uid === currentUser()) return chmodSync(folder, 0o700);
  throw new UserError(`Cannot open the control socket: ${folder} is not a folder of this user.`, {
    code: "CANNOT_CONTROL",
    hint: "Remove it, or name a short path for the socket as control.socket.",
  });
}

/** @param cause why opening failed */
export function cannotControl(path: string, cause: NodeJS.ErrnoException): UserError {
  const folder = dirname(path);
  const isThere = statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
  const why = !isThere ? `there is no folder ${folder}` : `${cause.code ?? cause.message}`;
  return new UserError(`Cannot open the control socket ${path}: ${why}.`, {
    code: "CANNOT_CONTROL",
    hint: isThere
      ? "Give this user the right to write to its folder, or name another as control.socket."
      : "Make the folder, or name another socket as control.socket.",
    cause,
  });
}

/** If the user is not known. */
const UNKNOWN = "control socket";

/**
 * Asks the kernel for the users of all open connections to a socket. Bun does not say which connection a request came
 * on, so the user is known only if all have the same one. They nearly always do: the file's mode lets in only the
 * server's user and root.
 *
 * @param bound  the path that the socket was bound at
 * @returns "uid 1000 by the control socket", or "control socket"
 */
function peerOf(bound: string): string {
  const users = new Set<number>();
  for (const fd of openDescriptors()) {
    const user = isConnectionTo(bound, fd) ? userOf(fd) : null;
    if (user !== null) users.add(user);
  }
  const [user] = users;
  return users.size === 1 ? `uid ${user} by the control socket` : UNKNOWN;
}

function openDescriptors(): number[] {
  try {
    return readdirSync("/proc/self/fd").map(Number);
  } catch {
    // There is no /proc.
    return [];
  }
}

function isConnectionTo(bound: string, fd: number): boolean {
  const address = socketAddress(fd);
  if (address === null || address.readUInt16LE(0) !== AF_UNIX) return false;
  const path = address.subarray(2).toString().replace(/\0.*$/s, "");
  return path === bound && socketOption(fd, SOL_SOCKET, SO_ACCEPTCONN)?.[0] === 0;
}
