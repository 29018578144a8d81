/** The facts about an ended reply for the access log. */
import type { Answered } from "../host/inline";
import type { AccessProtocol } from "../observe/log/fields";

/** The method and target of an HTTP request. */
interface Asked {
  readonly method: string;
  readonly target: string;
}

/**
 * @param asked null if the request could not be read that far
 * @param status 0 if there is no reply: the client had left
 */
export function answeredHttp(protocol: AccessProtocol, asked: Asked | null, status: number, bytes: number): Answered {
  return {
    protocol,
    bytes,
    ...(asked === null ? null : { method: asked.method, path: asked.target }),
    ...(status === 0 ? null : { status }),
  };
}

/** @returns the number of bytes on the wire */
export function byteLength(data: string | Uint8Array): number {
  return typeof data === "string" ? Buffer.byteLength(data) : data.length;
}
