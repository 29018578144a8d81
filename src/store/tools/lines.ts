/** Documents as lines of JSON, for `hrmr store export` and `import`. Pure. */
import { StoreError } from "../../module/store/error";
import { mustBeCollection, mustBeKey } from "../../module/store/names";
import type { Mutation, StoredEntry } from "../../module/store/port";

/** @returns a line without its end: {"collection":"scores","key":"ann","value":{...},"expiresAt":null} */
export function exportLine(collection: string, { key, text, expiresAt }: StoredEntry): string {
  // The value's text as it is: parsing would cost time, and could change numbers.
  return `{"collection":${JSON.stringify(collection)},"key":${JSON.stringify(key)},"value":${text},"expiresAt":${expiresAt}}`;
}

/** @throws StoreError INVALID_VALUE, INVALID_NAME, INVALID_KEY: it is no such line */
export function importedFrom(line: string): Mutation {
  let found: Record<string, unknown>;
  try {
    found = JSON.parse(line) as Record<string, unknown>;
  } catch (error) {
    throw new StoreError("INVALID_VALUE", `it is not JSON: ${(error as Error).message}`);
  }
  if (typeof found !== "object" || found === null || !Object.hasOwn(found, "value"))
    throw new StoreError("INVALID_VALUE", 'it is not an object with "collection", "key" and "value"');
  const { collection, key, value, expiresAt = null } = found;
  if (expiresAt !== null && typeof expiresAt !== "number")
    throw new StoreError("INVALID_VALUE", '"expiresAt" is neither null nor a number of milliseconds since 1970');
  return {
    kind: "set",
    collection: mustBeCollection(collection),
    key: mustBeKey(key),
    text: JSON.stringify(value),
    expiresAt,
    ifVersion: null,
  };
}
