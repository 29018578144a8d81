/**
 * Several sockets that listen on one port (SO_REUSEPORT). Each has a queue of its own, and closing a socket cuts the
 * clients in its queue.
 */
import { ptr } from "bun:ffi";
import { openLibc } from "./libc";

// Values of Linux, on all architectures that Bun runs on.
const SOL_SOCKET = 1;
const SO_ATTACH_REUSEPORT_CBPF = 51;
/** A classic BPF program (linux/filter.h) of one instruction, "return 1". */
const RETURN_SECOND = { code: 0x06, k: 1 };

/**
 * Sends all new clients of a port to the second of two listening sockets. Clients in the queue of the first stay there:
 * once they are accepted, the first can be closed without cutting a client. Without a second socket nothing changes.
 */
export function passArrivalsOn(first: number): void {
  const instruction = Buffer.alloc(8);
  instruction.writeUInt16LE(RETURN_SECOND.code, 0);
  instruction.writeUInt32LE(RETURN_SECOND.k, 4);
  // struct sock_fprog: the number of instructions, and their address. If no socket has the index, the kernel picks one
  // by its hash.
  const program = Buffer.alloc(16);
  program.writeUInt16LE(1, 0);
  program.writeBigUInt64LE(BigInt(ptr(instruction)), 8);
  const libc =
    process.platform === "linux"
      ? openLibc({ setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" } })
      : null;
  libc?.setsockopt(first, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, ptr(program), program.length);
}
