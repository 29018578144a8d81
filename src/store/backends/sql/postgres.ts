/** PostgreSQL 12 and newer. */
import type { DocumentName, DocumentRow, EntryRow } from "./batch";
import { inParts, type Dialect, type Failure, type Query, type SqlValue } from "./dialect";
import { postgresFailure } from "./postgres-failure";

/** A statement that takes longer ends with BUSY. In milliseconds. */
const STATEMENT_MS = 10_000;
/** A server that stops in the middle of a commit must not hold up the others. In milliseconds. */
const IDLE_IN_TRANSACTION_MS = 10_000;
/** Of one statement: more would only delay the first answer. */
const MAX_ROWS = 5000;
const CHANNEL = "hrmr_store";
/** "hrmr": servers that start at the same time make the tables one after the other. */
const LOCK_ID = 0x68726d72;
/** Types of the columns of a result. */
const INT8 = 20;

// Keys and values of indexes are bytes: so they have their order, and may hold NUL, which a text of PostgreSQL may not.
const TABLES = `
  BEGIN;
  SELECT pg_advisory_xact_lock(${LOCK_ID});
  CREATE TABLE IF NOT EXISTS hrmr_store (
    id integer PRIMARY KEY CHECK (id = 1), format integer NOT NULL, version bigint NOT NULL, clock bigint NOT NULL
  );
  INSERT INTO hrmr_store (id, format, version, clock) VALUES (1, 1, 0, 0) ON CONFLICT DO NOTHING;
  CREATE TABLE IF NOT EXISTS hrmr_documents (
    collection text COLLATE "C" NOT NULL, id bytea NOT NULL, text text NOT NULL, version bigint NOT NULL, expires bigint,
    PRIMARY KEY (collection, id)
  );
  CREATE INDEX IF NOT EXISTS hrmr_expiring ON hrmr_documents (expires) WHERE expires IS NOT NULL;
  CREATE TABLE IF NOT EXISTS hrmr_indexes (
    collection text COLLATE "C" NOT NULL, field bytea NOT NULL, built bytea, complete integer NOT NULL,
    PRIMARY KEY (collection, field)
  );
  CREATE TABLE IF NOT EXISTS hrmr_entries (
    collection text COLLATE "C" NOT NULL, field bytea NOT NULL, value bytea NOT NULL, id bytea NOT NULL,
    PRIMARY KEY (collection, field, value, id)
  );
  CREATE TABLE IF NOT EXISTS hrmr_changes (
    last_version bigint PRIMARY KEY, first_version bigint NOT NULL, batch text NOT NULL, changes text NOT NULL
  );
  COMMIT;
`;

/** Statements with `$1` for the first `?`. */
const numbered = new Map<string, string>();

export const POSTGRES: Dialect = {
  kind: "postgres",
  channel: CHANNEL,
  isAbortedByErrors: true,
  session: [],
  hasTables: statement(
    "SELECT count(*) AS tables FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = ?",
    ["hrmr_store"],
  ),
  tables: [{ sql: TABLES, values: [] }],
  // A snapshot that is older than the lock would hide the commits that it waited for.
  begin: { sql: "BEGIN ISOLATION LEVEL READ COMMITTED", values: [] },

  options(url, durability) {
    const connection: Record<string, string | number> = {};
    const put = (name: string, value: string | number): void => {
      if (!url.searchParams.has(name)) connection[name] = value;
    };
    put("application_name", "hrmr");
    put("statement_timeout", STATEMENT_MS);
    put("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS);
    if (durability === "relaxed") put("synchronous_commit", "off");
    return { adapter: "postgres", connection };
  },

  notify: (news) => statement("SELECT pg_notify(?::text, ?::text)", [CHANNEL, news]),

  statement,

  documentsByKey: (collection, keys) => [
    statement("SELECT id, text, version, expires FROM hrmr_documents WHERE collection = ? AND id = ANY(?::bytea[])", [
      collection,
      keys.map(bytes),
    ]),
  ],

  documentsByName: (names) =>
    inParts(names, sizeOfName, MAX_ROWS).map((part) =>
      statement(
        `SELECT collection, id, text, version, expires FROM hrmr_documents WHERE (collection, id) IN (${NAMES})`,
        nameColumns(part),
      ),
    ),

  putDocuments: (rows) =>
    inParts(rows, ({ document }) => document.text.length, MAX_ROWS).map((part) =>
      statement(
        "INSERT INTO hrmr_documents (collection, id, text, version, expires) SELECT * FROM unnest(?::text[], ?::bytea[], ?::text[], ?::bigint[], ?::bigint[]) ON CONFLICT (collection, id) DO UPDATE SET text = EXCLUDED.text, version = EXCLUDED.version, expires = EXCLUDED.expires",
        [...nameColumns(part), ...documentColumns(part)],
      ),
    ),

  deleteDocuments: (names) =>
    inParts(names, sizeOfName, MAX_ROWS).map((part) =>
      statement(`DELETE FROM hrmr_documents WHERE (collection, id) IN (${NAMES})`, nameColumns(part)),
    ),

  putEntries: (rows) =>
    inParts(rows, sizeOfName, MAX_ROWS).map((part) =>
      statement(
        `INSERT INTO hrmr_entries (collection, field, value, id) ${ENTRIES} ON CONFLICT DO NOTHING`,
        entryColumns(part),
      ),
    ),

  deleteEntries: (rows) =>
    inParts(rows, sizeOfName, MAX_ROWS).map((part) =>
      statement(`DELETE FROM hrmr_entries WHERE (collection, field, value, id) IN (${ENTRIES})`, entryColumns(part)),
    ),

  entriesAmong: (rows) =>
    inParts(rows, sizeOfName, MAX_ROWS).map((part) =>
      statement(
        `SELECT field, value, id FROM hrmr_entries WHERE (collection, field, value, id) IN (${ENTRIES})`,
        entryColumns(part),
      ),
    ),

  snapshot: [{ sql: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", values: [] }],
  // FULL would lock the tables, and make all clients wait.
  compact: [
    { sql: "SET statement_timeout = 0", values: [] },
    ...["documents", "entries", "changes", "store"].map((name) => ({
      sql: `VACUUM (ANALYZE) hrmr_${name}`,
      values: [],
    })),
  ],

  failure: (error): Failure => postgresFailure(error, STATEMENT_MS),

  mark: (at) => `$${at}`,

  plainRows(rows) {
    const columns = (rows as { columns?: readonly { name: string; type: number }[] }).columns ?? [];
    const large = columns.filter(({ type }) => type === INT8).map(({ name }) => name);
    return rows.map((row) => {
      const plain: Record<string, unknown> = { ...row };
      for (const name of large) {
        const value = plain[name];
        if (typeof value === "string" && Number.isSafeInteger(Number(value))) plain[name] = Number(value);
      }
      return plain;
    });
  },
};

const NAMES = "SELECT * FROM unnest(?::text[], ?::bytea[])";
const ENTRIES = "SELECT * FROM unnest(?::text[], ?::bytea[], ?::bytea[], ?::bytea[])";

function statement(sql: string, values: readonly SqlValue[]): Query {
  let own = numbered.get(sql);
  if (own === undefined) {
    let at = 0;
    own = sql.replaceAll("?", () => `$${++at}`);
    numbered.set(sql, own);
  }
  return { sql: own, values };
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text);
}

function sizeOfName({ key }: DocumentName): number {
  return key.length;
}

function nameColumns(names: readonly DocumentName[]): SqlValue[] {
  return [names.map(({ collection }) => collection), names.map(({ key }) => bytes(key))];
}

function documentColumns(rows: readonly DocumentRow[]): SqlValue[] {
  return [
    rows.map(({ document }) => document.text),
    rows.map(({ document }) => document.version),
    rows.map(({ document }) => document.expiresAt),
  ];
}

function entryColumns(rows: readonly EntryRow[]): SqlValue[] {
  return [
    rows.map(({ collection }) => collection),
    rows.map(({ index }) => bytes(index)),
    rows.map(({ value }) => bytes(value)),
    rows.map(({ key }) => bytes(key)),
  ];
}
