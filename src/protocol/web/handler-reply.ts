/** Checks of a handler's reply, the same in all versions of HTTP: its type, and whether it counts as an error. */
import { countError } from "../../host/inline";
import { OWN_ID } from "../../module/own-routes";
import type { BoundRoute } from "../../module/route";
import type { Dispatch } from "../wire";

/**
 * Counts a handler's reply as an error if its status says so. A 503 of the server's own endpoints (/ready) is an
 * answer, not an error.
 */
export function countStatus(dispatch: Dispatch, route: BoundRoute, status: number, hasLeft = false): void {
  if (status < 500 || hasLeft || route.generation.id === OWN_ID) return;
  dispatch.counters.errors++;
  countError(route);
}

/** The error for a handler that did not return a Response. */
export function noResponse(route: BoundRoute, value: unknown): TypeError {
  const got = value === null ? "null" : typeof value;
  return new TypeError(
    `Module "${route.module}", route "${route.key}": fetch returned ${got}. It must return a Response, or a promise of one.`,
  );
}
