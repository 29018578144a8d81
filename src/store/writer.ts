/** How commits get to a database, and what waits for them. */
import { StoreError } from "../module/store/error";
import type { Awaitable, Commit, CommitResult, StoredChange, Turn } from "../module/store/port";

export interface Writer {
  /** @returns when it is durable */
  commit(commit: Commit): Awaitable<CommitResult>;
  /** Runs a read. @returns when all that it saw is durable */
  read<T>(read: () => Awaitable<T>): Awaitable<T>;
  /** @returns null: the database answers later, so nothing runs alone */
  enterTurn(): Awaitable<Turn | null>;
  /** Runs work that is no part of a batch: at once, or behind the commit of the present one. */
  between<T>(work: () => Awaitable<T>): Promise<T>;
  /** Resolves when nothing is under way. Never rejects. */
  idle(): Promise<void>;
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

interface CommitFigures {
  readonly commits: number;
  readonly conflicts: number;
  readonly durationMs: number;
}

/** Any error as the store's callers get it. */
export function storeError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  return new StoreError("FAILED", `the store failed: ${error instanceof Error ? error.message : String(error)}`);
}

export function conflictsIn(results: readonly CommitResult[]): number {
  return results.filter((result) => !result.ok && result.code === "CONFLICT").length;
}
