/** A route in the server: one entry of a module's `routes`, checked and bound to its generation. */
import type { Framing, WebSocketHandlers } from "./contract";

export type RouteKind = "handle" | "fetch" | "connect" | "websocket" | "command" | "service" | "event" | "task";

/** Where a route's handler runs: on the event loop, on a thread of the pool, in a process of its module's own. */
export type RunsOn = "inline" | "pool" | "process";

/** An entry of a module's `routes` without its functions: structured-cloneable, the same in every host. */
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
  /** Of a built-in command: it is there only while no module claims its word. Default false. */
  readonly givesWay?: boolean;
  /** Middleware runs before its handler and must see each request. Default false. */
  readonly isBehindMiddleware?: boolean;
}

/** A service without its functions: structured-cloneable, the same in every host. */
export interface ServiceSpec {
  readonly name: string;
  /** Its position in the module's `services`. */
  readonly index: number;
  readonly run: RunsOn;
  /** In milliseconds. undefined: the server's handlerMs. 0 waits for ever. */
  readonly timeoutMs: number | undefined;
  readonly description: string;
  /** Clients may call it. */
  readonly isPublic: boolean;
  /** It checks the rights of clients itself. */
  readonly checksAccess: boolean;
  /** AI agents may call it. */
  readonly isMcpTool: boolean;
  /** Its input has a schema, but none that can be written as JSON Schema. */
  readonly isUndescribed: boolean;
  /** JSON Schema (draft 2020-12). null: there is none. */
  readonly input: Readonly<Record<string, unknown>> | null;
  readonly output: Readonly<Record<string, unknown>> | null;
}

/** Whether AI agents may call it. */
export function isTool(service: ServiceSpec): boolean {
  return service.isMcpTool && whyNoTool(service) === null;
}

/** @returns why a service that says `mcp: true` is offered to no AI agent; null: it is offered */
export function whyNoTool({ isPublic, isUndescribed, input }: ServiceSpec): string | null {
  if (!isPublic) return "it is not public: add public: true";
  if (isUndescribed) return "the schema of its input cannot be written as JSON Schema";
  if (input !== null && input.type !== "object") return "its input is not an object";
  return null;
}

/** A task of a schedule without its function: structured-cloneable, the same in every host. */
export interface TaskSpec {
  /** Unique in its module. */
  readonly name: string;
  /** Its position in the module's `schedule`. */
  readonly index: number;
  readonly run: RunsOn;
  /** "every 10s", or a cron line. */
  readonly when: string;
  /** For a cron line: an IANA name. null: `schedule.timeZone`. */
  readonly timeZone: string | null;
  /** One run that was missed while no server ran is made up at the next start. */
  readonly catchUp: boolean;
  /** In milliseconds. undefined: the server's handlerMs. 0: no limit. */
  readonly timeoutMs: number | undefined;
  readonly description: string;
}

/** A task as hosts call it: like a route, with an index behind those of the module's routes and services. */
export interface BoundTask extends BoundRoute {
  readonly task: TaskSpec;
  readonly generation: RouteOwner & { readonly isDisposed: boolean };
}

/** A service as hosts call it: like a route, with an index behind those of the module's routes. */
export interface BoundService extends BoundRoute {
  readonly service: ServiceSpec;
  /** "kv.get". */
  readonly name: string;
  /** Its module may call services, which then inherit from the call that it answers. */
  readonly isFramed: boolean;
}

/** A handler of events without its function: structured-cloneable, the same in every host. */
export interface HandlerSpec {
  /** The topics that it gets: "user.*". */
  readonly pattern: string;
  /** Its position in the module's `on`. */
  readonly index: number;
  readonly run: "inline" | "process";
  /** "server": it runs in one process of the server. "process": in each. */
  readonly background: "server" | "process";
}

/** A handler of events as hosts call it: like a route, with an index behind those of the module's services. */
export interface BoundHandler extends BoundRoute {
  readonly on: HandlerSpec;
}

/** A WebSocket route's options, complete. Call the handlers through `generation.run`, as methods. */
export interface WebSocketSpec {
  readonly handlers: WebSocketHandlers;
  /** undefined: the server's maxWebSocketMessageBytes. */
  readonly maxMessageBytes: number | undefined;
  /** In milliseconds. 0 waits for ever. */
  readonly idleTimeoutMs: number;
  readonly perMessageDeflate: boolean;
  /** In the form that browsers write: in lower case, without a default port. "*": all. */
  readonly origins: "*" | readonly string[];
  readonly protocols: readonly string[];
  readonly maxQueuedBytes: number;
}

/** An entry of the routing table. */
export interface BoundRoute extends RouteSpec {
  readonly module: string;
  /** Length of the key in UTF-8 bytes. */
  readonly keyBytes: number;
  readonly framing: Framing;
  /**
   * The author's function: handle, fetch or connect; for a WebSocket route, its `upgrade`. Call it through
   * `generation.run`, never directly.
   */
  readonly handler: (...args: never[]) => unknown;
  /** WebSocket routes only. */
  readonly websocket?: WebSocketSpec;
  /** Of a WebSocket route: answers requests that ask for no upgrade. Default: they get a 426. */
  readonly page?: BoundRoute;
  readonly generation: RouteOwner;
  /** True while the module is being replaced (reload: "exclusive"): answer `generation.unavailable`, or a 503. */
  readonly isUnavailable: boolean;
  /** Writes the refusal of a raw message that is too long or incomplete, in the route's own form. Default: a line of ERR */
  readonly refusal?: (why: string) => string;
}

/**
 * Work that keeps a generation alive: a call without its reply, a reply that streams, a connection in a `connect`
 * handler, a WebSocket's handler.
 */
export type InFlightKind = "call" | "stream" | "connection" | "websocket";

/** Open work that keeps a generation alive. */
export interface InFlight {
  readonly kind: InFlightKind;
  /** Its index in the open work of its generation, which keeps it. -1: it is not open. */
  inFlightAt: number;
  /** True for a reply that streams without end and for a connection: the drain deadline does not apply to it. */
  readonly isEndless: boolean;
  /** The generation is going: abort the signal, end the socket. `reason` is for the log. Must not throw. */
  cut(reason: string): void;
  /**
   * A newer generation serves from now on: work that can go over to it between two steps (a `connect` handler) does.
   */
  replaced?(): void;
}

/** Counts a generation's calls. Every message uses it, so it must be very cheap. */
interface CallCounter {
  /**
   * A call begins. Comes before `ended` or `record`.
   *
   * @param isWanted somebody needs the time, whatever it costs
   * @returns the time by performance.now(); 0: many calls come, and this one is counted but not timed, unless it has to
   *   wait
   */
  begins(isWanted: boolean): number;
  /** A call ended at once, with or without an error. @param startedAt the result of `begins` */
  ended(startedAt: number): void;
  /** A call ended that had to wait. @param elapsedMs from the message to its reply, in milliseconds */
  record(elapsedMs: number): void;
  /**
   * A call failed: the handler threw, was too late or cut, or the reply is a 5xx. Call it besides `ended` or `record`.
   */
  fail(): void;
}

/** The part of a generation that connections and protocols use. */
export interface RouteOwner {
  readonly name: string;
  /** Unique among all loads of this server; the hosts' name for this generation. 0: the server's own routes. */
  readonly id: number;
  /** The number that people see: v1, v2, … */
  readonly number: number;
  /**
   * The second argument of `handle` and `connect`. `fetch` gets an object that inherits from it, with `client` and
   * `params`.
   */
  readonly context: object;
  /** The reply to non-HTTP clients while the module is unavailable; null: the HTTP 503 message. */
  readonly unavailable: string | Uint8Array | null;
  readonly figures: CallCounter;
  /** Calls `fn` inside the module's graph, so that its resources and errors are the module's. */
  run<A extends unknown[], R>(fn: (...args: A) => R, ...args: A): R;
  /** Counts asynchronous work as open. Work that ends within one synchronous call does not need it. */
  enter(call: InFlight): void;
  /** The reply's last byte was accepted, or the client is gone. Idempotent. */
  leave(call: InFlight): void;
}

/** @returns words such as `"GET " takes HTTP requests`; "" if no route does */
export function takesHttpText(routes: readonly RouteSpec[]): string {
  const keys = routes.filter(({ takesHttp }) => takesHttp === true).map(({ key }) => JSON.stringify(key));
  return keys.length === 0 ? "" : `${keys.join(" and ")} take${keys.length === 1 ? "s" : ""} HTTP requests`;
}
