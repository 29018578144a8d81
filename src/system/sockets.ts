/** Socket calls of Linux's C library, and the values that they take: the same on all architectures that Bun runs on. */
import { FFIType, ptr } from "bun:ffi";
import { openLibc } from "./libc";

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_ACCEPTCONN = 30;
const SO_PEERCRED = 17;
export const IPPROTO_IPV6 = 41;
export const IPV6_V6ONLY = 26;
/** sizeof(struct sockaddr_storage). */
const ADDRESS_BYTES = 128;
/** struct ucred: process, user, group. */
const CREDENTIAL_WORDS = 3;

const SYMBOLS = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
} as const;

let libc: ReturnType<typeof openLibc<typeof SYMBOLS>> | undefined;

/** @returns null: this is no Linux, or its C library cannot be called */
export function socketCalls(): NonNullable<typeof libc> | null {
  return (libc ??= process.platform === "linux" ? openLibc(SYMBOLS) : null);
}

/** @param words of 32 bits that the option has. @returns null: there is no such socket, or no such option */
export function socketOption(fd: number, level: number, name: number, words = 1): Uint32Array | null {
  const value = new Uint32Array(words);
  const length = new Uint32Array([value.byteLength]);
  return socketCalls()?.getsockopt(fd, level, name, ptr(value), ptr(length)) === 0 ? value : null;
}

/** @returns the socket's own address, a struct sockaddr; null: it is no socket */
export function socketAddress(fd: number): Buffer | null {
  const bytes = Buffer.alloc(ADDRESS_BYTES);
  const length = new Uint32Array([ADDRESS_BYTES]);
  return socketCalls()?.getsockname(fd, ptr(bytes), ptr(length)) === 0 ? bytes.subarray(0, length[0]) : null;
}

/** @param fd a connected unix socket. @returns the user id of the client, as the kernel reports it; null: not known */
export function userOf(fd: number): number | null {
  return fd < 0 ? null : (socketOption(fd, SOL_SOCKET, SO_PEERCRED, CREDENTIAL_WORDS)?.[1] ?? null);
}

/** An instruction of a classic BPF program (linux/filter.h). */
interface Instruction {
  readonly code: number;
  readonly jt?: number;
  readonly jf?: number;
  readonly k: number;
}

/** Has the kernel judge all that arrives at a socket by a program. @param option a socket option that takes one */
export function attachFilter(fd: number, option: number, program: readonly Instruction[]): void {
  const filter = Buffer.alloc(8 * program.length);
  for (const [at, { code, jt = 0, jf = 0, k }] of program.entries()) {
    filter.writeUInt16LE(code, 8 * at);
    filter[8 * at + 2] = jt;
    filter[8 * at + 3] = jf;
    filter.writeUInt32LE(k, 8 * at + 4);
  }
  // struct sock_fprog: the number of instructions, and where they are.
  const whole = Buffer.alloc(16);
  whole.writeUInt16LE(program.length);
  whole.writeBigUInt64LE(BigInt(ptr(filter)), 8);
  socketCalls()?.setsockopt(fd, SOL_SOCKET, option, ptr(whole), whole.length);
}

// ---- files (sendfile(2)): the kernel moves their bytes to a socket, and they never enter this process ----

type SendFile = (socket: number, file: number, offset: BigInt64Array, count: number) => number;
type SendMore = (socket: number, bytes: Uint8Array, count: number) => number;

/** More follows: a packet may wait for it. */
const MSG_MORE = 0x8000;
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;

const sending =
  process.platform === "linux"
    ? openLibc({
        sendfile: { args: ["i32", "i32", "ptr", "u64"], returns: FFIType.i64_fast },
        send: { args: ["i32", "ptr", "u64", "i32"], returns: FFIType.i64_fast },
      })
    : null;

/** null: not available. Returns the number of bytes sent, 0 at the file's end, -1 when the socket is full. */
export const sendFileTo: SendFile | null =
  sending === null ? null : (socket, file, offset, count) => Number(sending.sendfile(socket, file, offset, count));

/**
 * Sends the first `count` bytes, which more bytes follow at once.
 *
 * null: not available. Returns the number of bytes sent, -1 when the socket is full or broken.
 */
export const sendMore: SendMore | null =
  sending === null
    ? null
    : (socket, bytes, count) => Number(sending.send(socket, bytes, count, MSG_MORE | MSG_NOSIGNAL | MSG_DONTWAIT));
