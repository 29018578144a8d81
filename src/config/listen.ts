/** Where the server listens, or a client connects. */
import { isLoopback } from "../system/address";

export type ListenAddress =
  | { readonly transport: "tcp" | "tls" | "udp"; readonly host: string; readonly port: number }
  | {
      readonly transport: "unix";
      readonly path: string;
      /** The permissions of the socket's file, as in `?mode=0660`: they decide who may connect. Default 0600. */
      readonly mode?: number;
    };

/** The forms of a listen URL: the end of the message about a wrong one. */
export const LISTEN_FORMS = "tcp://host:port, tls://host:port, udp://host:port or unix:///path";

/**
 * Reads `tcp://127.0.0.1:8080`, `udp://[::1]:53` (an IPv6 host stands in brackets, which are removed),
 * `unix:///run/x.sock` or `unix:///run/x.sock?mode=0660`.
 *
 * @returns null for anything else; the port is 0 to 65535, the path absolute, the mode octal, 0 to 777
 */
export function parseListen(url: string): ListenAddress | null {
  const unix = /^unix:\/\/(\/[^?]*[^?/])(?:\?mode=(0?[0-7]{3}))?$/.exec(url);
  if (unix?.[1] !== undefined)
    return {
      transport: "unix",
      path: unix[1],
      ...(unix[2] === undefined ? null : { mode: Number.parseInt(unix[2], 8) }),
    };
  const match = /^(tcp|tls|udp):\/\/(.+)$/.exec(url);
  const hostAndPort = parseHostPort(match?.[2] ?? "");
  if (match === null || hostAndPort === null) return null;
  return { transport: match[1] as "tcp" | "tls" | "udp", ...hostAndPort };
}

/** Reads `host:port` or `[IPv6]:port`. @returns null for anything else */
export function parseHostPort(text: string): { host: string; port: number } | null {
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host === undefined || port > 65_535 ? null : { host, port };
}

/** The URL that `parseListen` reads back to `address`. */
export function formatListen(address: ListenAddress): string {
  if (address.transport === "unix")
    return `unix://${address.path}${address.mode === undefined ? "" : `?mode=${address.mode.toString(8).padStart(4, "0")}`}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${address.transport}://${host}:${address.port}`;
}

/** Whether other machines can reach it: it is neither a unix socket nor loopback. */
export function isReachable(address: ListenAddress): boolean {
  return address.transport !== "unix" && address.host !== "localhost" && !isLoopback(address.host);
}

const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;
const MAX_NAME_BYTES = 253;

/**
 * @returns whether `name` is a host name in lower-case ASCII, or one with "*." in front; false for an IP address in
 *   brackets
 */
export function isServerName(name: string): boolean {
  const host = name.startsWith("*.") ? name.slice(2) : name;
  return host.length > 0 && name.length <= MAX_NAME_BYTES && host.split(".").every((label) => LABEL.test(label));
}
