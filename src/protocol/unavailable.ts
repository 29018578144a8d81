/**
 * What is said while a module is being replaced (`reload: "exclusive"`) or kept out of service.
 */
import type { BoundRoute } from "../module/route";

/** Seconds after which an HTTP client may ask again: a reload takes milliseconds. */
export const RETRY_AFTER_SECONDS = 1;

/** @returns the text of a 503 that names the module */
export function unavailableText(moduleName: string): string {
  return `Module "${moduleName}" is being reloaded. Try again in a moment.\n`;
}

/** @returns the reply to a raw message: the module's own bytes, else the HTTP message that the original sent to everyone */
export function unavailableReply(route: BoundRoute): string | Uint8Array {
  const { unavailable, name } = route.generation;
  if (unavailable !== null) return unavailable;
  const body = unavailableText(name);
  return (
    `HTTP/1.1 503 Service Unavailable\r\nRetry-After: ${RETRY_AFTER_SECONDS}\r\n` +
    `Content-Type: text/plain;charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  );
}
