/**
 * What the access log is told of a reply that has ended.
 */
import type { Answered } from "../host/inline";
import type { AccessProtocol } from "../observe/log/access-entry";

/** What an HTTP request asked for. */
interface Asked {
  readonly method: string;
  readonly target: string;
}

/**
 * @param asked  null when the request could not be read that far
 * @param status 0 when there is no reply: the client had gone
 */
export function answeredHttp(protocol: AccessProtocol, asked: Asked | null, status: number, bytes: number): Answered {
  return {
    protocol,
    bytes,
    ...(asked === null ? null : { method: asked.method, path: asked.target }),
    ...(status === 0 ? null : { status }),
  };
}

/** @returns the bytes that a reply's text or bytes take on the wire */
export function byteLength(data: string | Uint8Array): number {
  return typeof data === "string" ? Buffer.byteLength(data) : data.length;
}
