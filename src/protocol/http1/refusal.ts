/**
 * The answers the server gives by itself: to requests it refuses, and where no module has one.
 */
import { byteLength, tellHttp } from "../access";
import type { Dispatch, Wire } from "../wire";
import { STATUS_CODES } from "./status-codes";

/** A request that is not served: its status and one line for whoever reads the reply. */
export class Refusal {
  constructor(
    readonly status: number,
    readonly text: string,
  ) {}
}

export const MALFORMED = new Refusal(400, "The request is malformed.");
export const INCOMPLETE = new Refusal(400, "The connection was ended in the middle of the request.");
export const TOO_SLOW = new Refusal(408, "The request did not arrive in time.");
export const BODY_TOO_LARGE = new Refusal(413, "The body is larger than this server accepts.");
export const TARGET_TOO_LONG = new Refusal(414, "The request target is longer than this server accepts.");
export const HEAD_TOO_LARGE = new Refusal(431, "The header fields are larger than this server accepts.");
export const TOO_MANY_FIELDS = new Refusal(431, "There are more header fields than this server accepts.");

/** @returns the text behind `Date: ` in a reply */
export function dateOf({ httpDate, keepAliveDate }: Dispatch, keepAlive: boolean): string {
  return keepAlive ? (keepAliveDate ?? httpDate) : httpDate;
}

/**
 * A complete reply with a short text body, as one string.
 *
 * @param date  see `dateOf`
 * @param extra  further header lines, each with its CR LF
 * @param isHead  the reply to HEAD: as it would be to GET, without the body
 */
export function plainReply(
  date: string,
  status: number,
  text: string,
  keepAlive: boolean,
  extra = "",
  isHead = false,
): string {
  const body = `${text}\n`;
  const connection = keepAlive ? "" : "Connection: close\r\n";
  return (
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\nContent-Type: text/plain;charset=utf-8\r\n${extra}${connection}` +
    `Date: ${date}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${isHead ? "" : body}`
  );
}

/** Answers with the refusal and ends the connection: where the next request would begin is not known any more. */
export function refuse(wire: Wire, refusal: Refusal, isHead = false): void {
  const { dispatch } = wire;
  dispatch.counters.httpRequests++;
  if (refusal.status >= 500) dispatch.counters.errors++;
  const reply = plainReply(dispatch.httpDate, refusal.status, refusal.text, false, "", isHead);
  wire.write(reply);
  if (dispatch.access !== null)
    tellHttp(dispatch.access, "http/1.1", wire.client, null, null, refusal.status, byteLength(reply), 0);
  wire.finish();
}
