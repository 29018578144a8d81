/**
 * Replies while a module is being replaced (`reload: "exclusive"`) or kept out of service.
 */
import type { BoundRoute } from "../../module/route";

/** Seconds after which an HTTP client may ask again: a reload takes milliseconds. */
export const RETRY_AFTER_SECONDS = 1;

/** @returns the text of a 503 that names the module */
export function unavailableText(moduleName: string): string {
  return `Module "${moduleName}" is being reloaded. Try again in a moment.\n`;
}

/** @returns the text of a 503 that names a module in quarantine */
export function quarantineText(moduleName: string): string {
  return `The module "${moduleName}" failed again and again, and is out of service for a while.\n`;
}

/**
 * @param retryAfterSeconds of a module in quarantine: until its next try; undefined: it is being reloaded
 * @returns the reply to a raw message: the module's own bytes, else the HTTP message that the original sent to everyone
 */
export function unavailableReply(route: BoundRoute, retryAfterSeconds?: number): string | Uint8Array {
  const { unavailable, name } = route.generation;
  if (unavailable !== null) return unavailable;
  const body = retryAfterSeconds === undefined ? unavailableText(name) : quarantineText(name);
  return (
    `HTTP/1.1 503 Service Unavailable\r\nRetry-After: ${retryAfterSeconds ?? RETRY_AFTER_SECONDS}\r\n` +
    `Content-Type: text/plain;charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  );
}
