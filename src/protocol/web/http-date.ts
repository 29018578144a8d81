/** The Date field of HTTP/1.1 replies, and the Keep-Alive field behind it. */
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
