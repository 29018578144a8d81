/**
 * A route as the server holds it: one entry of a module's `routes`, checked and bound to the generation that owns it.
 */
import type { Framing, WebSocketHandlers } from "./contract";

export type RouteKind = "handle" | "fetch" | "connect" | "websocket" | "command";

/** Where a route's handler runs: on the event loop, on a thread of the pool, in a process of its module's own. */
export type RunsOn = "inline" | "pool" | "process";

/** What a module's `routes` entry says, without its functions: structured-cloneable, the same in every host. */
export interface RouteSpec {
  /** As the author wrote it. */
  readonly key: string;
  /** Position in the module's `routes`; hosts name a route by it. */
  readonly index: number;
  readonly kind: RouteKind;
  readonly run: RunsOn;
  /** In milliseconds. undefined: the server's handlerMs. 0 waits for ever. */
  readonly timeoutMs: number | undefined;
  readonly description: string;
  /** For a raw route: HTTP requests that begin with its key are its messages too. Default false. */
  readonly takesHttp?: boolean;
}

/** A WebSocket route's options, none missing. Call the handlers through `generation.run`, as methods. */
export interface WebSocketSpec {
  readonly handlers: WebSocketHandlers;
  /** undefined: the server's maxWebSocketMessageBytes. */
  readonly maxMessageBytes: number | undefined;
  /** In milliseconds. 0 waits for ever. */
  readonly idleTimeoutMs: number;
  readonly perMessageDeflate: boolean;
  /** As browsers write them: in lower case, without a default port. "*": all. */
  readonly origins: "*" | readonly string[];
  readonly protocols: readonly string[];
  readonly maxQueuedBytes: number;
}

/** What stands in the routing table. */
export interface BoundRoute extends RouteSpec {
  readonly module: string;
  /** Length of the key in UTF-8 bytes. */
  readonly keyBytes: number;
  readonly framing: Framing;
  /**
   * The author's function: handle, fetch or connect; of a WebSocket route, its `upgrade`. Call it through
   * `generation.run`, never directly.
   */
  readonly handler: (...args: never[]) => unknown;
  /** Of a WebSocket route only. */
  readonly websocket?: WebSocketSpec;
  readonly generation: RouteOwner;
  /** True while the module is being replaced (reload: "exclusive"): answer `generation.unavailable`, or a 503. */
  readonly isUnavailable: boolean;
}

/**
 * What keeps a generation alive: a call without its reply, a reply that streams, a connection in a `connect` handler, a
 * WebSocket's handler.
 */
export type InFlightKind = "call" | "stream" | "connection" | "websocket";

/** Something under way that keeps a generation alive. */
export interface InFlight {
  readonly kind: InFlightKind;
  /** True for a reply that streams without end and for a connection: the drain deadline does not apply to it. */
  readonly isEndless: boolean;
  /** The generation is going: abort the signal, end the socket. `reason` is for the log. Must not throw. */
  cut(reason: string): void;
  /** A newer generation serves from now on: whoever can go over to it between two steps (a `connect` handler) does. */
  replaced?(): void;
}

/** Counts a generation's calls. It is used for every message, and must cost next to nothing. */
interface CallCounter {
  /**
   * A call begins. Comes before `ended` or `record`.
   *
   * @param isWanted somebody wants to know when, whatever it costs
   * @returns by performance.now(); 0: many calls come, and this one is counted but not timed, unless it has to be
   *   waited for
   */
  begins(isWanted: boolean): number;
  /** A call is over that ended at once, well or not. @param startedAt what `begins` answered */
  ended(startedAt: number): void;
  /** A call is over that was waited for. @param elapsedMs from the message to its reply, in milliseconds */
  record(elapsedMs: number): void;
  /** It ended badly: the handler threw, was too late or cut, or the reply is a 5xx. Comes besides the other two. */
  fail(): void;
}

/** The part of a generation that connections and protocols use. */
export interface RouteOwner {
  readonly name: string;
  /** Unique among all loads of this server; the hosts' name for this generation. 0: the server's own routes. */
  readonly id: number;
  /** What people see: v1, v2, … */
  readonly number: number;
  /**
   * The second argument of `handle` and `connect`. `fetch` gets an object that inherits from it, with `client` and
   * `params`.
   */
  readonly context: object;
  /** What non-HTTP clients get while the module is unavailable; null: the HTTP 503 message. */
  readonly unavailable: string | Uint8Array | null;
  readonly figures: CallCounter;
  /** Calls `fn` inside the module's graph, so that what it opens and throws is the module's. */
  run<A extends unknown[], R>(fn: (...args: A) => R, ...args: A): R;
  /** Counts something asynchronous as under way. Nothing that ends within one synchronous call needs it. */
  enter(call: InFlight): void;
  /** The reply's last byte was accepted, or the client is gone. Idempotent. */
  leave(call: InFlight): void;
}
