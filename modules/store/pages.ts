/** Pages of a collection, in the order of its keys or of an index, for clients. */
import type { Collection, FindOptions, StoreEntry } from "hrmr";
import { cursorAt, entryAt, indexedValue } from "./cursor";

export interface Page {
  /** Their values are JSON texts. */
  readonly entries: readonly StoreEntry<string>[];
  /** For `after` of the next page. null: there are no more. */
  readonly next: string | null;
}

interface Part {
  readonly after?: string | undefined;
  readonly limit?: number;
  readonly reverse?: boolean;
}

export async function pageByKeys(
  collection: Collection<string>,
  { after, ...range }: Part & { readonly prefix?: string },
): Promise<Page> {
  const entries = await collection.list(after === undefined ? range : { ...range, after });
  const last = entries.at(-1)?.key;
  // A page may be shorter than its limit: it also ends behind 4 MB of values.
  const hasMore = last !== undefined && (await collection.list({ ...range, after: last, limit: 1 })).length > 0;
  return { entries, next: hasMore ? last : null };
}

export async function pageByIndex(
  collection: Collection<string>,
  index: string,
  { after, ...range }: Part & Pick<FindOptions, "equals" | "from" | "to">,
): Promise<Page> {
  const entries = await collection.find(
    index,
    after === undefined ? range : { ...range, after: entryAt(index, after) },
  );
  const last = entries.at(-1);
  const hasMore = last !== undefined && (await collection.find(index, { ...range, after: last, limit: 1 })).length > 0;
  return { entries, next: hasMore ? cursorAt(indexedValue(last.value, index), last.key) : null };
}
