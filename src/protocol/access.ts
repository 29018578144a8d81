/**
 * What the access log is told of a reply that has ended. Called only while somebody listens: `dispatch.access` is
 * looked at before.
 */
import { OWN_ID } from "../module/own-routes";
import type { BoundRoute } from "../module/route";
import type { AccessLog } from "../observe/log/access";
import type { AccessEntry, AccessProtocol } from "../observe/log/access-entry";
import type { Client } from "../module/contract";

/** What an HTTP request asked for. */
interface Asked {
  readonly method: string;
  readonly target: string;
}

/**
 * @param asked  null when the request could not be read that far
 * @param status 0 when there is no reply: the client had gone
 */
export function tellHttp(
  log: AccessLog,
  protocol: AccessProtocol,
  client: Client,
  asked: Asked | null,
  route: BoundRoute | null,
  status: number,
  bytes: number,
  startedAt: number,
): void {
  log({
    ...commonEntry(client, route, protocol, bytes, startedAt),
    ...(asked === null ? null : { method: asked.method, path: asked.target }),
    ...(status === 0 ? null : { status }),
  });
}

function commonEntry(
  client: Client,
  route: BoundRoute | null,
  protocol: AccessProtocol,
  bytes: number,
  startedAt: number,
): AccessEntry {
  const owner = route === null || route.generation.id === OWN_ID ? null : route.generation;
  return {
    address: client.transport === "unix" ? "unix" : client.address,
    connection: client.connection,
    module: owner?.name ?? null,
    generation: owner?.number ?? null,
    key: route?.key || null,
    protocol,
    bytes,
    ms: startedAt === 0 ? 0 : performance.now() - startedAt,
  };
}

/** @returns the bytes that a reply's text or bytes take on the wire */
export function byteLength(data: string | Uint8Array): number {
  return typeof data === "string" ? Buffer.byteLength(data) : data.length;
}
