/** The documents of a JSON store in memory, with their indexes and the log of changes. */
import { compareKeys } from "../../../module/store/names";
import type {
  Check,
  IndexRange,
  KeyRange,
  Page,
  StoredChange,
  StoredDocument,
  StoredEntry,
} from "../../../module/store/port";
import { entriesOf, liveAt, type DocumentWrite } from "../../plan";
import { isInRange } from "../in-range";
import { PageBuilder } from "../page";
import type { Read } from "./lines";
import { firstWhere, SortedList } from "./sorted";

/** Documents that one call of `buildIndex` looks at. */
const BUILD_STEP = 2000;

interface Entry {
  readonly value: string;
  readonly key: string;
}

interface Index {
  readonly entries: SortedList<Entry>;
  /** The last key that has been looked at. */
  builtTo: string | null;
  isComplete: boolean;
}

interface Collection {
  readonly documents: Map<string, StoredDocument>;
  readonly keys: SortedList<string>;
  readonly indexes: Map<string, Index>;
}

interface Ending {
  readonly at: number;
  readonly collection: string;
  readonly key: string;
}

export class Documents {
  version: number;
  readonly #collections = new Map<string, Collection>();
  readonly #endings: SortedList<Ending>;
  /** In the order of their versions. */
  #changes: StoredChange[] = [];
  /** Changes up to it are not kept. */
  #forgottenTo: number;

  constructor({ version, collections, changes, forgottenTo }: Read) {
    this.version = version;
    this.#changes = [...changes];
    this.#forgottenTo = forgottenTo;
    const endings: Ending[] = [];
    for (const [collection, documents] of collections) {
      const keys = [...documents.keys()];
      this.#collections.set(collection, { documents, keys: new SortedList(compareKeys, keys), indexes: new Map() });
      for (const [key, { expiresAt }] of documents)
        if (expiresAt !== null) endings.push({ at: expiresAt, collection, key });
    }
    this.#endings = new SortedList(compareEndings, endings);
  }

  read(collection: string, key: string): StoredDocument | null {
    return this.#collections.get(collection)?.documents.get(key) ?? null;
  }

  list(name: string, range: KeyRange, now: number): Page {
    const collection = this.#collections.get(name);
    const page = new PageBuilder(range.limit);
    if (collection === undefined) return { entries: page.entries, at: this.version };
    for (const key of keysOf(collection.keys, range)) {
      if (!key.startsWith(range.prefix) || page.isFull) break;
      page.add(key, liveAt(collection.documents.get(key) ?? null, now));
    }
    return { entries: page.entries, at: this.version };
  }

  find(name: string, range: IndexRange, now: number): Page {
    const collection = this.#collections.get(name);
    const index = collection?.indexes.get(range.index);
    const page = new PageBuilder(range.limit);
    if (collection === undefined || index === undefined) return { entries: page.entries, at: this.version };
    for (const { value, key } of entriesIn(index.entries, range)) {
      if (isOutside(value, range) || page.isFull) break;
      page.add(key, liveAt(collection.documents.get(key) ?? null, now));
    }
    return { entries: page.entries, at: this.version };
  }

  isUnchanged(check: Extract<Check, { kind: "range" }>): boolean {
    if (check.at >= this.version) return true;
    if (check.at < this.#forgottenTo) return false;
    for (let at = this.#firstChangeAfter(check.at); at < this.#changes.length; at++)
      if (isInRange(this.#changes[at] as StoredChange, check)) return false;
    return true;
  }

  changesAfter(version: number, limit: number): readonly StoredChange[] | null {
    if (version < this.#forgottenTo) return null;
    const first = this.#firstChangeAfter(version);
    return this.#changes.slice(first, first + limit);
  }

  get keptChanges(): number {
    return this.#changes.length;
  }

  expired(limit: number, now: number): (StoredEntry & { readonly collection: string })[] {
    const found: (StoredEntry & { readonly collection: string })[] = [];
    for (const { at, collection, key } of this.#endings.from(() => true)) {
      if (at > now || found.length === limit) break;
      const document = this.read(collection, key);
      if (document !== null) found.push({ collection, key, ...document });
    }
    return found;
  }

  collections(): { name: string; documents: number }[] {
    return [...this.#collections]
      .filter(([, { documents }]) => documents.size > 0)
      .map(([name, { documents }]) => ({ name, documents: documents.size }))
      .sort((a, b) => compareKeys(a.name, b.name));
  }

  /** All documents, by collection and key. */
  *all(): Generator<StoredEntry & { readonly collection: string }, void, undefined> {
    for (const { name } of this.collections()) {
      const { keys, documents } = this.#collections.get(name) as Collection;
      for (const key of keys.from(() => true))
        yield { collection: name, key, ...(documents.get(key) as StoredDocument) };
    }
  }

  /** Indexes that are complete, or are being built: commits keep their entries. */
  indexesOf(collection: string): readonly string[] {
    return [...(this.#collections.get(collection)?.indexes.keys() ?? [])];
  }

  indexes(): { collection: string; index: string }[] {
    return [...this.#collections].flatMap(([collection, { indexes }]) =>
      [...indexes.keys()].map((index) => ({ collection, index })),
    );
  }

  /** @returns whether it is complete */
  buildIndex(name: string, index: string): boolean {
    const { keys, documents, indexes } = this.#collection(name);
    const known = indexes.get(index);
    const built = known ?? { entries: new SortedList(compareEntries), builtTo: null, isComplete: false };
    if (built.isComplete) return true;
    indexes.set(index, built);
    let looked = 0;
    const { builtTo } = built;
    for (const key of keys.from((other) => builtTo === null || compareKeys(other, builtTo) > 0)) {
      for (const { value } of entriesOf(documents.get(key) ?? null, [index])) built.entries.add({ value, key });
      built.builtTo = key;
      if (++looked === BUILD_STEP) return false;
    }
    built.isComplete = true;
    return true;
  }

  dropIndex(name: string, index: string): void {
    this.#collections.get(name)?.indexes.delete(index);
  }

  /** Does what a commit has planned. @returns undoes it, if nothing was applied after it */
  apply(writes: readonly DocumentWrite[], changes: readonly StoredChange[], version: number): () => void {
    const before = { version: this.version, changes: this.#changes.length };
    const undone = writes.map((write) => inverse(write, this.read(write.collection, write.key))).reverse();
    for (const write of writes) this.#write(write);
    for (const change of changes) this.#changes.push(change);
    this.version = version;
    return () => {
      for (const write of undone) this.#write(write);
      this.#changes.length = before.changes;
      this.version = before.version;
    };
  }

  /** Forgets the oldest changes. @param kept how many are kept at least */
  forget(kept: number): void {
    // Moving the rest costs time, so it is done for many at once.
    if (this.#changes.length <= kept * 1.25 + 100) return;
    const forgotten = this.#changes.length - kept;
    this.#forgottenTo = (this.#changes[forgotten - 1] as StoredChange).version;
    this.#changes = this.#changes.slice(forgotten);
  }

  #write({ collection: name, key, after, removed, added }: DocumentWrite): void {
    const collection = this.#collection(name);
    const before = collection.documents.get(key);
    if (before?.expiresAt != null) this.#endings.remove({ at: before.expiresAt, collection: name, key });
    for (const { index, value } of removed) collection.indexes.get(index)?.entries.remove({ value, key });
    if (after === null) {
      collection.documents.delete(key);
      collection.keys.remove(key);
      return;
    }
    collection.documents.set(key, after);
    if (before === undefined) collection.keys.add(key);
    if (after.expiresAt !== null) this.#endings.add({ at: after.expiresAt, collection: name, key });
    for (const { index, value } of added) collection.indexes.get(index)?.entries.add({ value, key });
  }

  #collection(name: string): Collection {
    const known = this.#collections.get(name);
    if (known !== undefined) return known;
    const made: Collection = { documents: new Map(), keys: new SortedList(compareKeys), indexes: new Map() };
    this.#collections.set(name, made);
    return made;
  }

  #firstChangeAfter(version: number): number {
    return firstWhere(this.#changes.length, (at) => (this.#changes[at] as StoredChange).version > version);
  }
}

function inverse(write: DocumentWrite, before: StoredDocument | null): DocumentWrite {
  return { ...write, after: before, isThere: write.after !== null, removed: write.added, added: write.removed };
}

function keysOf(keys: SortedList<string>, { prefix, after, reverse }: KeyRange): Iterable<string> {
  if (reverse)
    return keys.before(
      (key) =>
        (after !== null && compareKeys(key, after) >= 0) || (compareKeys(key, prefix) > 0 && !key.startsWith(prefix)),
    );
  return keys.from((key) => compareKeys(key, prefix) >= 0 && (after === null || compareKeys(key, after) > 0));
}

function entriesIn(entries: SortedList<Entry>, { from, to, after, reverse }: IndexRange): Iterable<Entry> {
  if (reverse)
    return entries.before(
      (entry) =>
        (to !== null && compareKeys(entry.value, to) > 0) || (after !== null && compareEntries(entry, after) >= 0),
    );
  return entries.from(
    (entry) =>
      (from === null || compareKeys(entry.value, from) >= 0) && (after === null || compareEntries(entry, after) > 0),
  );
}

/** Whether a value stands beyond the end of the range, in the order of reading. */
function isOutside(value: string, { from, to, reverse }: IndexRange): boolean {
  if (reverse) return from !== null && compareKeys(value, from) < 0;
  return to !== null && compareKeys(value, to) > 0;
}

function compareEntries(a: Entry, b: Entry): number {
  return compareKeys(a.value, b.value) || compareKeys(a.key, b.key);
}

function compareEndings(a: Ending, b: Ending): number {
  return a.at - b.at || compareKeys(a.collection, b.collection) || compareKeys(a.key, b.key);
}
