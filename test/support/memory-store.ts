/** A store in memory, with the semantics of `planCommit`, for tests of what lies between modules and the engine. */
import { StoreError } from "../../src/module/store/error";
import type {
  Awaitable,
  Commit,
  CommitResult,
  IndexRange,
  KeyRange,
  Page,
  SqlStatement,
  StoredChange,
  StoredDocument,
  StoredEntry,
  StorePort,
  WatchSink,
  StoreVersion,
  WatchWish,
} from "../../src/module/store/port";
import { planCommit } from "../../src/store/plan";

export class MemoryStore implements StorePort {
  readonly documents = new Map<string, StoredDocument>();
  readonly changes: StoredChange[] = [];
  readonly commits: Commit[] = [];
  /** Of all watches that are open. */
  readonly sinks = new Map<WatchSink, WatchWish>();
  readonly statements: SqlStatement[] = [];
  version = 0;
  /** Each call waits for it. Default: it answers at once. */
  gate: Promise<void> | null = null;
  /** Reads under way, and the most that there were. */
  reading = 0;
  mostReading = 0;

  get(collection: string, keys: readonly string[]): Awaitable<readonly (StoredDocument | null)[]> {
    return this.#read(() => keys.map((key) => this.documents.get(`${collection}/${key}`) ?? null));
  }

  list(collection: string, { prefix, after, limit, reverse }: KeyRange): Awaitable<Page> {
    return this.#read(() => {
      const entries: StoredEntry[] = [];
      for (const [id, document] of [...this.documents].sort(([a], [b]) => (a < b ? -1 : 1))) {
        const key = id.slice(collection.length + 1);
        if (id.startsWith(`${collection}/${prefix}`)) entries.push({ key, ...document });
      }
      if (reverse) entries.reverse();
      const from = after === null ? 0 : entries.findIndex(({ key }) => key === after) + 1;
      return { entries: entries.slice(from, from + limit), at: this.version };
    });
  }

  count(collection: string): Awaitable<number> {
    return this.#read(() => [...this.documents.keys()].filter((id) => id.startsWith(`${collection}/`)).length);
  }

  find(_: string, { index }: IndexRange): Awaitable<Page> {
    throw new StoreError("INDEX_MISSING", `there is no index ${index}`);
  }

  commit(commit: Commit): Awaitable<CommitResult> {
    return this.gate === null ? this.#commit(commit) : this.gate.then(() => this.#commit(commit));
  }

  #commit(commit: Commit): CommitResult {
    this.commits.push(commit);
    const plan = planCommit(commit, {
      read: (collection, key) => this.documents.get(`${collection}/${key}`) ?? null,
      isUnchanged: ({ collection, at }) => !this.changes.some((c) => c.collection === collection && c.version > at),
      indexesOf: () => [],
      now: 0,
      lastVersion: this.version,
      limits: { maxValueBytes: 40_000_000, maxDepth: 64 },
    });
    if (!("changes" in plan)) return plan.result;
    for (const { collection, key, after } of plan.writes)
      if (after === null) this.documents.delete(`${collection}/${key}`);
      else this.documents.set(`${collection}/${key}`, after);
    this.version = plan.lastVersion;
    this.changes.push(...plan.changes);
    for (const change of plan.changes) this.tell(change);
    return plan.result;
  }

  /** To all watches of the collection. */
  tell(change: StoredChange): void {
    for (const [sink, wish] of this.sinks) {
      if (!fits(change, wish) || sink.push(change)) continue;
      this.sinks.delete(sink);
      sink.end("GONE", "it is too slow");
    }
  }

  watch(_version: StoreVersion, wish: WatchWish, sink: WatchSink): () => void {
    this.sinks.set(sink, wish);
    sink.begin(wish.after ?? this.version);
    for (const each of this.changes) if (each.version > (wish.after ?? Infinity) && fits(each, wish)) sink.push(each);
    return () => void this.sinks.delete(sink);
  }

  sql(statement: SqlStatement): Awaitable<readonly Record<string, unknown>[]> {
    this.statements.push(statement);
    return this.#read(() => [{ values: statement.values, big: 2n ** 60n, bytes: new Uint8Array([1, 2]) }]);
  }

  #read<T>(read: () => T): Awaitable<T> {
    if (this.gate === null) return read();
    this.mostReading = Math.max(this.mostReading, ++this.reading);
    return this.gate.then(() => {
      this.reading--;
      return read();
    });
  }
}

function fits(change: StoredChange, { collection, key, prefix }: WatchWish): boolean {
  return change.collection === collection && (key ?? change.key) === change.key && change.key.startsWith(prefix);
}
