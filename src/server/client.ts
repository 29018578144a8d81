/**
 * Who is at the other end of a socket.
 */
import type { Client, ClientTls } from "../module/contract";
import { isLoopback, plainAddress } from "./address";

export type Transport = Client["transport"];

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
  const address = plainAddress(socket.remoteAddress ?? "");
  return { address, port: socket.remotePort ?? 0, transport, isLocal: isLoopback(address), connection, tls };
}
