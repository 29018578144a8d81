/** What HTTP/1.1 replies say of the time, and of how long their connection stays open. */
import type { Dispatch } from "../protocol/wire";

/** Clients keep an idle connection for about so long without being told: below it they are told. */
const SHORT_IDLE_MS = 60_000;

/** To be called each second. A reload may have changed `timeouts.idleMs`. */
export function renewDate(dispatch: Dispatch): void {
  const { idleMs } = dispatch.timeouts;
  dispatch.httpDate = new Date().toUTCString();
  const isShort = idleMs > 0 && idleMs <= SHORT_IDLE_MS;
  dispatch.keepAliveDate = isShort ? `${dispatch.httpDate}\r\nKeep-Alive: timeout=${Math.floor(idleMs / 1000)}` : dispatch.httpDate;
}
