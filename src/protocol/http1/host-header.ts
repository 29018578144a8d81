/**
 * The Host field and the request target (RFC 9112 section 3.2).
 */

import { type PathFault, readPath, splitTarget } from "../../router/paths";

// What a registered name, an IPv4 address or a bracketed IPv6 address may hold. Userinfo has no place in Host.
const HOST = /^(?:[\w.~!$&'()*+,;=%-]+|\[[\da-f:.]+\])(?::\d{0,5})?$/i;
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)(.*)$/i;

/** null before the first: an empty Host must not be taken for the one before. */
let lastValid: string | null = null;

/**
 * Whether `host` is a host with an optional port that a URL can be built from: handlers do `new URL(request.url)`, and
 * that must not fail for what the server let in.
 */
export function isValidHost(host: string): boolean {
  if (host === lastValid) return true;
  if (!HOST.test(host) || !URL.canParse(`http://${host}/`)) return false;
  lastValid = host;
  return true;
}

/** The parts of a request target. */
interface Target {
  /** From absolute-form, else "". */
  readonly host: string;
  /** Path and query without a fragment: the path as it was read, or as sent if it is a PathFault. */
  readonly target: string;
  /** As `readPath` returns it; "*". */
  readonly path: string | PathFault;
}

/**
 * Reads origin-form, absolute-form (only http and https) and, for OPTIONS, asterisk-form (path "*"). authority-form is
 * CONNECT's, which is refused before this.
 *
 * @returns null for anything else
 */
export function readTarget(method: string, raw: string): Target | null {
  if (raw.charCodeAt(0) === 0x2f) return readOrigin("", raw);
  if (raw === "*") return method === "OPTIONS" ? { host: "", target: "*", path: "*" } : null;
  const absolute = ABSOLUTE_FORM.exec(raw);
  if (absolute === null) return null;
  const [, host = "", rest = ""] = absolute;
  if (!isValidHost(host)) return null;
  // RFC 9112 section 3.2.4: OPTIONS for an absolute target without a path means the server as a whole.
  if (rest === "" && method === "OPTIONS") return { host, target: "*", path: "*" };
  return readOrigin(host, rest.startsWith("/") ? rest : `/${rest}`);
}

/**
 * Reads a target in origin-form.
 *
 * @param host  the host in front of it in an absolute target; else ""
 */
export function readOrigin(host: string, raw: string): Target {
  const { path, query } = splitTarget(raw);
  const read = readPath(path);
  return { host, target: (typeof read === "string" ? read : path) + query, path: read };
}
