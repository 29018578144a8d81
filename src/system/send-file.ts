/**
 * sendfile(2): the kernel moves a file's bytes to a socket, and they never enter this process. For plain TCP and unix
 * sockets of Linux only; elsewhere files are read and written.
 */
import { openLibc } from "./libc";

type SendFile = (socket: number, file: number, offset: BigInt64Array, count: number) => number;

/** null: not available. Returns the number of bytes sent, 0 at the file's end, -1 when the socket is full. */
export const sendFileTo: SendFile | null = load();

function load(): SendFile | null {
  if (process.platform !== "linux") return null;
  const libc = openLibc({ sendfile: { args: ["i32", "i32", "ptr", "u64"], returns: "i64" } });
  return libc === null ? null : (socket, file, offset, count) => Number(libc.sendfile(socket, file, offset, count));
}
