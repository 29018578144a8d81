/**
 * The first host: this thread, now. A handler that answers at once needs only `beginCall`, `runInline` and `endCall`,
 * and no object. A call that has to wait becomes a `Call` (call.ts).
 *
 * All of a module's code that a client's message or request calls is called here. Only this file and call.ts touch the
 * generation's figures and count, the access log, and the word that tells the watchdog who runs.
 */
import type { Timeouts } from "../config/options";
import type { Client } from "../module/contract";
import { ROUTE, MARKS } from "../module/graph/marks";
import { OWN_ID } from "../module/own-routes";
import type { BoundRoute } from "../module/route";
import type { AccessLog } from "../observe/log/access";
import type { AccessEntry } from "../observe/log/fields";
import type { DeadlineWheel } from "./deadlines";

/** Shared by all calls of a server. `Dispatch` is one. */
export interface CallServer {
  readonly timeouts: Timeouts;
  /** Keeps the deadlines of handlers that run inline. */
  readonly wheel: DeadlineWheel;
  /** Gets each reply when it has ended. null: no access log. */
  access: AccessLog | null;
  /**
   * A handler failed: one log line with module, generation and connection.
   *
   * @param hasLeft  its client had left before: it counts as no error, and an error from the abort of `request.signal`
   *   gets no line
   */
  handlerFailed(route: BoundRoute, client: Client, error: unknown, hasLeft?: boolean): void;
}

/** The sender of a message. A connection makes its Client only on demand. */
export interface Caller {
  readonly client: Client;
}

/**
 * The facts about a reply for the access log. `method` and `path` are missing if the request could not be read that
 * far; `status` is missing if there is no reply: the client had left.
 */
export type Answered = Pick<AccessEntry, "protocol" | "bytes" | "method" | "path" | "status">;

/** `startedAt` of work that is no call for the figures: a `connect` handler, a middleware, an event of a WebSocket. */
export const NOT_TIMED = 0;

/**
 * @param isTold the access log will get it, and needs the time
 * @returns when it began, by performance.now(); 0: not timed, unless it has to wait
 */
export function beginCall(route: BoundRoute, isTold: boolean): number {
  return route.generation.figures.begins(isTold);
}

/**
 * Calls `fn`, code of the route's module, inside its graph, and tells the watchdog which route is running. Every
 * message passes here, so it allocates nothing.
 *
 * @param fn   the route's handler, or another part of the module that works for this route
 * @returns what `fn` returns. Throws what it throws.
 */
export function runInline<A extends unknown[], R>(route: BoundRoute, fn: (...args: A) => R, ...args: A): R {
  MARKS[ROUTE] = route.index;
  const { generation } = route;
  // Spread arguments would cost an array for each call: see `run` in module/graph/load.ts.
  const call = fn as (...args: unknown[]) => R;
  if (args.length === 2) return generation.run(call, args[0], args[1]);
  if (args.length === 3) return generation.run(call, args[0], args[1], args[2]);
  return generation.run(fn, ...args);
}

/** It is over, well or not. @param startedAt  of `beginCall` */
export function endCall(route: BoundRoute, startedAt: number): void {
  route.generation.figures.ended(startedAt);
}

/** The handler failed. @param hasLeft  its client had left before: it is no error */
export function failCall(server: CallServer, route: BoundRoute, caller: Caller, error: unknown, hasLeft = false): void {
  if (!hasLeft) route.generation.figures.fail();
  server.handlerFailed(route, caller.client, error, hasLeft);
}

/** Counts an error of the module that is none of the handler's own: no line is logged. */
export function countError(route: BoundRoute): void {
  route.generation.figures.fail();
}

/** How long a route's handler may take. In milliseconds. 0: for ever. */
export function handlerMs({ timeouts }: CallServer, { timeoutMs }: BoundRoute): number {
  return timeoutMs ?? timeouts.handlerMs;
}

/**
 * Tells the access log of a reply that has ended. Ask before whether `server.access` is there.
 *
 * @param route      null: none took the message
 * @param startedAt  by performance.now(); 0: nothing was called
 */
export function tellAccess(
  log: AccessLog,
  client: Client,
  route: BoundRoute | null,
  startedAt: number,
  answered: Answered,
): void {
  const owner = route === null || route.generation.id === OWN_ID ? null : route.generation;
  log({
    address: client.transport === "unix" ? "unix" : client.address,
    connection: client.connection,
    module: owner?.name ?? null,
    generation: owner?.number ?? null,
    key: route?.key || null,
    ms: startedAt === 0 ? 0 : performance.now() - startedAt,
    ...answered,
  });
}
