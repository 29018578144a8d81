/** One call on the pool, from the caller's wish to its answer. */
import type { PoolBody } from "./body";
import type { RemoteStream } from "./stream";

/** Takes a call's answer: exactly one of the two is called, once, and never after `PoolCall.cancel`. Must not throw. */
export interface CallSink {
  /** A stream is to be read to its end or left by `return`. It rejects if its source fails or its thread is lost. */
  resolve(reply: string | Uint8Array | AsyncIterable<string | Uint8Array> | null): void;
  /** PoolBusyError, HandlerTimeoutError, HandlerError or HostLostError. */
  reject(error: Error): void;
}

/** In the caller's hand. */
export interface PoolCall {
  /** By performance.now(). */
  readonly askedAt: number;
  /**
   * The caller went away: `message.signal` aborts, a streamed reply ends, the sink is not called any more. Idempotent.
   */
  cancel(): void;
  /** The client has sent its FIN: `signal` aborts, but the reply is still sent. */
  clientEnded(): void;
}

/** The thread that has the call. */
export interface CallHolder {
  cancel(call: PooledCall): void;
  clientEnded(call: PooledCall): void;
}

export class PooledCall implements PoolCall {
  readonly generation: number;
  readonly routeIndex: number;
  /** Client and message: see `parcelOf`. */
  readonly parcel: string;
  /** 0: waits for ever. */
  readonly timeoutMs: number;
  /** When the caller asked. Of performance.now(). */
  readonly askedAt: number;
  /** The handler's time counts from here: the last moment at which the call was seen not to have begun. */
  beganAt: number;
  /** null: nobody waits any more. */
  sink: CallSink | null;
  holder: CallHolder | null = null;
  seq = 0;
  /** The client ended before a thread had the call: the thread is told when it gets it. */
  hasClientEnded = false;
  stream: RemoteStream | null = null;
  /** The request's body, if it is not in the parcel. */
  readonly body: PoolBody | null;
  #onOver: (() => void) | null;

  /** @param onOver called once, when the call is answered or given up */
  constructor(
    generation: number,
    routeIndex: number,
    parcel: string,
    timeoutMs: number,
    sink: CallSink,
    onOver: () => void,
    body: PoolBody | null,
  ) {
    this.body = body;
    this.generation = generation;
    this.routeIndex = routeIndex;
    this.parcel = parcel;
    this.timeoutMs = timeoutMs;
    this.askedAt = this.beganAt = performance.now();
    this.sink = sink;
    this.#onOver = onOver;
  }

  resolve(reply: string | Uint8Array | AsyncIterable<string | Uint8Array> | null): void {
    const { sink } = this;
    this.sink = null;
    this.over();
    // A stream may go on reading the request while it answers.
    if (this.stream === null) this.body?.cancel();
    sink?.resolve(reply);
  }

  /** The streamed reply has ended. */
  streamEnded(): void {
    this.body?.cancel();
    this.stream?.end();
  }

  /** For a streamed reply that is open: its reader gets the error. */
  fail(error: Error): void {
    const { sink } = this;
    this.sink = null;
    this.over();
    this.body?.cancel();
    this.stream?.fail(error);
    sink?.reject(error);
  }

  cancel(): void {
    if (this.sink === null && this.stream === null) return;
    this.sink = null;
    this.streamEnded();
    if (this.holder === null) this.over();
    else this.holder.cancel(this);
  }

  clientEnded(): void {
    this.hasClientEnded = true;
    this.holder?.clientEnded(this);
  }

  over(): void {
    this.#onOver?.();
    this.#onOver = null;
  }
}
