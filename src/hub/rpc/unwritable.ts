/** Finds the part of a value that cannot be written as JSON. Pure. */

/** @returns words such as `the BigInt at "rows.0.id"`; null: none was found */
export function unwritablePart(value: unknown): string | null {
  return findIn(value, [], new Set());
}

/** A value that is nested deeper is looked at no further. */
const MAX_LEVELS = 200;

function findIn(value: unknown, path: readonly string[], above: Set<object>): string | null {
  if (typeof value === "bigint") return `a BigInt${placeOf(path)}`;
  if (typeof value !== "object" || value === null || path.length > MAX_LEVELS) return null;
  if (above.has(value)) return `a cycle${placeOf(path)}`;
  above.add(value);
  for (const [key, part] of Object.entries(value)) {
    const found = findIn(part, [...path, key], above);
    if (found !== null) return found;
  }
  above.delete(value);
  return null;
}

function placeOf(path: readonly string[]): string {
  return path.length === 0 ? "" : ` at ${JSON.stringify(path.join("."))}`;
}
