/**
 * The user at the other end of the control socket, for the audit log.
 */
import { ptr } from "bun:ffi";
import { readdirSync } from "node:fs";
import { openLibc } from "../system/libc";
import { userOf } from "../system/peer-user";

/** If the user is not known. */
const UNKNOWN = "control socket";

/** Values of Linux, <sys/socket.h>. */
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const AF_UNIX = 1;
/** sizeof(sockaddr_un). */
const ADDRESS_BYTES = 110;

const libc =
  process.platform === "linux"
    ? openLibc({
        getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
        getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
      })
    : null;

/**
 * Asks the kernel for the users of all open connections to a socket. Bun does not say which connection a request came
 * on, so the user is known only if all have the same one. They nearly always do: the file's mode lets in only the
 * server's user and root.
 *
 * @param bound  the path that the socket was bound at
 * @returns "uid 1000 by the control socket", or "control socket"
 */
export function peerOf(bound: string): string {
  if (libc === null) return UNKNOWN;
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
  const address = new Uint8Array(ADDRESS_BYTES);
  const length = new Uint32Array([ADDRESS_BYTES]);
  if (libc?.getsockname(fd, ptr(address), ptr(length)) !== 0 || new Uint16Array(address.buffer, 0, 1)[0] !== AF_UNIX)
    return false;
  const path = Buffer.from(address.subarray(2, length[0])).toString().replace(/\0.*$/s, "");
  return path === bound && !isListener(fd);
}

function isListener(fd: number): boolean {
  const value = new Uint32Array(1);
  const length = new Uint32Array([value.byteLength]);
  return libc?.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, ptr(value), ptr(length)) !== 0 || value[0] !== 0;
}
