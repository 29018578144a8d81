import { NO_MATCH } from "./match";
import { parsePattern } from "./pattern";
import type { Pattern } from "./pattern";

const SLASH = 0x2f;
const PERCENT = 0x25;
const DOT = 0x2e;
const HASH = 0x23;
const QUESTION = 0x3f;

/** 1 for each character that a plain path may hold. */
const IS_PLAIN = new Uint8Array(256);
for (const char of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-~/.") IS_PLAIN[char.charCodeAt(0)] = 1;

const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * The path of a request target as routes are chosen by: no query, no fragment, percent-decoded once, no double slashes, no "." and ".."
 * segments (".." of the root is the root), a trailing slash kept. Decoding comes first, so "%2e%2e" and "%2F" are what they decode to;
 * then slashes are joined, then dot segments resolved: "/a//../b" is "/b".
 *
 * @param target  an origin-form target (RFC 9112 section 3.2.1), each character one byte as in the request line
 * @returns null (a bad request) if it has no leading slash, an invalid percent sequence, a NUL, or bytes that are not UTF-8
 */
export function normalisePath(target: string): string | null {
  const end = plainPathEnd(target);
  if (end === target.length) return target;
  if (end > 0) return target.slice(0, end);
  const bytes = target.charCodeAt(0) === SLASH ? decodePercent(target) : null;
  if (bytes === null) return null;
  try {
    return resolveSegments(utf8.decode(bytes));
  } catch {
    return null;
  }
}

/** @returns where the path ends (at the query, the fragment or the target's end); -1 if the path needs more than cutting there */
function plainPathEnd(target: string): number {
  if (target.charCodeAt(0) !== SLASH) return -1;
  let before = 0;
  for (let at = 0; at < target.length; at++) {
    const code = target.charCodeAt(at);
    if (code === QUESTION || code === HASH) return at;
    if (IS_PLAIN[code] !== 1 || (before === SLASH && (code === SLASH || code === DOT))) return -1;
    before = code;
  }
  return target.length;
}

function decodePercent(target: string): Uint8Array | null {
  const bytes = new Uint8Array(target.length);
  let count = 0;
  for (let at = 0; at < target.length; at++) {
    let code = target.charCodeAt(at);
    if (code === QUESTION || code === HASH) break;
    if (code === PERCENT) {
      const high = hexDigit(target.charCodeAt(at + 1));
      const low = hexDigit(target.charCodeAt(at + 2));
      if (high < 0 || low < 0) return null;
      code = high * 16 + low;
      at += 2;
    }
    if (code === 0 || code > 0xff) return null;
    bytes[count++] = code;
  }
  return bytes.subarray(0, count);
}

/** @returns -1 for what is no hexadecimal digit, NaN included */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}

function resolveSegments(path: string): string {
  const written = path.split("/");
  const kept: string[] = [];
  for (const segment of written) {
    if (segment === "..") kept.pop();
    else if (segment !== "" && segment !== ".") kept.push(segment);
  }
  // "/a/.", "/a/b/.." and "/a/" name a folder alike (RFC 3986 section 5.2.4).
  const last = written.at(-1) ?? "";
  const isFolder = last === "" || last === "." || last === "..";
  return kept.length === 0 ? "/" : `/${kept.join("/")}${isFolder ? "/" : ""}`;
}

/** One HTTP route. `method` null: every method. */
export interface PathEntry<T> {
  method: string | null;
  pattern: string;
  value: T;
}

/** `params`: what the `:name` segments matched and, under "*", the rest. Without a prototype; frozen and shared where it is empty. */
export interface HttpMatch<T> {
  readonly value: T;
  readonly params: Record<string, string>;
}

/** There are routes for the path, none for the method: the value of a 405's Allow header (RFC 9110 section 10.2.1), sorted. */
export interface MethodMismatch {
  readonly allow: string[];
}

/**
 * What a request gets that no route takes: 404; 204 for OPTIONS of a path that has routes (RFC 9110 section 9.3.7); else 405.
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
/** In characters. Longer paths are matched anew each time, so that strangers' paths cannot fill the memory. */
const MAX_CACHED_PATH = 256;

interface Leaf<T> {
  readonly value: T;
  readonly names: readonly string[];
}

/** The routes of one pattern, by method; null: every method. */
type Leaves<T> = Map<string | null, Leaf<T>>;

/** Stands behind a number of segments; `leaves` holds the patterns that end there, by what may follow. */
class PathNode<T> {
  readonly fixed = new Map<string, PathNode<T>>();
  any: PathNode<T> | null = null;
  readonly leaves: Partial<Record<Pattern["tail"], Leaves<T>>> = {};
}

/** A request on its way through the tree. */
interface Search {
  readonly method: string;
  readonly segments: readonly string[];
  /** What the `:name` segments on the way to the current node matched. */
  readonly captured: string[];
  /** The methods of the patterns that fit but for the method. */
  readonly allow: Set<string>;
}

/**
 * HTTP routes by method and path.
 *
 * - A plain pattern is a subtree: "/api" and "/api/" match "/api" and "/api/…", never "/apiary". "/" matches everything.
 * - A pattern with `:name` segments (none of them empty) or a final `*` matches the whole path, its trailing slash included; `*` is
 *   the rest behind a slash and may be empty.
 * - The most specific wins, segment by segment from the left: static, then `:name`, then `*`, then a subtree that ends earlier.
 * - Where that one has another method, the next specific with the right method wins. HEAD goes to a pattern's GET route if it has none
 *   of its own (RFC 9110 section 9.3.2); a route for the method goes before one for every method.
 */
export class PathTable<T> {
  readonly #root = new PathNode<T>();
  /** By method, then by path: that asks for no key to be put together. Holds matches without params only. */
  readonly #cache = new Map<string, Map<string, HttpMatch<T>>>();
  #cachedCount = 0;

  /** The first of two entries with the same method and shape holds. Throws a TypeError for a pattern that `parsePattern` refuses. */
  static build<T>(entries: readonly PathEntry<T>[]): PathTable<T> {
    const table = new PathTable<T>();
    for (const entry of entries) table.#add(entry);
    return table;
  }

  #add(entry: PathEntry<T>): void {
    const pattern = parsePattern(entry.pattern);
    if (pattern === null) throw new TypeError(`"${entry.pattern}" is not an HTTP path pattern. Write "/path", "/path/:name" or "/path/*".`);
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
    const leaves = (node.leaves[pattern.tail] ??= new Map());
    if (!leaves.has(entry.method)) leaves.set(entry.method, { value: entry.value, names: pattern.names });
  }

  /** @param path  as `normalisePath` returns it */
  match(method: string, path: string): HttpMatch<T> | MethodMismatch | typeof NO_MATCH {
    const cached = path.length <= MAX_CACHED_PATH ? this.#cache.get(method)?.get(path) : undefined;
    if (cached !== undefined) return cached;
    const search: Search = { method, segments: path.slice(1).split("/"), captured: [], allow: new Set() };
    const found = find(this.#root, 0, search);
    if (found === null) return search.allow.size === 0 ? NO_MATCH : { allow: [...search.allow].sort() };
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
    // A path is often a slice of all that one read delivered, and would keep that alive: remember a copy.
    paths.set(path.split("").join(""), Object.freeze(match));
    this.#cachedCount++;
  }
}

/** Each node is visited at most once, so a request costs at most the table's size, however it is made. */
function find<T>(node: PathNode<T>, depth: number, search: Search): HttpMatch<T> | null {
  const segment = search.segments[depth];
  const { nothing, anything, subtree } = node.leaves;
  if (segment === undefined) return takeLeaf(nothing, depth, search) ?? takeLeaf(subtree, depth, search);
  const fixed = node.fixed.get(segment);
  let found = fixed === undefined ? null : find(fixed, depth + 1, search);
  if (found === null && node.any !== null && segment !== "") {
    search.captured.push(segment);
    found = find(node.any, depth + 1, search);
    search.captured.pop();
  }
  return found ?? takeLeaf(anything, depth, search, true) ?? takeLeaf(subtree, depth, search);
}

function takeLeaf<T>(leaves: Leaves<T> | undefined, depth: number, search: Search, hasRest = false): HttpMatch<T> | null {
  if (leaves === undefined) return null;
  const leaf = leaves.get(search.method) ?? (search.method === "HEAD" ? leaves.get("GET") : undefined) ?? leaves.get(null);
  if (leaf !== undefined) return { value: leaf.value, params: paramsOf(leaf, depth, search, hasRest) };
  for (const method of leaves.keys()) {
    if (method !== null) search.allow.add(method);
    if (method === "GET") search.allow.add("HEAD");
  }
  return null;
}

function paramsOf<T>(leaf: Leaf<T>, depth: number, search: Search, hasRest: boolean): Record<string, string> {
  if (leaf.names.length === 0 && !hasRest) return NO_PARAMS;
  // Without a prototype "__proto__" is a name like any other.
  const params = Object.create(null) as Record<string, string>;
  leaf.names.forEach((name, index) => (params[name] = search.captured[index] ?? ""));
  if (hasRest) params["*"] = search.segments.slice(depth).join("/");
  return params;
}
