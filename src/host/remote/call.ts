/** One call of a handler on another host, from the caller's order to its answer. */
import type { Client } from "../../module/contract";
import type { BoundRoute } from "../../module/route";
import { RemoteBody } from "./body";
import type { RemoteStream } from "./stream";

/** A caller's order to a host. */
export interface RemoteOrder {
  readonly route: BoundRoute;
  readonly client: Client;
  /** The message, one character for each byte. */
  readonly latin1: string;
  /**
   * The rest of the body, for a handler that asks for it. The order owns it: it is read on demand, and cancelled when
   * the call is over.
   */
  readonly body: ReadableStream<Uint8Array> | null;
  /** The request's trailers, once `body` is over. Default: there are none. */
  readonly trailers?: () => Promise<[name: string, value: string][]>;
  /**
   * The handler's limit, from its begin. A call that has not begun after twice this time and the grace of a kill is
   * refused as busy. In milliseconds. 0 waits for ever.
   */
  readonly timeoutMs: number;
  /** Not called before the order is taken. */
  readonly owner: RemoteCallOwner;
}

/**
 * Takes a call's answer: exactly one of the two is called, once, and never after `CallHandle.cancel`. Must not throw.
 */
export interface RemoteCallOwner {
  /** Read a stream to its end, or leave it by `return`. It rejects if its source fails or its place is lost. */
  resolve(reply: string | Uint8Array | AsyncIterable<string | Uint8Array> | null): void;
  /** HostBusyError, UnavailableError, HandlerTimeoutError, HandlerError or HostLostError. */
  reject(error: Error): void;
}

/** The caller's handle of a call. */
export interface CallHandle {
  /**
   * The caller went away: `message.signal` aborts, a streamed reply ends, its owner is not called again. Idempotent.
   */
  cancel(): void;
  /** The client has sent its FIN: `signal` aborts, but the reply is still sent. */
  clientEnded(): void;
}

/** The keeper of the place that has the call. */
export interface CallKeeper {
  cancel(call: RemoteCall): void;
  clientEnded(call: RemoteCall): void;
}

export class RemoteCall implements CallHandle {
  readonly route: BoundRoute;
  /** The generation's id on hosts. */
  readonly loadId: number;
  readonly client: Client;
  readonly latin1: string;
  readonly timeoutMs: number;
  /** When the caller asked. Of performance.now(). */
  readonly askedAt: number;
  /** The start of the handler's time: the last moment at which the call had not begun. */
  beganAt: number;
  /** null: nobody waits for the answer. */
  owner: RemoteCallOwner | null;
  keeper: CallKeeper | null = null;
  seq = 0;
  /** The client ended before a place had the call. The place learns it with the call. */
  hasClientEnded = false;
  stream: RemoteStream | null = null;
  /** The request's body, if it is not in the message. */
  readonly body: RemoteBody | null;
  #onOver: (() => void) | null;

  /** @param onOver called once, when the call is answered or given up */
  constructor({ route, client, latin1, body, trailers, timeoutMs, owner }: RemoteOrder, onOver: () => void) {
    this.route = route;
    this.loadId = route.generation.id;
    this.client = client;
    this.latin1 = latin1;
    this.body = body === null ? null : new RemoteBody(body, trailers ?? null);
    this.timeoutMs = timeoutMs;
    this.askedAt = this.beganAt = performance.now();
    this.owner = owner;
    this.#onOver = onOver;
  }

  resolve(reply: string | Uint8Array | AsyncIterable<string | Uint8Array> | null): void {
    const { owner } = this;
    this.owner = null;
    this.over();
    // A streamed reply may still read the request.
    if (this.stream === null) this.body?.cancel();
    owner?.resolve(reply);
  }

  /** The streamed reply has ended. */
  streamEnded(): void {
    this.body?.cancel();
    this.stream?.end();
  }

  /** For a streamed reply that is open: its reader gets the error. */
  fail(error: Error): void {
    const { owner } = this;
    this.owner = null;
    this.over();
    this.body?.cancel();
    this.stream?.fail(error);
    owner?.reject(error);
  }

  cancel(): void {
    if (this.owner === null && this.stream === null) return;
    this.owner = null;
    this.streamEnded();
    if (this.keeper === null) this.over();
    else this.keeper.cancel(this);
  }

  clientEnded(): void {
    this.hasClientEnded = true;
    this.keeper?.clientEnded(this);
  }

  over(): void {
    this.#onOver?.();
    this.#onOver = null;
  }
}
