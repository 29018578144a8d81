/**
 * The reply to a request whose path is not in its canonical form, the same in all versions of HTTP.
 */
import type { PathFault } from "../../router/paths";

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
export function describeFault(method: string, { why, canonical }: PathFault, query: string): FaultReply {
  if (why === "encoding") return { status: 400, text: "The path is not properly encoded.", location: "" };
  if (why === "unsafe")
    return { status: 400, text: "The path has a backslash or an encoded dot segment.", location: "" };
  if (method === "GET" || method === "HEAD")
    return { status: 308, text: "The path is served in its canonical form.", location: canonical + query };
  return { status: 400, text: `The path is not in its canonical form. Ask for ${canonical}`, location: "" };
}
