/**
 * Several sockets that listen on one port (SO_REUSEPORT). Each has a queue of its own, and closing a socket cuts the clients in its queue.
 */
import { ptr } from "bun:ffi";
import { readdirSync } from "node:fs";
import { openLibc } from "../supervise/libc";

// Values of Linux, on all architectures that Bun runs on.
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

/** @returns this process's TCP sockets that listen on a port; none if that is not known */
export function listenersOn(port: number): number[] {
  libc ??= openSymbols();
  if (libc === null) return [];
  return readdirSync("/proc/self/fd")
    .map(Number)
    .filter((fd) => isListening(fd) && portOf(fd) === port);
}

/**
 * Sends all new clients of a port to the second of two listening sockets. Clients in the queue of the first stay there: once they are
 * accepted, the first can be closed without cutting a client. Without a second socket nothing changes.
 */
export function passArrivalsOn(first: number): void {
  const instruction = Buffer.alloc(8);
  instruction.writeUInt16LE(RETURN_SECOND.code, 0);
  instruction.writeUInt32LE(RETURN_SECOND.k, 4);
  // struct sock_fprog: the number of instructions, and their address. If no socket has the index, the kernel picks one by its hash.
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
  // The port is at the same place in sockaddr_in and sockaddr_in6.
  return family === AF_INET || family === AF_INET6 ? name.readUInt16BE(2) : null;
}
