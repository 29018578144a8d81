/** Describes raw routes that take HTTP requests, since operators must see them. */
import type { RouteSpec } from "../route";

/** @returns words such as `"GET " takes HTTP requests`; "" if no route does */
export function takesHttpText(routes: readonly RouteSpec[]): string {
  const keys = routes.filter(({ takesHttp }) => takesHttp === true).map(({ key }) => JSON.stringify(key));
  return keys.length === 0 ? "" : `${keys.join(" and ")} take${keys.length === 1 ? "s" : ""} HTTP requests`;
}
