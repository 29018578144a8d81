/**
 * URLs that were routed before. Cutting the path out of the engine's URL, normalising it and looking it up costs a
 * tenth of a plain request.
 */
import type { BoundRoute } from "../../module/route";
import type { HttpMatch } from "../../router/paths";
import type { RouteTable } from "../../router/table";

const MAX_URLS = 1024;
/** In characters. Strangers' URLs must not fill the memory. */
const MAX_URL = 256;

/** The route of a URL. Only for routes without params. */
interface KnownUrl {
  readonly route: BoundRoute;
  readonly path: string;
}

const known = new Map<string, KnownUrl>();
/** The table that `known` is valid for; a reload brings another. */
let table: RouteTable<BoundRoute> | null = null;

/** @returns the route of GET for this URL, if it is remembered */
export function knownRoute(current: RouteTable<BoundRoute>, url: string): KnownUrl | undefined {
  return table === current ? known.get(url) : undefined;
}

/** Remembers the route of GET for this URL, unless it depends on more than the path, or has params. */
export function rememberRoute(
  current: RouteTable<BoundRoute>,
  url: string,
  path: string,
  match: HttpMatch<BoundRoute>,
): void {
  // Params that are not frozen were made for one request. URLs with a query seldom come again.
  if (!Object.isFrozen(match.params) || url.length > MAX_URL || url.includes("?")) return;
  if (table !== current || known.size >= MAX_URLS) known.clear();
  table = current;
  known.set(url, { route: match.value, path });
}
