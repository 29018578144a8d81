/** A request's head: its checked content, and the checks that llhttp leaves to its user. */
import type { Limits } from "../../config/options";
import { type PathFault, readPath, splitTarget } from "../../router/paths";
import { BODY_TOO_LARGE, OwnReply } from "../web/own-reply";
import { TOO_MANY_FIELDS } from "./refusal";

/** `bodyBytes` of a chunked body: its length shows at its end. */
export const CHUNKED = -1;

/** A checked request head. */
export interface RequestHead {
  readonly method: string;
  /** Path and query, without a fragment; "*" for OPTIONS of the whole server. */
  readonly target: string;
  /** The target without its query, as `readPath` returns it: the router's input. */
  readonly path: string | PathFault;
  /** Host and port as sent; for an absolute target, those of the target. "" only on HTTP/1.0. */
  readonly host: string;
  /** Names and values in turn, as sent; or the lines themselves, each with its CR LF. Host is `host`. */
  readonly fields: readonly string[] | string;
  readonly isHttp11: boolean;
  /** The client's wish (RFC 9112 section 9.3). */
  readonly keepAlive: boolean;
  /** 0: none; CHUNKED. */
  readonly bodyBytes: number;
  readonly expectsContinue: boolean;
}

/** The fields that decide how a request is framed and where it goes. */
interface Framing {
  hosts: number;
  host: string;
  contentLength: string | null;
  transferEncoding: string | null;
  expect: string | null;
}

export const TWO_HOSTS = new OwnReply(400, "There is more than one Host field.");
export const NO_HOST = new OwnReply(400, "The Host field is missing.");
export const BAD_HOST = new OwnReply(400, "The Host field is not a host name.");
export const BAD_TARGET = new OwnReply(400, "The request target is neither a path nor an http URL.");
export const NO_CONNECT = new OwnReply(501, "CONNECT is not supported: this server is no proxy.");
export const BAD_LENGTH = new OwnReply(400, "The Content-Length is not a number.");
const TWO_ENCODINGS = new OwnReply(400, "Transfer-Encoding stands beside another framing field.");
const OLD_ENCODING = new OwnReply(400, "HTTP/1.0 has no Transfer-Encoding.");
const BAD_ENCODING = new OwnReply(400, "The last Transfer-Encoding is not chunked.");
const UNKNOWN_ENCODING = new OwnReply(501, "The only Transfer-Encoding supported is chunked.");
export const UNKNOWN_EXPECT = new OwnReply(417, "The only Expect supported is 100-continue.");

/**
 * Checks heads that llhttp has accepted (RFC 9112 sections 3.2, 6.1, 6.3; RFC 9110 section 10.1.1).
 *
 * @param fields  names and values in turn, kept
 * @param minor  0 or 1, of HTTP/1.x
 * @param keepAlive  as llhttp read the version and the Connection field
 */
export function checkHead(
  method: string,
  rawTarget: string,
  fields: readonly string[],
  minor: number,
  keepAlive: boolean,
  limits: Limits,
): RequestHead | OwnReply {
  if (method === "CONNECT") return NO_CONNECT;
  if (fields.length > 2 * limits.maxHeaderFields) return TOO_MANY_FIELDS;
  const framing = readFraming(fields);
  if (framing === null) return TWO_ENCODINGS;
  if (framing.hosts > 1) return TWO_HOSTS;
  if (framing.hosts === 0 && minor === 1) return NO_HOST;
  if (framing.hosts === 1 && !isValidHost(framing.host)) return BAD_HOST;
  const target = readTarget(method, rawTarget);
  if (target === null) return BAD_TARGET;
  const bodyBytes = readBodyLength(framing, minor, limits.maxBodyBytes);
  if (bodyBytes instanceof OwnReply) return bodyBytes;
  // HTTP/1.0 clients cannot expect anything (RFC 9110 section 10.1.1): the field is ignored there.
  const expects = minor === 1 && framing.expect !== null;
  if (expects && framing.expect?.toLowerCase() !== "100-continue") return UNKNOWN_EXPECT;
  const host = target.host === "" ? framing.host : target.host;
  const said = host === framing.host ? fields : withHost(fields, host);
  return {
    method,
    target: target.target,
    path: target.path,
    host,
    fields: said,
    isHttp11: minor === 1,
    keepAlive,
    bodyBytes,
    expectsContinue: expects && bodyBytes !== 0,
  };
}

/**
 * The authority of an absolute target replaces the Host field, in the fields that handlers read too (RFC 9112 section
 * 3.2.2).
 */
function withHost(fields: readonly string[], host: string): string[] {
  const others = fields.filter((_, at) => fields[at - (at % 2)]?.toLowerCase() !== "host");
  return ["Host", host, ...others];
}

/** @returns null if Content-Length or Transfer-Encoding occurs twice */
function readFraming(fields: readonly string[]): Framing | null {
  const found: Framing = { hosts: 0, host: "", contentLength: null, transferEncoding: null, expect: null };
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    const value = fields[i + 1] ?? "";
    // Lower-casing each name costs more than the whole loop; the lengths of these four are rare among the others.
    if (name.length === 4 && name.toLowerCase() === "host") {
      found.hosts++;
      found.host = value;
    } else if (name.length === 6 && name.toLowerCase() === "expect") {
      found.expect = value;
    } else if (name.length === 14 && name.toLowerCase() === "content-length") {
      if (found.contentLength !== null) return null;
      found.contentLength = value;
    } else if (name.length === 17 && name.toLowerCase() === "transfer-encoding") {
      if (found.transferEncoding !== null) return null;
      found.transferEncoding = value;
    }
  }
  return found;
}

function readBodyLength(framing: Framing, minor: number, maxBodyBytes: number): number | OwnReply {
  const { contentLength, transferEncoding } = framing;
  if (transferEncoding !== null) {
    // A request with both is how requests are smuggled past a proxy (RFC 9112 section 6.1).
    if (contentLength !== null) return TWO_ENCODINGS;
    if (minor === 0) return OLD_ENCODING;
    const coding = transferEncoding.toLowerCase();
    if (coding === "chunked") return CHUNKED;
    return /(?:^|[\t ,])chunked$/.test(coding) ? UNKNOWN_ENCODING : BAD_ENCODING;
  }
  if (contentLength === null) return 0;
  if (!/^\d+$/.test(contentLength)) return BAD_LENGTH;
  const length = Number(contentLength);
  return length > maxBodyBytes ? BODY_TOO_LARGE : length;
}

// ---- the Host field and the request target (RFC 9112 section 3.2) ----

// The characters of a registered name, an IPv4 address or a bracketed IPv6 address. Userinfo is not allowed in Host.
const HOST = /^(?:[\w.~!$&'()*+,;=%-]+|\[[\da-f:.]+\])(?::\d{0,5})?$/i;
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)(.*)$/i;

/** null before the first: an empty Host must not be taken for the one before. */
let lastValid: string | null = null;

/**
 * Whether `host` is a host with an optional port that a URL can be built from: `new URL(request.url)` in a handler must
 * not fail for an accepted request.
 */
export function isValidHost(host: string): boolean {
  if (host === lastValid) return true;
  if (!HOST.test(host) || !URL.canParse(`http://${host}/`)) return false;
  lastValid = host;
  return true;
}

/** The parts of a request target. */
interface Target {
  /** From absolute-form, otherwise "". */
  readonly host: string;
  /** Path and query without a fragment: the path as it was read, or as sent if it is a PathFault. */
  readonly target: string;
  /** As `readPath` returns it; "*". */
  readonly path: string | PathFault;
}

/**
 * Reads origin-form, absolute-form (only http and https) and, for OPTIONS, asterisk-form (path "*"). authority-form
 * belongs to CONNECT, which is refused earlier.
 *
 * @returns null for anything else
 */
function readTarget(method: string, raw: string): Target | null {
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
