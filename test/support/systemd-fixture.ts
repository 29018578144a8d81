/** systemd's part for tests: a notify socket to read from, and listening sockets to hand over. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLibc } from "../../src/system/libc";
import { until } from "./until";

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const MAX_MESSAGE_BYTES = 4096;

const libc = openLibc({
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
});

/** Why the tests of this file's users cannot run here; null if they can. */
export const noLibc = process.platform === "linux" && libc !== null ? null : "needs the C library of Linux";

export interface NotifySocket {
  /** For NOTIFY_SOCKET. */
  readonly name: string;
  /** The next message, as it came. Fails when none comes within 10 s, and once the socket is closed. */
  next(): Promise<string>;
  /** The messages so far. */
  takeAll(): string[];
  /** The next message that `pattern` is in; those before it are dropped. */
  waitFor(pattern: RegExp): Promise<string>;
  close(): void;
}

/** Makes a notify socket: a path in a folder of its own, or an abstract name. */
export function openNotifySocket({ isAbstract = false }: { isAbstract?: boolean } = {}): NotifySocket {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-notify-"));
  const path = join(dir, "notify");
  const fd = call((c) => c.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const address = unixAddress(path, isAbstract);
  call((c) => c.bind(fd, address, address.length));
  let isClosed = false;
  const take = (): string | null => {
    // By now the descriptor's number may belong to another socket.
    if (isClosed) throw new Error("The notify socket is closed.");
    const bytes = new Uint8Array(MAX_MESSAGE_BYTES);
    const count = Number(libc?.recv(fd, bytes, bytes.length, MSG_DONTWAIT) ?? -1);
    return count < 0 ? null : new TextDecoder().decode(bytes.subarray(0, count));
  };
  const next = () => until("a message has come to the notify socket", take);
  return {
    name: isAbstract ? `@${path}` : path,
    next,
    takeAll: () => {
      const messages: string[] = [];
      for (let message = take(); message !== null; message = take()) messages.push(message);
      return messages;
    },
    waitFor: async (pattern) => {
      for (;;) {
        const message = await next();
        if (pattern.test(message)) return message;
      }
    },
    close: () => {
      isClosed = true;
      libc?.close(fd);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export interface TestDescriptor {
  readonly fd: number;
  close(): void;
}

/** A socket as a .socket unit opens it. `port` 0 takes any; a unix one is at `path` (with a "@" in front: abstract). */
export function openDescriptor(
  kind: { type: "stream" | "datagram"; listens?: boolean } & (
    { host: "127.0.0.1" | "0.0.0.0" | "::1" | "::"; isV6Only?: boolean } | { path: string }
  ),
): TestDescriptor {
  const family = "path" in kind ? AF_UNIX : kind.host.includes(":") ? AF_INET6 : AF_INET;
  const fd = call((c) => c.socket(family, (kind.type === "stream" ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
  if (family === AF_INET6) {
    const isV6Only = "isV6Only" in kind && kind.isV6Only === true;
    call((c) => c.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, new Int32Array([isV6Only ? 1 : 0]), 4));
  }
  const address =
    "path" in kind ? unixAddress(kind.path.replace(/^@/, ""), kind.path.startsWith("@")) : inetAddress(kind.host);
  call((c) => c.bind(fd, address, address.length));
  if (kind.listens ?? kind.type === "stream") call((c) => c.listen(fd, 16));
  return { fd, close: () => libc?.close(fd) };
}

/** Whether a program that this process starts would inherit the descriptor. */
export function isInheritable(fd: number): boolean {
  return call((c) => c.fcntl(fd, 1, 0)) === 0;
}

function inetAddress(host: string): Uint8Array {
  if (!host.includes(":"))
    return new Uint8Array([AF_INET, 0, 0, 0, ...host.split(".").map(Number), ...new Uint8Array(8)]);
  return new Uint8Array([AF_INET6, 0, 0, 0, 0, 0, 0, 0, ...new Uint8Array(15), host === "::1" ? 1 : 0, 0, 0, 0, 0]);
}

function unixAddress(path: string, isAbstract: boolean): Uint8Array {
  return new Uint8Array([AF_UNIX, 0, ...(isAbstract ? [0] : []), ...Buffer.from(path), ...(isAbstract ? [] : [0])]);
}

function call(run: (symbols: NonNullable<typeof libc>) => number): number {
  if (libc === null) throw new Error("There is no C library.");
  const result = run(libc);
  if (result < 0) throw new Error(`A system call failed: ${run.toString()}`);
  return result;
}
