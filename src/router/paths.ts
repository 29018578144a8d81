import { NO_MATCH } from "./match";
import { parsePattern } from "./pattern";
import type { Pattern } from "./pattern";
import { decodeSegment, IS_PLAIN, readSegment } from "./segment";

const SLASH = 0x2f;
const DOT = 0x2e;

/** A path that is not served in this spelling. */
export class PathFault {
  /**
   * @param why "spelling": the canonical form of the path is served. The other reasons make a bad request in any
   *   spelling.
   * @param canonical  the canonical form for "spelling"; else ""
   */
  constructor(
    readonly why: "encoding" | "unsafe" | "spelling",
    readonly canonical = "",
  ) {}
}

const BAD_ENCODING = new PathFault("encoding");
const UNSAFE = new PathFault("unsafe");

/**
 * Reads the path of a request. All versions of HTTP read it here, and routes, middleware and handlers get the same
 * result.
 *
 * The result is still encoded: `PathTable` splits segments first and decodes them then, so that "%2F" belongs to its
 * segment (RFC 3986 section 2.2). `new URL()` does not change the result.
 *
 * @param path  without query and fragment, each character one byte as in the request line
 * @returns the path, with escapes in upper case (RFC 3986 section 6.2.2.1) and an escape for each byte that must have
 *   one; a PathFault "spelling" if it has empty segments, plain "." or ".." segments (".." of the root is the root), or
 *   escapes for unreserved characters (sections 6.2.2.2, 6.2.2.3); a PathFault "unsafe" if it has a backslash in any
 *   spelling, or "." or ".." as a segment that is escaped or stands beside "%2F"; a PathFault "encoding" if it lacks
 *   the leading slash, or has an invalid escape, a NUL or overlong UTF-8. Never throws.
 */
export function readPath(path: string): string | PathFault {
  if (isPlain(path)) return path;
  if (path.charCodeAt(0) !== SLASH) return BAD_ENCODING;
  const written = path.slice(1).split("/");
  const last = written.length - 1;
  const kept: string[] = [];
  let isCanonical = true;
  for (let at = 0; at <= last; at++) {
    const segment = written[at] ?? "";
    if (segment === "" || segment === "." || segment === "..") {
      if (segment === "..") kept.pop();
      // An empty segment behind the last slash is allowed.
      if (segment !== "" || at < last) isCanonical = false;
      continue;
    }
    const read = readSegment(segment);
    if (read === null) return BAD_ENCODING;
    if (read.isUnsafe) return UNSAFE;
    if (read.hadNeedlessEscape) isCanonical = false;
    kept.push(read.text);
  }
  // "/a/.", "/a/b/.." and "/a/" name a folder alike (RFC 3986 section 5.2.4).
  const isFolder = /(?:^|\/)\.{0,2}$/.test(path);
  const canonical = kept.length === 0 ? "/" : `/${kept.join("/")}${isFolder ? "/" : ""}`;
  return isCanonical ? canonical : new PathFault("spelling", canonical);
}

/** Whether the characters of a path alone prove that it is canonical. */
function isPlain(path: string): boolean {
  if (path.charCodeAt(0) !== SLASH) return false;
  let before = 0;
  for (let at = 0; at < path.length; at++) {
    const code = path.charCodeAt(at);
    if (code === SLASH ? before === SLASH : IS_PLAIN[code] !== 1) return false;
    if (code === DOT && before === SLASH && isDotSegment(path, at)) return false;
    before = code;
  }
  return true;
}

/** @param at  index of a dot behind a slash */
function isDotSegment(path: string, at: number): boolean {
  const end = path.charCodeAt(at + 1) === DOT ? at + 2 : at + 1;
  return end === path.length || path.charCodeAt(end) === SLASH;
}

/** A target's parts. `query` begins with "?" or is empty. */
interface TargetParts {
  readonly path: string;
  readonly query: string;
}

/** @param url absolute, as in a Request; its fragment is left out. @returns `origin`: scheme and authority */
export function splitUrl(url: string): TargetParts & { readonly origin: string } {
  const start = url.indexOf("/", url.indexOf("//") + 2);
  return start < 0
    ? { origin: url, path: "/", query: "" }
    : { origin: url.slice(0, start), ...splitTarget(url.slice(start)) };
}

/** @param target  in origin-form; a fragment is left out */
export function splitTarget(target: string): TargetParts {
  const fragment = target.indexOf("#");
  const end = fragment < 0 ? target.length : fragment;
  const query = target.indexOf("?");
  return query < 0 || query > end
    ? { path: target.slice(0, end), query: "" }
    : { path: target.slice(0, query), query: target.slice(query, end) };
}

/** One HTTP route. `method` null: every method. */
export interface PathEntry<T> {
  method: string | null;
  pattern: string;
  value: T;
  /** The pattern is no subtree: it matches the whole path only. Default false. */
  isWhole?: boolean;
}

/**
 * `params`: the values of the `:name` segments and, under "*", the rest; decoded. No prototype; an empty one is frozen
 * and shared.
 */
export interface HttpMatch<T> {
  readonly value: T;
  readonly params: Record<string, string>;
}

/**
 * The path has routes, but none for the method. `allow`: the value of a 405's Allow header (RFC 9110 section 10.2.1),
 * sorted.
 */
export interface MethodMismatch {
  readonly allow: string[];
}

/**
 * The reply to a request without a route: 404; 204 for OPTIONS of a path that has routes (RFC 9110 section 9.3.7); else
 * 405.
 *
 * @returns `allow`: the value of the Allow header, which 204 and 405 must have; "" for 404
 */
export function describeMismatch(
  method: string,
  mismatch: MethodMismatch | typeof NO_MATCH,
): { status: 204 | 404 | 405; text: string; allow: string } {
  if (mismatch === NO_MATCH) return { status: 404, text: "No module serves this path.", allow: "" };
  const allow = [...new Set([...mismatch.allow, "OPTIONS"])].sort().join(", ");
  if (method === "OPTIONS") return { status: 204, text: "", allow };
  return { status: 405, text: "No module serves this method here.", allow };
}

const NO_PARAMS: Record<string, string> = Object.freeze(Object.create(null) as Record<string, string>);

const MAX_CACHED = 1024;
/** In characters. Longer paths are not cached, so that strangers' paths cannot fill the memory. */
const MAX_CACHED_PATH = 256;

interface Leaf<T> {
  readonly value: T;
  readonly names: readonly string[];
}

/** The routes of one pattern, by method; null: every method. */
type Leaves<T> = Map<string | null, Leaf<T>>;

/** The tree's node behind a number of segments. `leaves` holds the patterns that end here, by what may follow. */
class PathNode<T> {
  readonly fixed = new Map<string, PathNode<T>>();
  any: PathNode<T> | null = null;
  readonly leaves: Partial<Record<Pattern["tail"], Leaves<T>>> = {};
}

/** A request on its way through the tree. */
interface Search {
  method: string;
  path: string;
  /** The values of the `:name` segments on the way to the current node. */
  readonly captured: string[];
  /** The methods of the patterns that fit the path; null: none so far. */
  allow: Set<string> | null;
}

/** Matching is synchronous, so that all requests can use the same. */
const SEARCH: Search = { method: "", path: "", captured: [], allow: null };

/** The position behind the last segment. */
const END = -1;

/**
 * HTTP routes by method and path.
 *
 * - A plain pattern is a subtree: "/api" and "/api/" match "/api" and "/api/…", never "/apiary". "/" matches
 *   everything.
 * - A pattern with `:name` segments (none of them empty) or a final `*` matches the whole path, its trailing slash
 *   included; `*` is the rest behind a slash and may be empty. Decoded it never begins with a slash, so that it cannot
 *   become an absolute path.
 * - Segments are compared in their canonical spelling, and decoded for `params`: "a%2Fb" is one segment, and "a/b" for
 *   a `:name`.
 * - The most specific wins, segment by segment from the left: static, then `:name`, then `*`, then a subtree that ends
 *   earlier.
 * - If the most specific pattern has another method, the next one with the right method wins. HEAD goes to a pattern's
 *   GET route if it has none of its own (RFC 9110 section 9.3.2); a route for the method goes before one for every
 *   method.
 */
export class PathTable<T> {
  readonly #root = new PathNode<T>();
  /** By method, then by path, so that no key has to be concatenated. Holds matches without params only. */
  readonly #cache = new Map<string, Map<string, HttpMatch<T>>>();
  #cachedCount = 0;

  /**
   * The first of two entries with the same method and shape holds. Throws a TypeError for a pattern that `parsePattern`
   * refuses.
   */
  static build<T>(entries: readonly PathEntry<T>[]): PathTable<T> {
    const table = new PathTable<T>();
    for (const entry of entries) table.#add(entry);
    return table;
  }

  #add(entry: PathEntry<T>): void {
    const pattern = parsePattern(entry.pattern);
    if (pattern === null)
      throw new TypeError(`"${entry.pattern}" is not an HTTP path pattern. Write "/path", "/path/:name" or "/path/*".`);
    let node = this.#root;
    for (const segment of pattern.segments) {
      let next: PathNode<T> | null | undefined = segment === null ? node.any : node.fixed.get(segment);
      if (!next) {
        next = new PathNode<T>();
        if (segment === null) node.any = next;
        else node.fixed.set(segment, next);
      }
      node = next;
    }
    const leaves = (node.leaves[entry.isWhole === true ? "nothing" : pattern.tail] ??= new Map());
    if (!leaves.has(entry.method)) leaves.set(entry.method, { value: entry.value, names: pattern.names });
  }

  /** @param path  as `readPath` returns it */
  match(method: string, path: string): HttpMatch<T> | MethodMismatch | typeof NO_MATCH {
    const cached = path.length <= MAX_CACHED_PATH ? this.#cache.get(method)?.get(path) : undefined;
    if (cached !== undefined) return cached;
    SEARCH.method = method;
    SEARCH.path = path;
    SEARCH.allow = null;
    const found = find(this.#root, 1);
    if (found === null) return mismatch(SEARCH.allow);
    if (found.params === NO_PARAMS && path.length <= MAX_CACHED_PATH) this.#remember(method, path, found);
    return found;
  }

  #remember(method: string, path: string, match: HttpMatch<T>): void {
    if (this.#cachedCount === MAX_CACHED) {
      this.#cache.clear();
      this.#cachedCount = 0;
    }
    let paths = this.#cache.get(method);
    if (paths === undefined) this.#cache.set(method, (paths = new Map()));
    // A path is often a slice of all bytes of one read, and keeps them in memory. Remember a copy.
    paths.set(path.split("").join(""), Object.freeze(match));
    this.#cachedCount++;
  }
}

/** @param allow  see `Search` */
function mismatch(allow: Set<string> | null): MethodMismatch | typeof NO_MATCH {
  return allow === null ? NO_MATCH : { allow: [...allow].sort() };
}

/**
 * Visits each node at most once: no request costs more than the table's size.
 *
 * @param at  where the next segment of the path begins; END behind the last one
 */
function find<T>(node: PathNode<T>, at: number): HttpMatch<T> | null {
  const { nothing, anything, subtree } = node.leaves;
  if (at === END) return takeLeaf(nothing, at) ?? takeLeaf(subtree, at);
  const { path, captured } = SEARCH;
  const slash = path.indexOf("/", at);
  const segment = slash < 0 ? path.slice(at) : path.slice(at, slash);
  const behind = slash < 0 ? END : slash + 1;
  const fixed = node.fixed.get(segment);
  let found = fixed === undefined ? null : find(fixed, behind);
  if (found === null && node.any !== null && segment !== "") {
    captured.push(segment);
    found = find(node.any, behind);
    captured.pop();
  }
  if (found === null && !segment.startsWith("%2F")) found = takeLeaf(anything, at, true);
  return found ?? takeLeaf(subtree, at);
}

function takeLeaf<T>(leaves: Leaves<T> | undefined, at: number, hasRest = false): HttpMatch<T> | null {
  if (leaves === undefined) return null;
  const { method } = SEARCH;
  const leaf = leaves.get(method) ?? (method === "HEAD" ? leaves.get("GET") : undefined) ?? leaves.get(null);
  if (leaf !== undefined) return { value: leaf.value, params: paramsOf(leaf.names, at, hasRest) };
  for (const other of leaves.keys()) {
    if (other === null) continue;
    SEARCH.allow ??= new Set();
    SEARCH.allow.add(other);
    if (other === "GET") SEARCH.allow.add("HEAD");
  }
  return null;
}

function paramsOf(names: readonly string[], at: number, hasRest: boolean): Record<string, string> {
  if (names.length === 0 && !hasRest) return NO_PARAMS;
  // Without a prototype "__proto__" is a name like any other.
  const params = Object.create(null) as Record<string, string>;
  for (let index = 0; index < names.length; index++)
    params[names[index] as string] = decoded(SEARCH.captured[index] ?? "");
  if (hasRest) params["*"] = SEARCH.path.slice(at).split("/").map(decoded).join("/");
  return params;
}

/** `readPath` refuses segments that cannot be decoded. */
function decoded(segment: string): string {
  return decodeSegment(segment) ?? segment;
}
