/** The path of a server's control socket. The server and its clients must find the same one. */
import { join, resolve } from "node:path";
import { UserError } from "../config/user-error";

const SOCKET_NAME = "control.sock";

/** sizeof(sockaddr_un.sun_path) of macOS without its NUL; Linux has 4 more. In bytes. */
const MAX_SOCKET_PATH_BYTES = 103;

/** The most that `temporaryPath` adds to the folder, with its slash. In bytes. */
const MAX_TEMPORARY_BYTES = "/.ctl-zzzzzz".length;

/**
 * `configured`, or control.sock in the runtime directory that systemd made, or in the state folder; if that is too long
 * for a socket's path, a short one in /tmp/hrmr-UID.
 *
 * @param runtimeDir $RUNTIME_DIRECTORY: the first of the folders between colons; empty or undefined: none
 * @param configured  `control.socket`; null or undefined: none
 * @param user the owner of the server. Default: this process's user
 * @throws UserError CONTROL_PATH_LONG for a configured one that is too long, since its owner wants that path and no
 *   other
 */
export function controlPath(
  stateDir: string,
  runtimeDir?: string,
  configured?: string | null,
  user: number = currentUser(),
): string {
  if (configured !== undefined && configured !== null) {
    const path = resolve(configured);
    if (fits(path)) return path;
    throw new UserError(
      `The control socket's path ${path} is too long: a socket's path has at most ${MAX_SOCKET_PATH_BYTES} bytes.`,
      { code: "CONTROL_PATH_LONG", hint: "Name a shorter one as control.socket, or leave it out." },
    );
  }
  const folder = runtimeDir?.split(":")[0] || stateDir;
  const path = resolve(folder, SOCKET_NAME);
  if (fits(path)) return path;
  const name = new Bun.CryptoHasher("sha256").update(path).digest("hex").slice(0, 16);
  return join(shortFolder(user), `${name}.sock`);
}

/** The folder for sockets whose own path is too long. `user` must own it, and nobody else may enter. */
export function shortFolder(user: number = currentUser()): string {
  return `/tmp/hrmr-${user}`;
}

/** @returns a name in the same folder for a socket that is renamed to `path` as soon as it listens */
export function temporaryPath(path: string): string {
  return join(resolve(path, ".."), `.ctl-${process.pid.toString(36)}`);
}

/** 0 on systems without user ids. */
export function currentUser(): number {
  return process.getuid?.() ?? 0;
}

function fits(path: string): boolean {
  const folderBytes = Buffer.byteLength(resolve(path, ".."));
  return Math.max(Buffer.byteLength(path), folderBytes + MAX_TEMPORARY_BYTES) <= MAX_SOCKET_PATH_BYTES;
}
