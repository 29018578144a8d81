/** The user at the other end of a unix socket, as the kernel reports it. */
import { ptr } from "bun:ffi";
import { openLibc } from "./libc";

/** Values of Linux, <sys/socket.h>. */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** struct ucred: process, user, group. */
const CREDENTIAL_WORDS = 3;

let libc: ReturnType<typeof openSymbols> | undefined;

function openSymbols() {
  return process.platform === "linux"
    ? openLibc({ getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" } })
    : null;
}

/** @param fd a connected unix socket. @returns the user id of the client; null: not known */
export function userOf(fd: number): number | null {
  if (fd < 0) return null;
  libc ??= openSymbols();
  const credentials = new Uint32Array(CREDENTIAL_WORDS);
  const length = new Uint32Array([credentials.byteLength]);
  return libc?.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ptr(credentials), ptr(length)) === 0
    ? (credentials[1] ?? null)
    : null;
}
