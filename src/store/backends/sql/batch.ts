/** Plans commits one behind the other, each upon those before it, for backends that write a batch as a whole. Pure. */
import type { Check, Commit, StoredChange, StoredDocument } from "../../../module/store/port";
import type { Committed } from "../../backend";
import { planCommit, type DocumentWrite, type Found } from "../../plan";
import { isInRange } from "../in-range";

/** What a batch does in all. */
interface PlannedBatch {
  /** One for each commit. */
  readonly committed: readonly Committed[];
  /** In order. A document may be among them several times. */
  readonly writes: readonly DocumentWrite[];
  /** In the order of their versions. */
  readonly changes: readonly StoredChange[];
  readonly lastVersion: number;
}

/** @param found the store before the batch */
export function planBatch(commits: readonly Commit[], found: Found): PlannedBatch {
  const pending = new Pending(found);
  const committed = commits.map((commit): Committed => {
    const plan = planCommit(commit, pending);
    if (!("changes" in plan)) return { result: plan.result, changes: [] };
    pending.take(plan.writes, plan.changes, plan.lastVersion);
    return { result: plan.result, changes: plan.changes };
  });
  return { committed, writes: pending.writes, changes: pending.changes, lastVersion: pending.lastVersion };
}

export interface DocumentName {
  readonly collection: string;
  readonly key: string;
}

/** The name of a document in a map. No name of a collection has a NUL. */
export function documentId(collection: string, key: string): string {
  return `${collection}\0${key}`;
}

/** The documents that commits read, each once. */
export function documentsOf(commits: readonly Commit[]): readonly DocumentName[] {
  const names = new Map<string, DocumentName>();
  const add = (collection: string, key: string): void => {
    const id = documentId(collection, key);
    if (!names.has(id)) names.set(id, { collection, key });
  };
  for (const { checks, mutations } of commits) {
    for (const check of checks) if (check.kind === "key") add(check.collection, check.key);
    for (const { collection, key } of mutations) add(collection, key);
  }
  return [...names.values()];
}

export interface DocumentRow extends DocumentName {
  readonly document: StoredDocument;
}

export interface EntryRow extends DocumentName {
  readonly index: string;
  readonly value: string;
}

/** What lies in the database behind a batch: each document and each entry of an index at most once. */
interface NetWrites {
  readonly documents: readonly DocumentRow[];
  /** Some may not be there. */
  readonly deleted: readonly DocumentName[];
  readonly entries: readonly EntryRow[];
  /** Some may not be there. */
  readonly deletedEntries: readonly EntryRow[];
}

/** @param writes in order */
export function netWrites(writes: readonly DocumentWrite[]): NetWrites {
  const documents = new Map<string, DocumentWrite>();
  const entries = new Map<string, EntryRow & { readonly isThere: boolean }>();
  for (const write of writes) {
    const { collection, key } = write;
    const id = documentId(collection, key);
    documents.set(id, write);
    const put = ({ index, value }: { index: string; value: string }, isThere: boolean): void => {
      entries.set(JSON.stringify([id, index, value]), { collection, key, index, value, isThere });
    };
    for (const entry of write.removed) put(entry, false);
    for (const entry of write.added) put(entry, true);
  }
  const last = [...documents.values()];
  const ends = [...entries.values()];
  return {
    documents: last.flatMap(({ collection, key, after }) =>
      after === null ? [] : [{ collection, key, document: after }],
    ),
    deleted: last.filter(({ after }) => after === null),
    entries: ends.filter(({ isThere }) => isThere),
    deletedEntries: ends.filter(({ isThere }) => !isThere),
  };
}

/** The store with the commits so far. */
class Pending implements Found {
  readonly writes: DocumentWrite[] = [];
  readonly changes: StoredChange[] = [];
  readonly now: number;
  readonly limits: Found["limits"];
  lastVersion: number;
  readonly #found: Found;
  readonly #documents = new Map<string, StoredDocument | null>();

  constructor(found: Found) {
    this.#found = found;
    this.now = found.now;
    this.limits = found.limits;
    this.lastVersion = found.lastVersion;
  }

  read(collection: string, key: string): StoredDocument | null {
    const written = this.#documents.get(documentId(collection, key));
    return written === undefined ? this.#found.read(collection, key) : written;
  }

  isUnchanged(check: Extract<Check, { kind: "range" }>): boolean {
    return (
      this.#found.isUnchanged(check) &&
      !this.changes.some((change) => change.version > check.at && isInRange(change, check))
    );
  }

  indexesOf(collection: string): readonly string[] {
    return this.#found.indexesOf(collection);
  }

  take(writes: readonly DocumentWrite[], changes: readonly StoredChange[], lastVersion: number): void {
    for (const write of writes) {
      this.writes.push(write);
      this.#documents.set(documentId(write.collection, write.key), write.after);
    }
    for (const change of changes) this.changes.push(change);
    this.lastVersion = lastVersion;
  }
}
