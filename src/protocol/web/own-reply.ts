/** The server's own replies to HTTP requests: one text for each event, the same in all versions of HTTP. */
import type { NO_MATCH } from "../../router/match";
import { describeMismatch, type MethodMismatch, type PathFault } from "../../router/paths";
import { GraphResponse } from "./response";

/** A reply that no handler made. Each version of HTTP writes it in one place. */
export class OwnReply {
  constructor(
    readonly status: number,
    /** The body, without its line end; a 204 has none. */
    readonly text: string,
    /** undefined: only those of every reply. */
    readonly headers?: Readonly<Record<string, string>>,
  ) {}
}

/** Seconds after which a client may ask again. */
export const RETRY_AFTER_SECONDS = 1;
/** The client may ask again soon: a reload takes milliseconds. */
const SOON = { "Retry-After": String(RETRY_AFTER_SECONDS) };

/** The answer to `OPTIONS *` (RFC 9110 section 9.3.7): the methods of the server, not of a route. */
export const SERVER_OPTIONS = new OwnReply(200, "OK", { Allow: "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT" });
export const HANDLER_FAILED = new OwnReply(500, "Internal Server Error");
/** The handler's deadline passed. */
export const HANDLER_LATE = new OwnReply(503, "The module did not answer in time.");
/** The same, with the advice to try again. */
export const HOST_LATE = new OwnReply(503, HANDLER_LATE.text, SOON);
export const HOST_BUSY = new OwnReply(503, "The server is busy. Try again.", SOON);
export const MODULE_REPLACED = new OwnReply(
  503,
  "The module was replaced while it worked on this request. Try again.",
  SOON,
);
/** The same for a module in `http.use`. */
export const MIDDLEWARE_REPLACED = new OwnReply(
  503,
  "A module was replaced while it worked on this request. Try again.",
  SOON,
);
export const TOO_MANY_FILES = new OwnReply(503, "Too many files are open. Try again.", SOON);
export const BODY_TOO_LARGE = new OwnReply(413, "The body is larger than this server accepts.");

/** The module is being replaced (`reload: "exclusive"`). */
export function beingReplaced(module: string): OwnReply {
  return new OwnReply(503, `The module "${module}" is being replaced. Try again.`, SOON);
}

/** The module is in quarantine. @param seconds  until its next try */
export function inQuarantine(module: string, seconds: number): OwnReply {
  return new OwnReply(503, `The module "${module}" failed again and again, and is out of service for a while.`, {
    "Retry-After": String(seconds),
  });
}

/** No route takes the request. */
export function noRoute(method: string, match: MethodMismatch | typeof NO_MATCH): OwnReply {
  const { status, text, allow } = describeMismatch(method, match);
  return allow === "" ? new OwnReply(status, text) : new OwnReply(status, text, { Allow: allow });
}

/** The path is not in its canonical form. @param query  as it came, with its "?"; "" for none */
export function misspelled(method: string, fault: PathFault, query: string): OwnReply {
  const { status, text, location } = describeFault(method, fault, query);
  return location === "" ? new OwnReply(status, text) : new OwnReply(status, text, { Location: location });
}

/** The reply as a Response. */
export function asResponse({ status, text, headers }: OwnReply): Response {
  const init: ResponseInit = headers === undefined ? { status } : { status, headers };
  return new GraphResponse(status === 204 ? null : `${text}\n`, init);
}

/** `location`: for a 308, relative to the request; "" for a 400. */
interface FaultReply {
  readonly status: 308 | 400;
  readonly text: string;
  readonly location: string;
}

/**
 * GET and HEAD are redirected to the canonical form (RFC 9110 section 15.4.9). Other methods are refused: their clients
 * are programs that can correct the path, and a redirect would send the body twice.
 *
 * @param query  as it came, with its "?"; "" for none
 */
function describeFault(method: string, { why, canonical }: PathFault, query: string): FaultReply {
  if (why === "encoding") return { status: 400, text: "The path is not properly encoded.", location: "" };
  if (why === "unsafe")
    return { status: 400, text: "The path has a backslash or an encoded dot segment.", location: "" };
  if (method === "GET" || method === "HEAD")
    return { status: 308, text: "The path is served in its canonical form.", location: canonical + query };
  return { status: 400, text: `The path is not in its canonical form. Ask for ${canonical}`, location: "" };
}
