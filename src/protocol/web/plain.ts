/** The server's own replies as Responses, for its own handlers. */
import { GraphResponse } from "./response";
import { RETRY_AFTER_SECONDS } from "./unavailable";

/** @param retryAfter the client may ask again: after so many seconds, or soon. Default: nothing is said about it. */
export function plainResponse(status: number, text: string, retryAfter: boolean | number = false): Response {
  const seconds = retryAfter === true ? RETRY_AFTER_SECONDS : retryAfter;
  const headers = seconds === false ? undefined : { "Retry-After": String(seconds) };
  return new GraphResponse(`${text}\n`, { status, ...(headers === undefined ? {} : { headers }) });
}
