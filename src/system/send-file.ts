/**
 * sendfile(2): the kernel moves a file's bytes to a socket, and they never enter this process. For plain TCP and unix
 * sockets of Linux only; elsewhere files are read and written.
 */
import { dlopen } from "bun:ffi";

type SendFile = (socket: number, file: number, offset: BigInt64Array, count: number) => number;

/** null: not available. Returns the number of bytes sent, 0 at the file's end, -1 when the socket is full. */
export const sendFileTo: SendFile | null = load();

function load(): SendFile | null {
  if (process.platform !== "linux") return null;
  for (const name of ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`]) {
    try {
      const { symbols } = dlopen(name, { sendfile: { args: ["i32", "i32", "ptr", "u64"], returns: "i64" } });
      return (socket, file, offset, count) => Number(symbols.sendfile(socket, file, offset, count));
    } catch {
      // Another libc: try the next.
    }
  }
  return null;
}
