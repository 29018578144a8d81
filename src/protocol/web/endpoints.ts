/**
 * The server's own HTTP endpoints, as the protocols find them: /health, /ready, /stats and /metrics stand before the
 * modules.
 */
import type { BoundRoute } from "../../module/route";
import type { Endpoint } from "../routing";
import type { Wire } from "../wire";

export const ENDPOINT_PATHS = ["/health", "/ready", "/stats", "/metrics"] as const;
export type EndpointPath = (typeof ENDPOINT_PATHS)[number];

// Nearly all other paths are told by their length, for next to nothing.
const SHORTEST = Math.min(...ENDPOINT_PATHS.map((path) => path.length));
const LONGEST = Math.max(...ENDPOINT_PATHS.map((path) => path.length));

/**
 * @param path as `readPath` returns it
 * @returns null if there is no endpoint. Ask its `isFor` whether this request may see it.
 */
export function endpointAt(wire: Wire, method: string, path: string): Endpoint | null {
  if (path.length > LONGEST || path.length < SHORTEST) return null;
  if (method !== "GET" && method !== "HEAD") return null;
  return wire.dispatch.routing.endpoints.get(path) ?? null;
}

/** The server's own endpoints, over all its reloads. */
export interface OwnEndpoints {
  /** @returns those whose path none of these routes claims as its own key */
  beside(routes: readonly BoundRoute[]): ReadonlyMap<string, Endpoint>;
  /** Tells, once each, which paths the modules answer by these routes, which serve from now on. */
  noteClaims(routes: readonly BoundRoute[]): void;
}
