/**
 * The first of the places where a handler runs: this thread, now. All code of a module that a client's message or
 * request calls is called here.
 */
import { ROUTE, RUNNING } from "../module/graph/running";
import type { BoundRoute } from "../module/route";

/**
 * Calls `fn`, code of the route's module, inside its graph, and tells the watchdog which route is running. It costs no
 * allocation, and is on the way of every message.
 *
 * @param fn   the route's handler, or another part of the module that works for this route
 * @returns what `fn` returns. Throws what it throws.
 */
export function runInline<A extends unknown[], R>(route: BoundRoute, fn: (...args: A) => R, ...args: A): R {
  RUNNING[ROUTE] = route.index;
  const { generation } = route;
  // Spread arguments would cost an array a call: see `run` in module/graph/load.ts.
  const call = fn as (...args: unknown[]) => R;
  if (args.length === 2) return generation.run(call, args[0], args[1]);
  if (args.length === 3) return generation.run(call, args[0], args[1], args[2]);
  return generation.run(fn, ...args);
}
