/** The first of the places where a handler runs: this thread, now. */
import type { Handle, Message, ModuleContext, Reply } from "../module/contract";
import type { BoundRoute } from "../module/route";
import { ROUTE, RUNNING } from "../module/graph/running";

/**
 * Calls a `handle` route's function on the event loop, inside its module's graph.
 *
 * @returns what the handler returned: a reply or the promise of one. Throws what it throws.
 */
export function callInline(route: BoundRoute, message: Message): Reply | Promise<Reply> {
  RUNNING[ROUTE] = route.index;
  // A route of kind "handle" holds a Handle: readShape checked it.
  return route.generation.run(route.handler as unknown as Handle, message, route.generation.context as ModuleContext);
}
