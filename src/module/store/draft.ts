/** The writes of a transaction that its own reads see. Pure. */
import { compareKeys } from "./names";
import type { Mutation, NewExpiry, StoredEntry } from "./port";

/** A document as a transaction has written it. */
export interface Draft {
  /** null: it is deleted. */
  readonly text: string | null;
  readonly expiresAt: NewExpiry;
}

/** The version of a document that is not committed yet. */
const UNKNOWN_VERSION = 0;

/** @param mutations  gets the writes of one collection */
export function addMutations(mutations: Mutation[], collection: string, drafts: ReadonlyMap<string, Draft>): void {
  for (const [key, { text, expiresAt }] of drafts)
    mutations.push(
      text === null
        ? { kind: "delete", collection, key, ifVersion: null }
        : { kind: "set", collection, key, ifVersion: null, text, expiresAt },
    );
}

/** @param now by the store's clock, about: in milliseconds since 1970 */
export function entryOfDraft(key: string, { text, expiresAt }: Draft, now: number): StoredEntry | null {
  if (text === null) return null;
  const moment = expiresAt === "keep" || expiresAt === null || typeof expiresAt === "number" ? expiresAt : null;
  const at = moment === "keep" ? null : moment;
  const until = typeof expiresAt === "object" && expiresAt !== null ? now + expiresAt.inMs : at;
  return { key, text, version: UNKNOWN_VERSION, expiresAt: until };
}

/** Part of a collection as a transaction sees it. */
interface Merge {
  /** As the store has them, in the order of reading. */
  readonly entries: readonly StoredEntry[];
  readonly drafts: ReadonlyMap<string, Draft>;
  /** Whether a document that the transaction wrote belongs to the page. */
  readonly isIn: (entry: StoredEntry) => boolean;
  /** In the order of reading. */
  readonly compare: (a: StoredEntry, b: StoredEntry) => number;
  /** More of the store's entries lie behind `entries`. */
  readonly hasMore: boolean;
  readonly limit: number;
}

/** @returns the page with the transaction's own writes in it */
export function mergedEntries({ entries, drafts, isIn, compare, hasMore, limit }: Merge): StoredEntry[] {
  const last = entries.at(-1);
  const now = Date.now();
  const own = [...drafts].flatMap(([key, draft]) => {
    const entry = entryOfDraft(key, draft, now);
    if (entry === null || !isIn(entry)) return [];
    // Entries of the store that were not read come before it.
    return hasMore && last !== undefined && compare(entry, last) > 0 ? [] : [entry];
  });
  const kept = entries.filter(({ key }) => !drafts.has(key));
  return [...kept, ...own].sort(compare).slice(0, limit);
}

export function byKey(reverse: boolean): (a: StoredEntry, b: StoredEntry) => number {
  return reverse ? (a, b) => compareKeys(b.key, a.key) : (a, b) => compareKeys(a.key, b.key);
}
