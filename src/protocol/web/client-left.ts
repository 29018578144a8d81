/**
 * Whether a request's client has left. A call whose client left first is no failure of its module, even if its handler
 * fails.
 */
import { LightRequest } from "./request";

/** A half-closed connection does not show whether the client has gone or waits for the reply. */
const ended = new WeakSet<object>();
const left = new WeakSet<object>();

/** @returns the reason for `request.signal`: the connection is gone */
export function clientGone(): DOMException {
  const reason = new DOMException("The client closed the connection.", "AbortError");
  left.add(reason);
  return reason;
}

/** @returns the reason for `request.signal`: the client has sent its FIN. A reply is still sent to it */
export function clientEnded(): DOMException {
  const reason = clientGone();
  ended.add(reason);
  return reason;
}

/** Whether a signal's reason is that of `clientEnded`: the reply is still wanted. */
export function mayStillRead(reason: unknown): boolean {
  return typeof reason === "object" && reason !== null && ended.has(reason);
}

/** Whether a request's client has left, in any version of HTTP. */
export function hasClientLeft(request: Request): boolean {
  // A middleware may pass on a request of its own, with the signal of the client's.
  const reason: unknown = LightRequest.is(request) ? LightRequest.abortReasonOf(request) : request.signal.reason;
  return typeof reason === "object" && reason !== null && left.has(reason);
}
