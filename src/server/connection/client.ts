/**
 * The client at the other end of a socket.
 */
import type { Client, ClientTls } from "../../module/contract";
import { sessionOf } from "../../module/session";
import { isLoopback, plainAddress } from "../../system/address";
import { userOf } from "../../system/sockets";

export type Transport = Client["transport"];

/**
 * @param socket only its remote address, port and descriptor are read; all are gone once it is closed
 * @param connection the connection's number
 * @param tls null: plain text
 */
export function clientOf(
  socket: { remoteAddress?: string; remotePort?: number; fd?: number },
  transport: Transport,
  connection: number,
  tls: ClientTls | null = null,
): Client {
  if (transport === "unix") {
    const uid = userOf(socket.fd ?? -1);
    return { address: "unix", port: 0, transport, isLocal: true, connection, tls, ...(uid === null ? null : { uid }) };
  }
  const address = plainAddress(socket.remoteAddress ?? "");
  return { address, port: socket.remotePort ?? 0, transport, isLocal: isLoopback(address), connection, tls };
}

/**
 * For the log and the audit log: "10.0.0.7 (#12)", "uid 1000 by a unix socket (#3)", with the subject of a certificate
 * that was checked, and the name of a token that was shown with AUTH.
 */
export function whoIs(client: Client): string {
  const { address, transport, connection, tls, uid } = client;
  const from = transport !== "unix" ? address : uid === undefined ? "a unix socket" : `uid ${uid} by a unix socket`;
  const subject = tls?.authorized === true ? tls.peer?.subject["CN"] : undefined;
  const { identity } = sessionOf(client);
  const token = identity === null ? "" : `, token ${identity}`;
  return `${from}${subject === undefined ? "" : `, CN=${subject}`}${token} (#${connection})`;
}
