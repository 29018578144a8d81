/** Replies that count as errors, in the same way for all versions of HTTP. */
import type { BoundRoute } from "../module/route";
import type { Dispatch } from "./wire";

/** Of the server's own routes (`RouteOwner.id`). */
const BUILT_IN_ID = 0;

/**
 * Counts a handler's reply as an error if its status says so. A 503 of the server's own endpoints (/ready) is an
 * answer, and no error.
 */
export function countStatus(dispatch: Dispatch, { generation }: BoundRoute, status: number, hasLeft = false): void {
  if (status < 500 || hasLeft || generation.id === BUILT_IN_ID) return;
  dispatch.counters.errors++;
  generation.figures.fail();
}
