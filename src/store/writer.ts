/** How commits get to a database, and what waits for them. */
import { StoreError } from "../module/store/error";
import type { Awaitable, Commit, CommitResult, Hold, StoredChange, Turn } from "../module/store/port";

export interface Writer {
  /** @returns when it is durable */
  commit(commit: Commit): Awaitable<CommitResult>;
  /** Runs a read. @returns when all that it saw is durable */
  read<T>(read: () => Awaitable<T>): Awaitable<T>;
  /** @returns null: the database answers later, so nothing runs alone */
  enterTurn(): Awaitable<Turn | null>;
  /** @returns null: others write as well, whom nobody here can keep out */
  hold(): Awaitable<Hold | null>;
  /** Runs work that is no part of a batch: at once, or behind the commit of the present one. */
  between<T>(work: () => Awaitable<T>): Promise<T>;
  /** Resolves when nothing is under way. Never rejects. */
  idle(): Promise<void>;
  /** Commits that are not answered yet. */
  readonly waiting: number;
}

export interface WriterOwner {
  /** Whether a transaction that runs alone may use the index. @throws StoreError INDEX_MISSING, BUSY */
  mustFind(collection: string, index: string): void;
  /** Durable changes, in order. Called before the commits are answered. */
  changed(changes: readonly StoredChange[]): void;
  /** A database transaction has ended. */
  committed(figures: CommitFigures): void;
  /** The database cannot be written. */
  failed(error: StoreError): void;
}

export interface CommitFigures {
  readonly results: readonly CommitResult[];
  /** Those of transactions among them. */
  readonly transactions: number;
  readonly durationMs: number;
}

/** Any error as the store's callers get it. */
export function storeError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  return new StoreError("FAILED", `the store failed: ${error instanceof Error ? error.message : String(error)}`);
}
