/**
 * Whether a request's client has left. A call whose client left first is no failure of its module, even if its handler
 * fails.
 */
import { halfClosed, isHalfClosed } from "../../module/half-closed";
import { LightRequest } from "./request";

const left = new WeakSet<object>();

/** @returns the reason for `request.signal`: the connection is gone */
export function clientGone(): DOMException {
  const reason = new DOMException("The client closed the connection.", "AbortError");
  left.add(reason);
  return reason;
}

/** @returns the reason for `request.signal`: the client has sent its FIN. A reply is still sent to it */
export function clientEnded(): DOMException {
  // A half-closed connection does not show whether the client has gone or waits for the reply.
  return halfClosed(clientGone());
}

/** Whether a signal's reason is that of `clientEnded`: the reply is still wanted. */
export function mayStillRead(reason: unknown): boolean {
  return isHalfClosed(reason);
}

/** Whether a request's client has left, in any version of HTTP. */
export function hasClientLeft(request: Request): boolean {
  // A middleware may pass on a request of its own, with the signal of the client's.
  const reason: unknown = LightRequest.is(request) ? LightRequest.abortReasonOf(request) : request.signal.reason;
  return typeof reason === "object" && reason !== null && left.has(reason);
}
