/** The server's own routes: commands, endpoints, replies of its middleware. */
import { CallFigures } from "../observe/figures";
import type { RequestContext } from "./contract";
import type { BoundRoute, RouteOwner } from "./route";

/** `RouteOwner.id` of the server itself. Generations of modules have ids from 1. */
export const OWN_ID = 0;

/** Owns the server's own routes. It is never replaced or unloaded. */
export const OWN_ROUTES: RouteOwner = {
  name: "hrmr",
  id: OWN_ID,
  number: 0,
  context: {},
  unavailable: null,
  figures: new CallFigures(),
  run: (fn, ...args) => fn(...args),
  enter: () => {},
  leave: () => {},
};

/**
 * An HTTP route of the server itself, inline.
 *
 * @param key as in a module's `routes`; "" for a route without a path
 * @param timeoutMs as in `RouteSpec`
 */
export function ownFetchRoute(key: string, timeoutMs: number | undefined, handler: FetchHandler): BoundRoute {
  return {
    key,
    index: 0,
    kind: "fetch",
    run: "inline",
    timeoutMs,
    description: "",
    module: OWN_ROUTES.name,
    keyBytes: key.length,
    framing: "chunk",
    handler: handler as unknown as BoundRoute["handler"],
    generation: OWN_ROUTES,
    isUnavailable: false,
  };
}

type FetchHandler = (request: Request, context: RequestContext) => unknown;
