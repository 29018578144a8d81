/** What is said of raw routes that take HTTP's bytes: an author must mean it, and an operator must see it. */
import type { RouteSpec } from "./route";

/** @returns a few words, such as `"GET " takes HTTP requests`, or "" where no route does */
export function takesHttpText(routes: readonly RouteSpec[]): string {
  const keys = routes.filter(({ takesHttp }) => takesHttp === true).map(({ key }) => JSON.stringify(key));
  return keys.length === 0 ? "" : `${keys.join(" and ")} take${keys.length === 1 ? "s" : ""} HTTP requests`;
}
