import { decodeSegment, encodeSegment, readSegment } from "./segment";

/** An HTTP route's path pattern, taken apart. `PathTable` says how patterns match. */
export interface Pattern {
  /** The same for all patterns that match the same paths: "/a/:x" and "/a/:y"; "/api" and "/api/". */
  readonly shape: string;
  /** A static segment in its canonical spelling; null: any one segment that is not empty. */
  readonly segments: readonly (string | null)[];
  /** The names of the null segments, in order. */
  readonly names: readonly string[];
  /**
   * The allowed rest behind the segments: "nothing"; a slash and "anything" (the final `*`); or both, for a "subtree".
   */
  readonly tail: "nothing" | "anything" | "subtree";
}

const NAME = /^:[A-Za-z0-9_-]+$/;
// No path holds a NUL, so these cannot be static segments.
const ANY_SEGMENT = "\0:";
const ANYTHING = "\0*";

/**
 * @param pattern  "/api", "/users/:id", "/files/*"; a static segment may be written percent-encoded; double slashes
 *   count as one
 * @returns null if no request could ever match, or the pattern is not supported: no leading slash, a `?` or `#`, a "."
 *   or ".." segment, a backslash, `*` before the end, a name other than letters, digits, `_` and `-`, the same name
 *   twice
 */
export function parsePattern(pattern: string): Pattern | null {
  let parsed = parsedPatterns.get(pattern);
  if (parsed !== undefined) return parsed;
  if (parsedPatterns.size >= MAX_PARSED) parsedPatterns.clear();
  parsed = parse(pattern);
  parsedPatterns.set(pattern, parsed);
  return parsed;
}

/** Each reload builds a table of all routes, most of which were in the one before. Only modules name patterns. */
const parsedPatterns = new Map<string, Pattern | null>();
const MAX_PARSED = 50_000;

function parse(pattern: string): Pattern | null {
  if (!/^\/[^?#]*$/.test(pattern)) return null;
  const written = pattern.slice(1).split("/");
  const hasTrailingSlash = written.length > 1 && written.at(-1) === "";
  const parts = written.filter((part) => part !== "");
  const hasStar = parts.at(-1) === "*" && !hasTrailingSlash;
  if (hasStar) parts.pop();
  const segments: (string | null)[] = [];
  const names: string[] = [];
  for (const part of parts) {
    const segment = part.startsWith(":") ? null : staticSegment(part);
    if (segment === undefined || (segment === null && (!NAME.test(part) || names.includes(part.slice(1))))) return null;
    segments.push(segment);
    if (segment === null) names.push(part.slice(1));
  }
  const tail = hasStar ? "anything" : names.length > 0 ? "nothing" : "subtree";
  if (tail === "nothing" && hasTrailingSlash) segments.push("");
  return { shape: shapeOf(segments, tail), segments, names, tail };
}

function shapeOf(segments: readonly (string | null)[], tail: Pattern["tail"]): string {
  const parts = segments.map((segment) => segment ?? ANY_SEGMENT);
  return `/${(tail === "anything" ? [...parts, ANYTHING] : parts).join("/")}`;
}

/** @returns undefined for a segment that no path can hold */
function staticSegment(part: string): string | undefined {
  // A lone "%" means itself: "/100%" is the path "/100%25".
  const segment = encodeSegment(decodeSegment(part) ?? part);
  const read = readSegment(segment);
  return part === "*" || read === null || read.isUnsafe ? undefined : segment;
}
