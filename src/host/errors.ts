/** Why a call of a handler that runs elsewhere has no answer. */

/**
 * The host has too many open calls, or the call waited too long for a thread or process. It never began, so it can be
 * repeated.
 */
export class HostBusyError extends Error {
  override readonly name = "HostBusyError";
}

/** The handler began and did not answer within the call's `timeoutMs`. */
export class HandlerTimeoutError extends Error {
  override readonly name = "HandlerTimeoutError";
}

/**
 * The handler threw or rejected, or its answer was no reply. `stack` is that of the thread or process, with the
 * author's lines.
 */
export class HandlerError extends Error {
  /** The name of the thrown error: "TypeError". */
  override readonly name: string;

  constructor(name: string, message: string, stack: string) {
    super(message);
    this.name = name;
    this.stack = stack;
  }
}

/**
 * The call's thread or process was lost after the handler had begun, through no fault of this call. It is not repeated,
 * because the handler's work so far may not be safe to repeat.
 */
export class HostLostError extends Error {
  override readonly name = "HostLostError";

  constructor(
    message: string,
    /** Why, without a full stop: "it was ended by SIGSEGV". Default: the message's words. */
    readonly reason = message.replace(/\.$/, ""),
  ) {
    super(message);
  }
}

/**
 * The module is in quarantine: its code ended its host again and again, and gets no calls for a while. It never began.
 */
export class UnavailableError extends Error {
  override readonly name = "UnavailableError";

  constructor(
    message: string,
    /** Until the next try. At least 1. */
    readonly retryAfterSeconds: number,
  ) {
    super(message);
  }
}
