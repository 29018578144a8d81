/**
 * Replies while a module is being replaced (`reload: "exclusive"`) or kept out of service.
 */
import type { BoundRoute } from "../../module/route";
import { inQuarantine, RETRY_AFTER_SECONDS } from "./own-reply";

/**
 * @param retryAfterSeconds for a module in quarantine: the time until its next try; undefined: it is being reloaded
 * @returns the reply to a raw message: the module's own bytes, or an HTTP message
 */
export function unavailableReply(route: BoundRoute, retryAfterSeconds?: number): string | Uint8Array {
  const { unavailable, name } = route.generation;
  if (unavailable !== null) return unavailable;
  const body =
    retryAfterSeconds === undefined
      ? `Module "${name}" is being reloaded. Try again in a moment.\n`
      : `${inQuarantine(name, retryAfterSeconds).text}\n`;
  return (
    `HTTP/1.1 503 Service Unavailable\r\nRetry-After: ${retryAfterSeconds ?? RETRY_AFTER_SECONDS}\r\n` +
    `Content-Type: text/plain;charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  );
}
