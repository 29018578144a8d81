/**
 * The first line of a request (RFC 9112 section 3): judged before llhttp sees it.
 */
import { HTTP_METHODS } from "../../router/methods";
import { OwnReply } from "../web/own-reply";
import { MALFORMED } from "./refusal";

export const BAD_START_LINE = new OwnReply(400, "The first line is not `METHOD target HTTP/1.1`.");
const NOT_ENCODED = new OwnReply(400, "The request target holds bytes over 0x7f. Percent-encode them.");
const UNKNOWN_METHOD = new OwnReply(501, "This server does not know the request's method.");
const WRONG_VERSION = new OwnReply(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");

// A method is a token (RFC 9110 sections 9.1 and 5.6.2).
const START_LINE = /^([!#$%&'*+.^_`|~\w-]+) ([!-~\x80-\xff]+) ([A-Z]+)\/(\d)\.(\d)\r$/;

/**
 * Judges the first line without its LF. llhttp lets other protocols (RTSP, ICE), other versions and runs of spaces
 * pass, and reads a line without a version as HTTP/0.9.
 *
 * @param line  latin1, a character a byte
 * @returns the refusal, or the minor version as sent. HTTP/1.2 and later are served as 1.1 (RFC 9110 section 2.5).
 */
export function readStartLine(line: string): OwnReply | number {
  const parts = START_LINE.exec(line);
  if (parts === null) return BAD_START_LINE;
  const [, method = "", target = "", protocol, major, minor] = parts;
  if (protocol !== "HTTP") return MALFORMED;
  // No HTTP/2 comes here: its preface, `PRI * HTTP/2.0`, is recognised before.
  if (major !== "1") return WRONG_VERSION;
  if (!HTTP_METHODS.has(method)) return UNKNOWN_METHOD;
  return /[\x80-\xff]/.test(target) ? NOT_ENCODED : Number(minor);
}
