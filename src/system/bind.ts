/**
 * Sockets bound by our own system calls. Other processes may accept on them: several can serve one socket, and a new
 * process can take it over without refusing a client.
 */
import { ptr } from "bun:ffi";
import { chmodSync, closeSync, existsSync, lstatSync, readFileSync, unlinkSync } from "node:fs";
import { formatListen, type ListenAddress } from "../config/listen";
import { UserError } from "../config/user-error";
import { groupsOf, ipVersion } from "./address";
import { listenError } from "./listen-error";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  attachFilter,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  socketAddress,
  socketCalls,
  SOL_SOCKET,
} from "./sockets";

/**
 * A bound socket. If it is a stream socket, it listens. Its descriptor is closed on exec, unless a child gets it
 * explicitly.
 */
export interface BoundSocket {
  /** With the port that the kernel chose for 0. */
  readonly address: ListenAddress;
  readonly fd: number;
}

const SO_REUSEADDR = 2;
const SO_ATTACH_FILTER = 26;
const SO_ATTACH_REUSEPORT_CBPF = 51;

/** Connections that wait to be accepted; the kernel lowers it to net.core.somaxconn. */
const BACKLOG = 4096;
/** sizeof(sockaddr_un.sun_path), with its NUL. */
const UNIX_PATH_BYTES = 108;
/** Default mode of a unix socket: only its owner, and root, may connect. */
const OWNER_ONLY = 0o600;

/**
 * Whether this platform has the calls that `bindSockets` needs. Otherwise Bun.listen opens listeners, for one process
 * alone.
 */
export function canBind(): boolean {
  return socketCalls() !== null;
}

/** Several processes need listeners that they can share. */
export function noPrefork(processes: number): UserError {
  return new UserError(`Cannot start ${processes} processes: this platform does not let them share a listener.`, {
    code: "NO_PREFORK",
    hint: 'Leave out --processes, and give slow handlers run: "pool".',
  });
}

/**
 * Binds all of `addresses`, or none.
 *
 * @param beside all addresses of the server's listeners. `[::]` takes IPv4 clients too, unless another listener takes
 *   them on that port. Default: `addresses`
 * @throws UserError naming the address, if it is taken, not ours or not permitted
 */
export async function bindSockets(addresses: readonly ListenAddress[], beside = addresses): Promise<BoundSocket[]> {
  const bound: BoundSocket[] = [];
  try {
    for (const address of addresses) bound.push(await bindSocket(address, beside));
    return bound;
  } catch (error) {
    bound.forEach(closeSocket);
    throw error;
  }
}

/** A classic BPF program (linux/filter.h): loads the flags of the TCP header, and drops packets with SYN. */
const DROP_SYN = [
  { code: 0x30, jt: 0, jf: 0, k: 13 },
  { code: 0x45, jt: 0, jf: 1, k: 0x02 },
  { code: 0x06, jt: 0, jf: 0, k: 0 },
  { code: 0x06, jt: 0, jf: 0, k: 0xffff_ffff },
];

/**
 * Lets no more clients into the queue of a listening TCP socket, in all processes that have it open. The queue can then
 * be emptied and the socket closed without losing a client. The kernel drops new attempts to connect. Clients try
 * again, and are refused once every process has closed the socket.
 */
export function stopArrivals({ address, fd }: BoundSocket): void {
  if (address.transport !== "tcp" && address.transport !== "tls") return;
  // If the kernel does not allow it, a client that connects at the moment of closing is cut off.
  attachFilter(fd, SO_ATTACH_FILTER, DROP_SYN);
}

/** "Return 1." If no socket has the index, the kernel picks one by its hash. */
const RETURN_SECOND = [{ code: 0x06, k: 1 }];

/**
 * Several sockets may listen on one port (SO_REUSEPORT). Each has a queue of its own, and closing a socket cuts the
 * clients in its queue. This sends all new clients of a port to the second of two. Clients in the queue of the first
 * stay there: once they are accepted, the first can be closed without cutting a client. Without a second socket nothing
 * changes.
 */
export function passArrivalsOn(first: number): void {
  attachFilter(first, SO_ATTACH_REUSEPORT_CBPF, RETURN_SECOND);
}

/**
 * Closes this process's descriptor, and removes the file of a unix socket. For a socket that no other process serves.
 */
export function closeSocket({ address, fd }: BoundSocket): void {
  closeSync(fd);
  if (address.transport === "unix" && existsSync(address.path)) unlinkSync(address.path);
}

async function bindSocket(address: ListenAddress, beside: readonly ListenAddress[]): Promise<BoundSocket> {
  const c = socketCalls();
  if (c === null) throw new Error("bindSockets needs canBind().");
  if (address.transport === "unix") await removeStaleSocket(address.path);
  const name = await socketName(address);
  const type = (address.transport === "udp" ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const fd = name === null ? -1 : c.socket(name.family, type, 0);
  if (fd < 0 || name === null) return await refused(address);
  const on = new Int32Array([1]);
  // A server that restarts must get its port while old connections linger in TIME_WAIT. For UDP it would let two
  // servers share one.
  if (name.family !== AF_UNIX && type & SOCK_STREAM) c.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, ptr(on), 4);
  if (name.family === AF_INET6 && isWildcard6(address))
    c.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, ptr(new Int32Array([hasIpv4Beside(address, beside) ? 1 : 0])), 4);
  const isNamed = c.bind(fd, ptr(name.bytes), name.bytes.length) === 0;
  // Before it listens: until then nobody can connect, whatever mode the umask gave the file.
  if (isNamed && address.transport === "unix") setMode(address);
  const isBound = isNamed && (address.transport === "udp" || c.listen(fd, BACKLOG) === 0);
  if (isBound) return { fd, address: address.transport === "unix" ? address : { ...address, port: portOf(fd) } };
  closeSync(fd);
  return await refused(address);
}

/** Gives the socket's file the mode in the URL. */
export function setMode({ path, mode = OWNER_ONLY }: Extract<ListenAddress, { path: string }>): void {
  chmodSync(path, mode);
}

function isWildcard6(address: ListenAddress): boolean {
  return (
    address.transport !== "unix" && address.host.includes(":") && groupsOf(address.host).every((group) => group === 0)
  );
}

/**
 * Whether another listener takes the IPv4 clients of this port: the kernel gives them to one of the two only (RFC 3493
 * section 5.3).
 */
function hasIpv4Beside(address: ListenAddress, beside: readonly ListenAddress[]): boolean {
  if (address.transport === "unix" || address.port === 0) return false;
  return beside.some((other) => {
    if (other.transport === "unix" || (other.transport === "udp") !== (address.transport === "udp")) return false;
    return other.port === address.port && ipVersion(other.host) === 4;
  });
}

/**
 * JavaScript cannot read errno in time. Bun's own call fails for the same reason, and names it.
 *
 * @throws UserError always
 */
async function refused(address: ListenAddress): Promise<never> {
  try {
    const socket = { data() {} };
    if (address.transport === "udp") (await Bun.udpSocket({ hostname: address.host, port: address.port })).close();
    else if (address.transport === "unix") Bun.listen({ unix: address.path, socket }).stop(true);
    else Bun.listen({ hostname: address.host, port: address.port, socket }).stop(true);
  } catch (error) {
    throw listenError(address, error);
  }
  throw listenError(address, new Error("the address could not be bound"));
}

interface SocketName {
  readonly family: number;
  /** struct sockaddr_in, sockaddr_in6 or sockaddr_un. */
  readonly bytes: Uint8Array;
}

/** @returns null for a name that cannot be resolved, or a path that is too long */
async function socketName(address: ListenAddress): Promise<SocketName | null> {
  if (address.transport === "unix") return unixName(address.path);
  const host = await resolveHost(address.host);
  if (host === null) return null;
  return ipVersion(host) === 6 ? name6(host, address.port) : name4(host, address.port);
}

async function resolveHost(host: string): Promise<string | null> {
  if (ipVersion(host) !== 0) return host;
  try {
    const { lookup } = await import("node:dns/promises");
    return (await lookup(host)).address;
  } catch {
    // `refused` reports it, with the reason.
    return null;
  }
}

function unixName(path: string): SocketName | null {
  const bytes = Buffer.alloc(2 + UNIX_PATH_BYTES);
  bytes.writeUInt16LE(AF_UNIX, 0);
  if (Buffer.byteLength(path) >= UNIX_PATH_BYTES) return null;
  bytes.write(path, 2);
  return { family: AF_UNIX, bytes };
}

function name4(host: string, port: number): SocketName {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  host.split(".").forEach((part, at) => bytes.writeUInt8(Number(part), 4 + at));
  return { family: AF_INET, bytes };
}

function name6(host: string, port: number): SocketName {
  const bytes = Buffer.alloc(28);
  const [plain = "", scope = ""] = host.split("%");
  bytes.writeUInt16LE(AF_INET6, 0);
  bytes.writeUInt16BE(port, 2);
  groupsOf(plain).forEach((group, at) => bytes.writeUInt16BE(group, 8 + 2 * at));
  bytes.writeUInt32LE(scopeId(scope), 24);
  return { family: AF_INET6, bytes };
}

/** A link-local address belongs to an interface, whose name stands behind the "%" (RFC 4007 section 11). */
function scopeId(scope: string): number {
  if (scope === "" || /^\d+$/.test(scope)) return Number(scope);
  const path = `/sys/class/net/${scope}/ifindex`;
  return existsSync(path) ? Number(readFileSync(path, "utf8")) : 0;
}

function portOf(fd: number): number {
  return socketAddress(fd)?.readUInt16BE(2) ?? 0;
}

/**
 * Removes the socket's file that a killed server left behind: binding would fail. A socket that answers is in use.
 *
 * @throws UserError LISTEN_FAILED if a file of another kind has the name: that is never removed
 */
export async function removeStaleSocket(path: string): Promise<void> {
  if (!lstatSync(path, { throwIfNoEntry: false })) return;
  mustBeSocket(path);
  if (!(await isSocketUsed(path))) unlinkSync(path);
}

/** @throws UserError LISTEN_FAILED, naming the kind of file at the path */
export function mustBeSocket(path: string): void {
  const found = lstatSync(path);
  if (found.isSocket()) return;
  const what = found.isDirectory()
    ? "a folder"
    : found.isSymbolicLink()
      ? "a symbolic link"
      : "a file that is no socket";
  throw new UserError(`Cannot listen on ${formatListen({ transport: "unix", path })}: there is ${what} of that name.`, {
    code: "LISTEN_FAILED",
    hint: "Choose another path, or move it away: hrmr removes sockets only.",
  });
}

/** Whether a process accepts clients at a unix socket. */
export function isSocketUsed(path: string): Promise<boolean> {
  return new Promise<boolean>((resolve) => {
    Bun.connect({
      unix: path,
      socket: {
        open: (socket) => (socket.terminate(), resolve(true)),
        connectError: () => resolve(false),
        data: () => {},
        error: () => resolve(false),
      },
    }).catch(() => resolve(false));
  });
}
