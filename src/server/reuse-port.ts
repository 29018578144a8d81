/**
 * Several sockets that listen on one port (SO_REUSEPORT): each has a queue of its own, and closing one cuts off whoever waits in it.
 */
import { ptr } from "bun:ffi";
import { readdirSync } from "node:fs";
import { openLibc } from "../supervise/libc";

// Of Linux, on all architectures that Bun runs on.
const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const SO_ATTACH_REUSEPORT_CBPF = 51;
/** sizeof(struct sockaddr_in6). */
const ADDRESS_BYTES = 28;
/** A classic BPF program (linux/filter.h) of one instruction, "return 1". */
const RETURN_SECOND = { code: 0x06, k: 1 };

let libc: ReturnType<typeof openSymbols> | undefined;

function openSymbols() {
  if (process.platform !== "linux") return null;
  return openLibc({
    getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
    getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
    setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  });
}

/** @returns this process's TCP sockets that listen on a port; none where that cannot be told */
export function listenersOn(port: number): number[] {
  libc ??= openSymbols();
  if (libc === null) return [];
  return readdirSync("/proc/self/fd")
    .map(Number)
    .filter((fd) => isListening(fd) && portOf(fd) === port);
}

/**
 * Of two sockets that listen on one port, has the one that came later get all new clients. Those in the queue of the first are still
 * its own: once it has accepted them, it can be closed and nobody is cut off. Without a second one nothing changes.
 */
export function passArrivalsOn(first: number): void {
  const instruction = Buffer.alloc(8);
  instruction.writeUInt16LE(RETURN_SECOND.code, 0);
  instruction.writeUInt32LE(RETURN_SECOND.k, 4);
  // struct sock_fprog: the number of instructions, and where they are. A result that is no socket's place is left to the kernel's hash.
  const program = Buffer.alloc(16);
  program.writeUInt16LE(1, 0);
  program.writeBigUInt64LE(BigInt(ptr(instruction)), 8);
  libc?.setsockopt(first, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, ptr(program), program.length);
}

function isListening(fd: number): boolean {
  const value = new Int32Array(1);
  const length = new Uint32Array([value.byteLength]);
  return libc?.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, ptr(value), ptr(length)) === 0 && value[0] === 1;
}

function portOf(fd: number): number | null {
  const name = Buffer.alloc(ADDRESS_BYTES);
  const length = new Uint32Array([name.length]);
  if (libc?.getsockname(fd, ptr(name), ptr(length)) !== 0) return null;
  const family = name.readUInt16LE(0);
  // At the same place in sockaddr_in and sockaddr_in6.
  return family === AF_INET || family === AF_INET6 ? name.readUInt16BE(2) : null;
}
