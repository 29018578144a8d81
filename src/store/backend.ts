/**
 * A database under the store: documents, entries of indexes and the log of changes, each ordered by its bytes. One
 * process writes to "sqlite" and "json"; to "postgres" and "mysql", each. What a commit does is decided in plan.ts.
 */
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
} from "../module/store/port";
import type { StoreSize } from "../observe/snapshot";
import type { PlanLimits } from "./plan";

export interface BackendOptions {
  readonly limits: PlanLimits;
  /** "full": a commit is on the disk when it is answered. "relaxed": the database writes when it sees fit. */
  readonly durability: "full" | "relaxed";
  /** The store's clock, in milliseconds since 1970. It never goes back. */
  readonly now: () => number;
  /** The clock was at this moment when the database was last written: it must not be behind it. */
  readonly raiseClock: (moment: number) => void;
  /** Changes that are kept for watches. */
  readonly keptChanges: number;
  /**
   * The indexes of a collection, as the modules of this process declare them. A database that is written by several
   * processes keeps all that it has, since one process declares them before another.
   */
  readonly indexesOf: (collection: string) => readonly string[];
  /**
   * Changes of others than this backend's commits (another process, another machine), in order. Some may be missing before
   * them, and are in the log.
   */
  readonly onForeignChanges: (changes: readonly StoredChange[]) => void;
  /** Some of them are not kept any more. Default: nobody needs to know. */
  readonly onChangesLost?: () => void;
}

/** Of one commit in a batch. */
export interface Committed {
  readonly result: CommitResult;
  /** In the order of their versions. Empty if it was refused. */
  readonly changes: readonly StoredChange[];
}

/**
 * A batch under way, of a backend of the same thread: one transaction of the database, made step by step. The backend's
 * reads see it.
 */
export interface Batch {
  /** Runs one more commit. @throws StoreError: the batch must be rolled back */
  apply(commit: Commit): Committed;
  /** Durable when it returns. @throws StoreError: none of it was done */
  commit(): void;
  /** Never throws. */
  rollback(): void;
}

/** Reads in threads of their own. They see what is committed. All reject with StoreError, BUSY among others. */
export interface ReadsApart {
  list(collection: string, range: KeyRange): Promise<Page>;
  find(collection: string, range: IndexRange): Promise<Page>;
  /** @returns null: it does not look like one that only reads. READ_ONLY: it does not, and nothing was done */
  sql(statement: SqlStatement): Promise<readonly Record<string, unknown>[]> | null;
}

/**
 * All methods throw, or reject with, StoreError: UNAVAILABLE, FULL, READ_ONLY, BUSY, UNKNOWN, FAILED. Documents whose time
 * is over are never returned. A backend of the same thread answers at once.
 */
export interface Backend {
  readonly kind: "sqlite" | "json" | "postgres" | "mysql";
  /**
   * Opens or makes the database.
   *
   * @returns the version of the newest change. @throws StoreError NEWER_SCHEMA, NOT_A_STORE, or as above
   */
  open(): Awaitable<number>;
  get(collection: string, keys: readonly string[]): Awaitable<readonly (StoredDocument | null)[]>;
  list(collection: string, range: KeyRange): Awaitable<Page>;
  find(collection: string, range: IndexRange): Awaitable<Page>;
  /**
   * Runs commits in their order as one transaction of the database; each sees those before it. Durable when it answers.
   *
   * @returns one for each. If it throws, none was done, but for UNKNOWN
   */
  commit(commits: readonly Commit[]): Awaitable<readonly Committed[]>;
  /**
   * Begins a batch, of which there is at most one. Only "sqlite" and "json" have it, and their `get`, `list` and `find`
   * answer at once.
   */
  begin?(): Batch;
  /**
   * Whether this process leads: it tells the others of the server what changes, and writes for them to a database that
   * only one can have open. Default: no process leads, since each writes to a server of databases.
   */
  readonly isLeading?: boolean;
  /** For reads that would take the thread for long. Only "sqlite" has it. */
  readonly apart?: ReadsApart;
  /**
   * Tells `onForeignChanges` of all that others have written by now. Called when a watch begins, and often while there
   * are watches, unless `isTold`. A backend that nobody else writes has none.
   */
  look?(): Awaitable<void>;
  /** Once it was asked, the database tells it when others write. */
  readonly isTold?: boolean;
  /**
   * Changes behind a version, in order.
   *
   * @returns null: some of them are not kept any more
   */
  changesAfter(version: number, limit: number): Awaitable<readonly StoredChange[] | null>;
  /** @returns documents whose time is over, for the sweep */
  expired(limit: number): Awaitable<readonly (StoredEntry & { readonly collection: string })[]>;
  /** Makes the entries of an index that a module declares anew, a part at a time. @returns whether it is complete */
  buildIndex(collection: string, index: string): Awaitable<boolean>;
  /** Removes an index that no module declares any more, a part at a time. @returns whether it is gone */
  dropIndex(collection: string, index: string): Awaitable<boolean>;
  collections(): Awaitable<readonly { readonly name: string; readonly documents: number }[]>;
  /** Cheap, and at once: it is asked for with each status. null, and by default: not known. */
  size?(): StoreSize | null;
  /** @throws StoreError UNSUPPORTED */
  sql(statement: SqlStatement): Awaitable<readonly Record<string, unknown>[]>;
  /** The indexes that it has, complete or not. Default: none is kept. */
  indexes?(): Awaitable<readonly { readonly collection: string; readonly index: string }[]>;
  /** Looks at all of it. @returns the faults, each a sentence */
  check(): Awaitable<readonly string[]>;
  /** Gives unused space back to the disk. @throws StoreError UNSUPPORTED */
  compact(): Awaitable<void>;
  /**
   * Writes a copy into a new file, as the store is at one moment, while it is used.
   *
   * @throws StoreError UNSUPPORTED, or as above
   */
  backup(path: string): Awaitable<void>;
  close(): Awaitable<void>;
}
