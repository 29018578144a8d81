/**
 * The answers the server gives by itself: to requests it refuses, and where no module has one.
 */
import { tellAccess } from "../../host/inline";
import { answeredHttp, byteLength } from "../access";
import { OwnReply } from "../web/own-reply";
import { tailLines } from "../web/http-date";
import type { Wire } from "../wire";
import { STATUS_CODES } from "./status-codes";

export const BAD_START_LINE = new OwnReply(400, "The first line is not `METHOD target HTTP/1.1`.");
export const NOT_ENCODED = new OwnReply(400, "The request target holds bytes over 0x7f. Percent-encode them.");
export const UNKNOWN_METHOD = new OwnReply(501, "This server does not know the request's method.");
export const WRONG_VERSION = new OwnReply(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
export const MALFORMED = new OwnReply(400, "The request is malformed.");
export const INCOMPLETE = new OwnReply(400, "The connection was ended in the middle of the request.");
export const TOO_SLOW = new OwnReply(408, "The request did not arrive in time.");
export const TARGET_TOO_LONG = new OwnReply(414, "The request target is longer than this server accepts.");
export const HEAD_TOO_LARGE = new OwnReply(431, "The header fields are larger than this server accepts.");
export const TOO_MANY_FIELDS = new OwnReply(431, "There are more header fields than this server accepts.");

/**
 * A reply of the server's own, complete.
 *
 * @param tail  see `tailLines`
 * @param isHead  the reply to HEAD: as it would be to GET, without the body
 */
export function composeOwn(reply: OwnReply, tail: string, isHead: boolean): string {
  const { status, text, headers } = reply;
  let lines = "";
  for (const name in headers) lines += `${name}: ${headers[name]}\r\n`;
  const start = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`;
  const end = lines + tail;
  if (status === 204) return `${start}${end}\r\n`;
  const body = `${text}\n`;
  return (
    `${start}Content-Type: text/plain;charset=utf-8\r\n${end}` +
    `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${isHead ? "" : body}`
  );
}

/** Answers with the refusal and ends the connection: where the next request would begin is not known any more. */
export function refuse(wire: Wire, refusal: OwnReply, isHead = false): void {
  const { dispatch } = wire;
  dispatch.counters.httpRequests++;
  if (refusal.status >= 500) dispatch.counters.errors++;
  const reply = composeOwn(refusal, tailLines(dispatch.httpDate, false), isHead);
  wire.write(reply);
  if (dispatch.access !== null)
    tellAccess(
      dispatch.access,
      wire.client,
      null,
      0,
      answeredHttp("http/1.1", null, refusal.status, byteLength(reply)),
    );
  wire.finish();
}
