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

type Entry = StoreEntry<string>;

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;
/** A page of the store ends behind 4 MB of values, and a letter has at most 3 bytes. In letters. */
const SURELY_WHOLE = 1_300_000;

export function pageByKeys(
  collection: Collection<string>,
  { after, limit = DEFAULT_LIMIT, ...range }: Part & { readonly prefix?: string },
): Promise<Page> {
  return pageOf(limit, {
    read: (most, last) => {
      const from = last?.key ?? after;
      return collection.list({ ...range, limit: most, ...(from === undefined ? null : { after: from }) });
    },
    cursorOf: ({ key }) => key,
  });
}

export function pageByIndex(
  collection: Collection<string>,
  index: string,
  { after, limit = DEFAULT_LIMIT, ...range }: Part & Pick<FindOptions, "equals" | "from" | "to">,
): Promise<Page> {
  const first = after === undefined ? null : entryAt(index, after);
  return pageOf(limit, {
    read: (most, last) => {
      const from = last ?? first;
      return collection.find(index, { ...range, limit: most, ...(from === null ? null : { after: from }) });
    },
    cursorOf: ({ value, key }) => cursorAt(indexedValue(value, index), key),
  });
}

interface Source {
  /** @param last the entry behind which it reads. null: where the page begins */
  readonly read: (limit: number, last: Entry | null) => Promise<Entry[]>;
  readonly cursorOf: (last: Entry) => string;
}

/** Reads one entry more than asked for, which tells whether there are more. */
async function pageOf(limit: number, { read, cursorOf }: Source): Promise<Page> {
  const found = await read(Math.min(limit + 1, MAX_LIMIT), null);
  const entries = found.slice(0, limit);
  const last = entries.at(-1);
  if (last === undefined) return { entries, next: null };
  const hasMore = found.length > limit || (mayHaveMore(found, limit) && (await read(1, last)).length > 0);
  return { entries, next: hasMore ? cursorOf(last) : null };
}

function mayHaveMore(found: readonly Entry[], limit: number): boolean {
  if (found.length >= Math.min(limit + 1, MAX_LIMIT)) return true;
  return found.reduce((letters, { value }) => letters + value.length, 0) > SURELY_WHOLE;
}
