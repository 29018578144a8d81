/**
 * The routing of all messages of a server. A reload makes the next Routing and swaps it in one assignment,
 * `dispatch.routing = next`: no message sees a mixture.
 */
import type { Client } from "../module/contract";
import type { BoundRoute, WebSocketSpec } from "../module/route";
import { RouteTable } from "../router/table";

/** Immutable. Read it again for each message, and never keep it over an await. */
export interface Routing {
  /** All routes, those of HTTP with the middleware of `http.use` in front of them. */
  readonly table: RouteTable<BoundRoute>;
  /**
   * With `http.use`: the route for HTTP requests without a route. Its handler runs the middleware, then answers with
   * 404, 405 or the 204 of OPTIONS. null: the protocol answers by `describeMismatch`.
   */
  readonly unmatched: BoundRoute | null;
  /** The server's own HTTP endpoints, by path, that are on and whose path no module has. */
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  /** The WebSocket routes of `table`. Ask `socketRoute`. */
  readonly sockets: ReadonlyMap<string, WebSocketBound>;
  /**
   * Replies that may be repeated for a moment, by the request's head. Here, so that none outlives its route. For
   * http1/repeat.ts only.
   */
  readonly repeats: Map<object, Repeat>;
}

/** A reply that a route's module lets the server repeat. */
export interface Repeat {
  readonly route: BoundRoute;
  readonly message: Buffer;
  /** The length of its head, if its body can be sent from `fd` as well. In bytes. */
  readonly headBytes: number;
  /** A descriptor of the file with its body; -1: none. */
  readonly fd: number;
  /** Its maker's mark, which counts repeats. */
  readonly repeatable: { asked: number };
  /** The text behind `Date: ` in the message. */
  readonly date: string;
  readonly isSecure: boolean;
  /** By performance.now(), in milliseconds. */
  readonly until: number;
}

/** A route of kind "websocket". */
export type WebSocketBound = BoundRoute & { readonly websocket: WebSocketSpec };

/** One of the server's own HTTP endpoints. */
export interface Endpoint {
  readonly route: BoundRoute;
  /**
   * Whether this request may see the endpoint. Others get the reply that they would get without it.
   *
   * @param host    the request's host, with its port
   * @param origin  its Origin field, if it has one
   */
  isFor(client: Client, host: string, origin: string | null): boolean;
}

/** The server's own endpoints, over all its reloads. */
export interface OwnEndpoints {
  /** @returns the endpoints whose path none of these routes claims as its own key */
  beside(routes: readonly BoundRoute[]): ReadonlyMap<string, Endpoint>;
  /**
   * Logs, once each, the paths of endpoints that modules answer from now on, and the built-in commands.
   *
   * @param words  of commands that give way to modules, and keys of the server's that do
   */
  noteClaims(routes: readonly BoundRoute[], words: readonly string[]): void;
}

const NO_ENDPOINTS: Routing["endpoints"] = new Map();

/** @param unmatched, endpoints  Default: none */
export function routingOf(
  table: RouteTable<BoundRoute>,
  unmatched: BoundRoute | null = null,
  endpoints: Routing["endpoints"] = NO_ENDPOINTS,
): Routing {
  const sockets = table.entries.map(({ value }) => value).filter(isWebSocket);
  return {
    table,
    unmatched,
    endpoints,
    sockets: new Map(sockets.map((route) => [socketKey(route.module, route.key), route])),
    repeats: new Map(),
  };
}

/** The routing of a server that has loaded nothing yet. */
export const NO_ROUTES: Routing = routingOf(RouteTable.empty<BoundRoute>());

/** Paths of the server's own endpoints, which come before the modules. */
export const ENDPOINT_PATHS = ["/health", "/ready", "/stats", "/metrics"] as const;
export type EndpointPath = (typeof ENDPOINT_PATHS)[number];

// The length alone rules out many other paths, at almost no cost.
const SHORTEST = Math.min(...ENDPOINT_PATHS.map((path) => path.length));
const LONGEST = Math.max(...ENDPOINT_PATHS.map((path) => path.length));

/**
 * @param path as `readPath` returns it
 * @returns null if there is no endpoint. Ask its `isFor` whether this request may see it.
 */
export function endpointAt({ endpoints }: Routing, method: string, path: string): Endpoint | null {
  if (path.length > LONGEST || path.length < SHORTEST) return null;
  if (method !== "GET" && method !== "HEAD") return null;
  return endpoints.get(path) ?? null;
}

/** @returns null if the module has no such WebSocket route (any more) */
export function socketRoute({ sockets }: Routing, module: string, key: string): WebSocketBound | null {
  return sockets.get(socketKey(module, key)) ?? null;
}

function isWebSocket(route: BoundRoute): route is WebSocketBound {
  return route.websocket !== undefined;
}

/** A module's name has no spaces. */
function socketKey(module: string, key: string): string {
  return `${module} ${key}`;
}
