/**
 * The answers the server gives by itself: to requests it refuses, and where no module has one.
 */
import { tellAccess } from "../../host/call";
import { answeredHttp, byteLength } from "../access";
import { OwnReply } from "../web/own-reply";
import type { Dispatch, Wire } from "../wire";
import { STATUS_CODES } from "./status-codes";

export const MALFORMED = new OwnReply(400, "The request is malformed.");
export const INCOMPLETE = new OwnReply(400, "The connection was ended in the middle of the request.");
export const TOO_SLOW = new OwnReply(408, "The request did not arrive in time.");
export const TARGET_TOO_LONG = new OwnReply(414, "The request target is longer than this server accepts.");
export const HEAD_TOO_LARGE = new OwnReply(431, "The header fields are larger than this server accepts.");
export const TOO_MANY_FIELDS = new OwnReply(431, "There are more header fields than this server accepts.");

/** @returns the text behind `Date: ` in a reply */
export function dateOf({ httpDate, keepAliveDate }: Dispatch, keepAlive: boolean): string {
  return keepAlive ? (keepAliveDate ?? httpDate) : httpDate;
}

/** @returns the Connection line behind which the client knows whether the connection stays open; "" where it does */
export function connectionLine(keepAlive: boolean, isHttp11: boolean): string {
  return keepAlive ? (isHttp11 ? "" : "Connection: keep-alive\r\n") : "Connection: close\r\n";
}

/**
 * A reply of the server's own, complete.
 *
 * @param connection  see `connectionLine`
 * @param date  see `dateOf`
 * @param isHead  the reply to HEAD: as it would be to GET, without the body
 */
export function composeOwn(reply: OwnReply, connection: string, date: string, isHead: boolean): string {
  const { status, text, headers } = reply;
  let lines = "";
  for (const name in headers) lines += `${name}: ${headers[name]}\r\n`;
  const start = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`;
  const end = `${lines}${connection}Date: ${date}\r\n`;
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
  const reply = composeOwn(refusal, connectionLine(false, true), dispatch.httpDate, isHead);
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
