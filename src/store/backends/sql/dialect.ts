/** What differs between the databases of Bun.SQL: statements, settings of a connection, errors. */
import type { DocumentName, DocumentRow, EntryRow } from "./batch";

export type SqlValue = null | number | string | Uint8Array | readonly (null | number | string | Uint8Array)[];

export interface Query {
  /** With the database's own marks for values. */
  readonly sql: string;
  readonly values: readonly SqlValue[];
}

export type Row = Readonly<Record<string, unknown>>;

/** How an error of the database or of Bun.SQL ended a query. */
export interface Failure {
  /** Of a StoreError. */
  readonly code: string;
  /** What happened, and what to do. */
  readonly text: string;
  /** The connection is lost, or there never was one: nobody knows how far the query came. */
  readonly isLost: boolean;
}

export interface Dialect {
  readonly kind: "postgres" | "mysql";
  /** Of a connection pool, beside its URL. */
  options(url: URL, durability: "full" | "relaxed"): Bun.SQL.PostgresOrMySQLOptions;
  /** Run once on the connection that writes. */
  readonly session: readonly Query[];
  /** One row, `tables`: 0: the store has none yet. */
  readonly hasTables: Query;
  /** Makes the tables, unless they are there: one after the other, on one connection. */
  readonly tables: readonly Query[];
  readonly begin: Query;
  /** An error within a transaction undoes all of it, so that COMMIT may be sent before the answers are there. */
  readonly isAbortedByErrors: boolean;
  /** Tells the other servers, when the transaction is committed. null: they must ask. */
  notify(news: string): Query | null;
  /** The channel that `notify` tells. null: there is none */
  readonly channel: string | null;
  /** A statement with `?` for values, in the database's own form. */
  statement(sql: string, values: readonly SqlValue[]): Query;
  /** Rows of documents by their keys: id, text, version, expires. */
  documentsByKey(collection: string, keys: readonly string[]): readonly Query[];
  /** Rows of documents of any collection: collection, id, text, version, expires. */
  documentsByName(names: readonly DocumentName[]): readonly Query[];
  putDocuments(rows: readonly DocumentRow[]): readonly Query[];
  deleteDocuments(names: readonly DocumentName[]): readonly Query[];
  /** Those that are there already stay. */
  putEntries(rows: readonly EntryRow[]): readonly Query[];
  deleteEntries(rows: readonly EntryRow[]): readonly Query[];
  /** Those of the entries that are there: field, value, id. */
  entriesAmong(rows: readonly EntryRow[]): readonly Query[];
  /** Begins a transaction that reads, and sees one moment. */
  readonly snapshot: readonly Query[];
  /** Gives back unused space; one after the other, without a limit of time. */
  readonly compact: readonly Query[];
  failure(error: unknown): Failure;
  /** A statement of `context.store.sql`: its marks for values. */
  mark(at: number): string;
  /** Rows of `context.store.sql`, with numbers that are numbers. */
  plainRows(rows: readonly Row[]): readonly Record<string, unknown>[];
}

/**
 * Parts of rows for one statement each: a database has a largest packet.
 *
 * @param sizeOf the letters of a row, about
 */
export function inParts<T>(rows: readonly T[], sizeOf: (row: T) => number, maxRows: number): readonly (readonly T[])[] {
  const parts: T[][] = [];
  let part: T[] = [];
  let size = 0;
  for (const row of rows) {
    const added = sizeOf(row);
    if (part.length === maxRows || (part.length > 0 && size + added > MAX_PART_LETTERS)) {
      parts.push(part);
      part = [];
      size = 0;
    }
    part.push(row);
    size += added;
  }
  if (part.length > 0) parts.push(part);
  return parts;
}

const MAX_PART_LETTERS = 1 << 20;
