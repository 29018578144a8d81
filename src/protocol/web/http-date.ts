/** The fields at the end of an HTTP/1.1 reply's head: Connection, Date, and Keep-Alive behind that. */
import type { Dispatch } from "../wire";

/**
 * Clients keep an idle connection for about this long. For a shorter time, replies have a Keep-Alive field. In
 * milliseconds.
 */
const SHORT_IDLE_MS = 60_000;

/** Call it each second. A reload may have changed `timeouts.idleMs`. */
export function renewDate(dispatch: Dispatch): void {
  const { idleMs } = dispatch.timeouts;
  dispatch.httpDate = new Date().toUTCString();
  const isShort = idleMs > 0 && idleMs <= SHORT_IDLE_MS;
  dispatch.keepAliveDate = isShort
    ? `${dispatch.httpDate}\r\nKeep-Alive: timeout=${Math.floor(idleMs / 1000)}`
    : dispatch.httpDate;
}

/** @returns the text behind `Date: ` in a reply */
export function dateOf({ httpDate, keepAliveDate }: Dispatch, keepAlive: boolean): string {
  return keepAlive ? (keepAliveDate ?? httpDate) : httpDate;
}

/**
 * The Connection and Date lines, each with its CR LF.
 *
 * @param date      see `dateOf`
 * @param isHttp11  of the request. A connection of HTTP/1.1 stays open without a word, one of HTTP/1.0 does not
 */
export function tailLines(date: string, keepAlive: boolean, isHttp11 = true): string {
  const connection = keepAlive ? (isHttp11 ? "" : "Connection: keep-alive\r\n") : "Connection: close\r\n";
  return `${connection}Date: ${date}\r\n`;
}
