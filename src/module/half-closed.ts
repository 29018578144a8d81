/**
 * Abort reasons of clients that have sent their FIN and may still wait for the reply. The signal of a request is aborted
 * for them, as for those that are gone, but the work for the reply goes on.
 */

const reasons = new WeakSet<object>();

/** @returns the reason itself */
export function halfClosed<Reason extends object>(reason: Reason): Reason {
  reasons.add(reason);
  return reason;
}

/** Whether the reply is still wanted. @param reason  of an AbortSignal */
export function isHalfClosed(reason: unknown): boolean {
  return typeof reason === "object" && reason !== null && reasons.has(reason);
}
