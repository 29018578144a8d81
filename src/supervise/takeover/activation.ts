/**
 * Listeners that systemd opened and handed over (socket activation, sd_listen_fds(3)): finds their descriptors, their
 * addresses, and the configured listener that each one serves.
 */
import { formatListen, type ListenAddress, parseListen } from "../../config/listen";
import { UserError } from "../../config/user-error";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  SO_ACCEPTCONN,
  SOCK_DGRAM,
  SOCK_STREAM,
  socketAddress,
  socketCalls,
  socketOption,
  SOL_SOCKET,
} from "../../system/sockets";

const FIRST_FD = 3;
/** More are a mistake in the environment, not in a unit. */
const MAX_DESCRIPTORS = 4096;
/** FileDescriptorName= of a stream socket that takes TLS only. */
export const TLS_NAME = "tls";

// Linux, all architectures that Bun runs on.
const SO_TYPE = 3;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const FAMILY_BYTES = 2;

export interface InheritedListener {
  readonly fd: number;
  /** FileDescriptorName= of the .socket unit. Default: that unit's name; "unknown" without LISTEN_FDNAMES. */
  readonly name: string;
}

/**
 * A descriptor and its address. `path` of an abstract unix socket begins with "@". Never `tls`: that is the server's
 * choice.
 */
interface DescribedListener extends InheritedListener {
  readonly address: ListenAddress;
  /** Whether an IPv6 socket takes no IPv4 clients. */
  readonly isV6Only: boolean;
}

function openSymbols(): NonNullable<ReturnType<typeof socketCalls>> {
  const calls = socketCalls();
  if (calls !== null) return calls;
  throw new UserError(
    "This system's C library cannot be called, so that inherited sockets (LISTEN_FDS) cannot be taken over.",
    { code: "NO_SOCKET_ACTIVATION", hint: "Start hrmr without a .socket unit: it opens its listeners itself." },
  );
}

/**
 * The descriptors in LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES. Empty if there are none, or if they are another
 * process's. Programs that this process starts later do not inherit them.
 *
 * @throws UserError BAD_DESCRIPTOR for one that is not open, NO_SOCKET_ACTIVATION
 */
export function inheritedListeners(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): InheritedListener[] {
  const count = env["LISTEN_FDS"] ?? "";
  if (env["LISTEN_PID"] !== String(pid) || !/^\d{1,4}$/.test(count) || Number(count) > MAX_DESCRIPTORS) return [];
  const names = env["LISTEN_FDNAMES"]?.split(":") ?? [];
  const found = Array.from({ length: Number(count) }, (_, at) => ({ fd: FIRST_FD + at, name: names[at] || "unknown" }));
  for (const listener of found) {
    if (openSymbols().fcntl(listener.fd, F_SETFD, FD_CLOEXEC) !== 0) throw badDescriptor(listener, "is not open");
  }
  return found;
}

/**
 * Asks the kernel for the kind and address of each.
 *
 * @throws UserError BAD_DESCRIPTOR for one that is neither a listening stream socket nor a UDP one
 */
export function describeListeners(listeners: readonly InheritedListener[]): DescribedListener[] {
  return listeners.map((listener) => {
    const address = describeDescriptor(listener.fd);
    if (address === null) throw badDescriptor(listener, "is neither a listening stream socket nor a UDP one");
    const isV6Only =
      "host" in address && address.host.includes(":") && option(listener.fd, IPPROTO_IPV6, IPV6_V6ONLY) === 1;
    return { ...listener, address, isV6Only };
  });
}

/** @returns the address of a listening stream socket (`tcp`, `unix`) or a UDP socket; null for any other descriptor */
export function describeDescriptor(fd: number): ListenAddress | null {
  const type = option(fd, SOL_SOCKET, SO_TYPE);
  const isListening = type === SOCK_STREAM && option(fd, SOL_SOCKET, SO_ACCEPTCONN) === 1;
  if (!isListening && type !== SOCK_DGRAM) return null;
  const address = socketAddress(fd);
  return address === null ? null : readAddress(address, isListening ? "tcp" : "udp");
}

/** Reads a struct sockaddr of any family that hrmr serves. */
function readAddress(bytes: Buffer, transport: "tcp" | "udp"): ListenAddress | null {
  const family = bytes.readUInt16LE(0);
  if (family === AF_UNIX)
    return transport === "tcp" ? { transport: "unix", path: readPath(bytes.subarray(FAMILY_BYTES)) } : null;
  if (family === AF_INET) return { transport, host: bytes.subarray(4, 8).join("."), port: bytes.readUInt16BE(2) };
  if (family !== AF_INET6) return null;
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(8 + at * 2).toString(16));
  const scope = bytes.readUInt32LE(24);
  return {
    transport,
    host: shortenIpv6(groups.join(":")) + (scope === 0 ? "" : `%${scope}`),
    port: bytes.readUInt16BE(2),
  };
}

/** A path ends at its NUL; an abstract name begins with one and may hold more. */
function readPath(bytes: Buffer): string {
  if (bytes[0] === 0) return `@${bytes.subarray(1).toString()}`;
  const end = bytes.indexOf(0);
  return bytes.subarray(0, end === -1 ? undefined : end).toString();
}

function shortenIpv6(address: string): string {
  return new URL(`http://[${address}]/`).hostname.slice(1, -1);
}

function option(fd: number, level: number, name: number): number | null {
  return socketOption(fd, level, name)?.[0] ?? null;
}

/** A listener of the server: `fd` is the descriptor that serves it, null if it is not open yet. */
export interface PlannedListener {
  readonly url: string;
  /** null for an invalid URL. */
  readonly address: ListenAddress | null;
  readonly fd: number | null;
}

/**
 * Combines configured listeners and inherited descriptors. Each descriptor is served under its own address. A
 * configured listener whose address is inherited (or a wildcard that includes it) is not opened again, and gives the
 * descriptor its transport: tls:// stays tls://. The descriptor's name "tls" does so too. The other configured
 * listeners follow with `fd` null.
 *
 * @param listen listen URLs. [] if they are only the default: systemd's descriptors are then all
 */
export function matchDescriptors(listen: readonly string[], found: readonly DescribedListener[]): PlannedListener[] {
  const configured = listen.map((url) => ({ url, address: parseListen(url) }));
  const inherited = found.map((listener) => {
    const isTls = configured.some(({ address }) => address?.transport === "tls" && isHeldBy(address, listener));
    const address = servedAs(listener, isTls);
    return { url: formatListen(address), address, fd: listener.fd };
  });
  const missing = configured.filter(
    ({ address }) => address === null || !found.some((listener) => isHeldBy(address, listener)),
  );
  return [...inherited, ...missing.map((listener) => ({ ...listener, fd: null }))];
}

function servedAs({ address, name }: DescribedListener, isTls: boolean): ListenAddress {
  return address.transport === "tcp" && (isTls || name === TLS_NAME) ? { ...address, transport: "tls" } : address;
}

/** Whether opening `wanted` would fail, because `listener` has its address. */
function isHeldBy(wanted: ListenAddress, { address, isV6Only }: DescribedListener): boolean {
  if (wanted.transport === "unix" || address.transport === "unix") {
    return wanted.transport === "unix" && address.transport === "unix" && wanted.path === address.path;
  }
  const isSameKind = (wanted.transport === "udp") === (address.transport === "udp");
  if (!isSameKind || wanted.port !== address.port) return false;
  return literalHosts(wanted.host).some((host) => {
    const isV6 = host.includes(":");
    if (address.host === "::") return isV6 || !isV6Only;
    return address.host === host || (address.host === "0.0.0.0" && !isV6);
  });
}

/** A name other than localhost would need a lookup, so it matches only wildcards. */
function literalHosts(host: string): string[] {
  if (host === "localhost") return ["127.0.0.1", "::1"];
  return [host.includes(":") && !host.includes("%") && URL.canParse(`http://[${host}]/`) ? shortenIpv6(host) : host];
}

function badDescriptor({ fd, name }: InheritedListener, what: string): UserError {
  return new UserError(`Descriptor ${fd} (${JSON.stringify(name)}), which LISTEN_FDS hands over, ${what}.`, {
    code: "BAD_DESCRIPTOR",
    hint: "Use ListenStream= with Accept=no, or ListenDatagram= with an address and a port, in the .socket unit.",
  });
}
