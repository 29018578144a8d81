/** What the server answers in a module's place, as a Response: for handlers of its own. */
import { GraphResponse } from "../protocol/http1/response";
import { RETRY_AFTER_SECONDS } from "../protocol/unavailable";

/** @param isRetried the client may ask again soon: with Retry-After */
export function plainResponse(status: number, text: string, isRetried = false): Response {
  const headers = isRetried ? { "Retry-After": String(RETRY_AFTER_SECONDS) } : undefined;
  return new GraphResponse(`${text}\n`, { status, ...(headers === undefined ? {} : { headers }) });
}
