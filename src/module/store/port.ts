/**
 * The seam between `context.store` and the store's engine: in the same thread, by messages from a pool thread or a
 * module's process, or by a socket from another process of the server. Plain data, and documents as JSON text, which is
 * parsed only where somebody looks into it.
 */

import type { CallFrame } from "../service/frame";

/** The engine on the same thread answers at once where it can. */
export type Awaitable<T> = T | Promise<T>;

/** A document as the store has it. One whose time is over is never handed out. */
export interface StoredDocument {
  /** JSON. */
  readonly text: string;
  readonly version: number;
  /** By the store's clock, in milliseconds since 1970. null: it stays. */
  readonly expiresAt: number | null;
}

export interface StoredEntry extends StoredDocument {
  readonly key: string;
}

/** Part of a collection by keys. Keys are ordered by their UTF-8 bytes. */
export interface KeyRange {
  readonly prefix: string;
  /** Exclusive, in the order of reading. null: from the first. */
  readonly after: string | null;
  readonly limit: number;
  readonly reverse: boolean;
}

/** Part of a collection by an index. */
export interface IndexRange {
  /** A field: "user", "address.city". */
  readonly index: string;
  /** Encoded (`indexKey`), inclusive. null: no bound. */
  readonly from: string | null;
  /** Encoded, inclusive. */
  readonly to: string | null;
  /** Exclusive, in the order of reading. */
  readonly after: { readonly value: string; readonly key: string } | null;
  readonly limit: number;
  readonly reverse: boolean;
}

export interface Page {
  readonly entries: readonly StoredEntry[];
  /** The store's version that was read: of the newest change in it. */
  readonly at: number;
}

/** What a transaction read, checked at its commit. */
export type Check =
  /** `version` 0: there was no document. */
  | { readonly kind: "key"; readonly collection: string; readonly key: string; readonly version: number }
  /** No key from `from` to `to` (inclusive; null: no bound) has changed since the version `at`. */
  | {
      readonly kind: "range";
      readonly collection: string;
      readonly from: string | null;
      readonly to: string | null;
      readonly at: number;
    };

interface MutationTarget {
  readonly collection: string;
  readonly key: string;
  /** Only if the document has this version; 0: there is none. null: in any case. */
  readonly ifVersion: number | null;
}

/** By the store's clock: `inMs` from the commit on. A moment since 1970. null: it stays. "keep": as it was. */
export type NewExpiry = number | null | "keep" | { readonly inMs: number };

export type Mutation =
  | (MutationTarget & { readonly kind: "set"; readonly text: string; readonly expiresAt: NewExpiry })
  | (MutationTarget & { readonly kind: "delete" })
  /** `text` is a merge patch (RFC 7396). */
  | (MutationTarget & { readonly kind: "patch"; readonly text: string; readonly expiresAt: NewExpiry })
  /** `field` null: the document is the number. */
  | (MutationTarget & {
      readonly kind: "increment";
      readonly by: number;
      readonly field: string | null;
      readonly expiresAt: NewExpiry;
    })
  | (MutationTarget & { readonly kind: "expire"; readonly expiresAt: NewExpiry })
  /** Deletes it if its time is over, as a change "expire". */
  | (MutationTarget & { readonly kind: "sweep" });

/** One unit of writing: all of it, or nothing. The mutations run in order, and see those before them. */
export interface Commit {
  readonly checks: readonly Check[];
  readonly mutations: readonly Mutation[];
}

/** Of one mutation. */
export interface Mutated {
  /** The change's. 0: nothing has changed, since there was no document to delete. */
  readonly version: number;
  /** The document after "patch" and "increment". null for the others. */
  readonly text: string | null;
  /** The number after "increment". null for the others. */
  readonly number: number | null;
  /** Of the document after it, if there is one. */
  readonly expiresAt: number | null;
}

export type CommitResult =
  | { readonly ok: true; readonly mutated: readonly Mutated[] }
  /** `at`: which mutation; -1: a check. CONFLICT is the code of a check, and of an `ifVersion`. */
  | { readonly ok: false; readonly code: string; readonly message: string; readonly at: number };

/** A collection as a module declares it. */
export interface CollectionSpec {
  readonly name: string;
  /** Fields: "user", "address.city". */
  readonly indexes: readonly string[];
}

/** The version of a module that uses the store: its watches end with it. */
export interface StoreVersion {
  readonly id: number;
  readonly module: string;
}

export interface WatchWish {
  readonly collection: string;
  /** null: all keys with the prefix. */
  readonly key: string | null;
  readonly prefix: string;
  /** null: from now on. */
  readonly after: number | null;
}

/** A change as the store keeps it. */
export interface StoredChange {
  readonly version: number;
  readonly collection: string;
  readonly key: string;
  readonly kind: "set" | "delete" | "expire";
  /** JSON. null for "delete" and "expire". */
  readonly text: string | null;
}

/** Gets the changes of a watch, in the order of their versions. */
export interface WatchSink {
  /** Once, before any change. @param at  the store's version from which on it gets changes */
  begin(at: number): void;
  /** @returns false: it is full, and does not take it. Without `onRoom` the watch is over then, with GONE */
  push(change: StoredChange): boolean;
  /** It calls this when it has room again, and gets the changes that it did not take. */
  onRoom?: (() => void) | null;
  /** The watch is over: with an error, or (null) since the version of the module or the store has ended. */
  end(code: string | null, message: string): void;
}

export interface SqlStatement {
  /** With `?` (SQLite, MySQL) or `$1` (PostgreSQL) for values, made by the engine from the parts. */
  readonly parts: readonly string[];
  readonly values: readonly (null | boolean | number | bigint | string | Uint8Array)[];
}

/** Gets the result of a commit. Exactly one of its methods is called, once. They must not throw. */
export interface CommitSink {
  committed(result: CommitResult): void;
  failed(error: unknown): void;
}

/** A transaction that runs alone, until the turn of the loop is over. Its reads see the commits of the turn. */
export interface Turn {
  /** false: it was put aside. Others have begun, and it lives by its checks. Its reads and commit must go by the port. */
  readonly isAlone: boolean;
  /**
   * It may have read what was never durable, and whose versions are given again: no check tells. It must run again. Only
   * when it is not alone.
   */
  readonly isUndone: boolean;
  get(collection: string, keys: readonly string[]): readonly (StoredDocument | null)[];
  list(collection: string, range: KeyRange): Page;
  find(collection: string, range: IndexRange): Page;
  /** Writes, and lets the next one begin. @param sink  told when all that it wrote and read is durable */
  commit(mutations: readonly Mutation[], sink: CommitSink): void;
  /** Lets the next one begin. Idempotent. */
  leave(): void;
  /** Called when it is put aside. */
  onAside: (() => void) | null;
}

/** Nobody else commits while it lasts, which is short. Others read. */
export interface Hold {
  /** Commits, and ends it. After its time it waits like any commit, and its checks tell what has changed. */
  commit(commit: Commit): Awaitable<CommitResult>;
  /** Idempotent. */
  leave(): void;
}

/** All methods throw, or reject with, StoreError. */
export interface StorePort {
  /** @returns in the order of the keys */
  get(collection: string, keys: readonly string[]): Awaitable<readonly (StoredDocument | null)[]>;
  list(collection: string, range: KeyRange): Awaitable<Page>;
  find(collection: string, range: IndexRange): Awaitable<Page>;
  /** The number of documents, also of those whose time is over and that are not swept yet. */
  count(collection: string): Awaitable<number>;
  /** Answers when the commit is durable. A refused commit is a result, not an error. */
  commit(commit: Commit): Awaitable<CommitResult>;
  /** In the engine's own thread, on a database that answers at once. @returns null: on another one */
  enterTurn?(): Awaitable<Turn | null>;
  /** For a transaction that has conflicted often. @returns null: there is none here */
  hold?(): Awaitable<Hold | null>;
  /** @returns ends the watch, without `end` of the sink. Idempotent */
  watch(version: StoreVersion, wish: WatchWish, sink: WatchSink): () => void;
  /** @returns rows as objects */
  sql(statement: SqlStatement): Awaitable<readonly Record<string, unknown>[]>;
}

/**
 * For code that cannot await: nothing else runs in this process while it waits. All methods throw StoreError. They wait
 * as long as `frame` allows; null: until there is an answer.
 */
export interface StoreNow {
  /** @returns in the order of the keys */
  get(collection: string, keys: readonly string[], frame: CallFrame | null): readonly (StoredDocument | null)[];
  list(collection: string, range: KeyRange, frame: CallFrame | null): Page;
  commit(commit: Commit, frame: CallFrame | null): CommitResult;
}
