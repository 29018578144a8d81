/** What a handler must return, and which of its replies count as errors: the same in all versions of HTTP. */
import { countError } from "../../host/inline";
import { OWN_ID } from "../../module/own-routes";
import type { BoundRoute } from "../../module/route";
import type { Dispatch } from "../wire";

/**
 * Counts a handler's reply as an error if its status says so. A 503 of the server's own endpoints (/ready) is an
 * answer, and no error.
 */
export function countStatus(dispatch: Dispatch, route: BoundRoute, status: number, hasLeft = false): void {
  if (status < 500 || hasLeft || route.generation.id === OWN_ID) return;
  dispatch.counters.errors++;
  countError(route);
}

/** The error for a handler that returned something else than a Response. */
export function noResponse(route: BoundRoute, value: unknown): TypeError {
  const got = value === null ? "null" : typeof value;
  return new TypeError(
    `Module "${route.module}", route "${route.key}": fetch returned ${got}. It must return a Response, or a promise of one.`,
  );
}
