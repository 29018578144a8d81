/** The interface between `context.services` and the carrier of a call: the server's own thread, or a channel to it. */
import type { CallFrame } from "./frame";
import type { ServiceError } from "./error";
import type { Carried } from "./values";

/** The caller. */
export interface ServiceCaller {
  /** The module's name. */
  readonly module: string;
  readonly generation: number;
}

export interface ServiceOrder {
  readonly caller: ServiceCaller;
  /** The module that has the service. */
  readonly module: string;
  readonly service: string;
  readonly input: Carried;
  /** The call that this one works for. null: none. */
  readonly frame: CallFrame | null;
  /** The caller's own limit, besides the frame's. In milliseconds. undefined: none */
  readonly timeoutMs: number | undefined;
  /** The caller gives up. undefined: only with its frame */
  readonly signal: AbortSignal | undefined;
}

export interface ServiceCalls {
  /** @returns the result, as the caller's own copy; for a stream, an AsyncIterable of such. Rejects with a ServiceError */
  call(order: ServiceOrder): Promise<unknown>;
}

/** For code that cannot await. */
export interface ServiceCallsNow {
  /** Waits for the result, and nothing else runs in this process meanwhile. @throws ServiceError */
  callNow(order: ServiceOrder): Carried;
}

/** Where a call's result goes. Exactly one of the three is called, once. They must not throw. */
export interface ServiceAnswer {
  resolve(value: Carried): void;
  /** The parts of a streamed result. Read it to its end, or leave it by `return`. */
  stream(parts: AsyncIterableIterator<Carried>): void;
  reject(error: ServiceError): void;
}

/** Takes calls from callers that pass the result on. */
export interface ServiceAsks {
  /** @returns a function that cancels the call */
  ask(order: ServiceOrder, answer: ServiceAnswer): () => void;
}
