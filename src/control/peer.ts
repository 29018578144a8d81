/**
 * The user at the other end of the control socket, for the audit log.
 */
import { readdirSync } from "node:fs";
import { AF_UNIX, SO_ACCEPTCONN, socketAddress, socketOption, SOL_SOCKET, userOf } from "../system/sockets";

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
export function peerOf(bound: string): string {
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
