/** Options of `list` and `find` to ranges. Pure. */
import type { FindOptions, IndexValue, ListOptions } from "../contract";
import { StoreError } from "./error";
import { indexEntry, indexKey } from "./index-key";
import { mustBeKey } from "./names";
import type { IndexRange, KeyRange } from "./port";
import { AS_VALUES, type Form } from "./values";

const MAX_LIMIT = 1000;
const DEFAULT_LIMIT = 100;

export function keyRange(options: ListOptions = {}): KeyRange {
  const { prefix = "", after, limit, reverse = false } = options;
  return {
    prefix: mustBeKey(prefix),
    after: after === undefined ? null : mustBeKey(after),
    limit: limitOf(limit),
    reverse: reverse === true,
  };
}

export function indexRange(index: string, options: FindOptions = {}, form = AS_VALUES): IndexRange {
  if (typeof index !== "string" || index === "")
    throw new StoreError("INVALID_NAME", `${Bun.inspect(index)} is not a name of an index`);
  const { equals, from, to, after, limit, reverse = false } = options;
  if (equals !== undefined && (from !== undefined || to !== undefined))
    throw new StoreError("INVALID_VALUE", 'find: "equals" goes without "from" and "to"');
  return {
    index,
    from: bound(equals === undefined ? from : equals),
    to: bound(equals === undefined ? to : equals),
    after: after === undefined ? null : placeOf(after, index, form),
    limit: limitOf(limit),
    reverse: reverse === true,
  };
}

function bound(value: IndexValue | undefined): string | null {
  if (value === undefined) return null;
  if (value === null || ["boolean", "number", "string"].includes(typeof value)) return indexKey(value);
  throw new StoreError("INVALID_VALUE", `find: ${Bun.inspect(value, { depth: 0 })} is no value of an index`);
}

function placeOf(entry: NonNullable<FindOptions["after"]>, index: string, form: Form): IndexRange["after"] {
  const isEntry = typeof entry === "object" && entry !== null;
  const value = isEntry ? indexEntry(form === AS_VALUES ? entry.value : JSON.parse(entry.value), index) : null;
  if (value === null)
    throw new StoreError("INVALID_VALUE", `find: "after" is no entry that find("${index}") has returned`);
  return { value, key: mustBeKey(entry.key) };
}

function limitOf(limit: number | undefined): number {
  if (limit === undefined) return DEFAULT_LIMIT;
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= MAX_LIMIT) return limit;
  throw new StoreError("INVALID_VALUE", `"limit" is ${Bun.inspect(limit)}, and must be 1 to ${MAX_LIMIT}`);
}
