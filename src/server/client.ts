/**
 * Who is at the other end of a socket.
 */
import type { Client, ClientTls } from "../module/contract";

export type Transport = Client["transport"];

/** @returns whether an address, as Bun prints it, is a loopback one (RFC 1122 section 3.2.1.3, RFC 4291 sections 2.5.3 and 2.5.5.2) */
export function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.") || address.startsWith("::ffff:127.");
}

/**
 * @param socket only its remote address and port are read; both are gone once it is closed
 * @param connection the connection's number
 * @param tls null: plain text
 */
export function clientOf(
  socket: { remoteAddress?: string; remotePort?: number },
  transport: Transport,
  connection: number,
  tls: ClientTls | null = null,
): Client {
  if (transport === "unix") return { address: "unix", port: 0, transport, isLocal: true, connection, tls };
  const address = socket.remoteAddress ?? "";
  return { address, port: socket.remotePort ?? 0, transport, isLocal: isLoopback(address), connection, tls };
}
