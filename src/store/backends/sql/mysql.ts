/** MariaDB 10.6, MySQL 8.0, and newer ones. */
import type { DocumentName, DocumentRow, EntryRow } from "./batch";
import { inParts, type Dialect, type Query, type Row, type SqlValue } from "./dialect";
import { mysqlFailure } from "./mysql-failure";

/** A statement that takes longer ends with BUSY. */
const STATEMENT_SECONDS = 10;
/** Of one statement. */
const MAX_ROWS = 256;

// Bytes, not text: so keys and values have their order, and spaces at the end count. One after the other, since MySQL
// commits behind each of these.
const LOCK = "CONCAT('hrmr.', MD5(DATABASE()))";
const TABLES = [
  `SELECT GET_LOCK(${LOCK}, ${STATEMENT_SECONDS})`,
  `CREATE TABLE IF NOT EXISTS hrmr_documents (
    collection VARBINARY(64) NOT NULL, id VARBINARY(1024) NOT NULL,
    text LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, version BIGINT NOT NULL, expires BIGINT,
    PRIMARY KEY (collection, id), INDEX hrmr_expiring (expires)
  ) ENGINE = InnoDB`,
  `CREATE TABLE IF NOT EXISTS hrmr_indexes (
    collection VARBINARY(64) NOT NULL, field VARBINARY(700) NOT NULL, built VARBINARY(1024), complete INTEGER NOT NULL,
    PRIMARY KEY (collection, field)
  ) ENGINE = InnoDB`,
  `CREATE TABLE IF NOT EXISTS hrmr_entries (
    collection VARBINARY(64) NOT NULL, field VARBINARY(700) NOT NULL, value VARBINARY(700) NOT NULL,
    id VARBINARY(1024) NOT NULL, PRIMARY KEY (collection, field, value, id)
  ) ENGINE = InnoDB`,
  `CREATE TABLE IF NOT EXISTS hrmr_changes (
    last_version BIGINT PRIMARY KEY, first_version BIGINT NOT NULL, batch VARCHAR(80) NOT NULL,
    changes LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
  ) ENGINE = InnoDB`,
  `CREATE TABLE IF NOT EXISTS hrmr_store (
    id INTEGER PRIMARY KEY, format INTEGER NOT NULL, version BIGINT NOT NULL, clock BIGINT NOT NULL
  ) ENGINE = InnoDB`,
  "INSERT IGNORE INTO hrmr_store (id, format, version, clock) VALUES (1, 1, 0, 0)",
  `SELECT RELEASE_LOCK(${LOCK})`,
];

export const MYSQL: Dialect = {
  kind: "mysql",
  channel: null,
  isAbortedByErrors: false,
  // The comments are code: of MariaDB, and of MySQL.
  session: [
    plain(
      `SET SESSION innodb_lock_wait_timeout = ${STATEMENT_SECONDS}` +
        ` /*M!, max_statement_time = ${STATEMENT_SECONDS}, idle_transaction_timeout = ${STATEMENT_SECONDS} */ /*!80000 , max_execution_time = ${STATEMENT_SECONDS * 1000} */`,
    ),
    plain("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"),
  ],
  // While another server makes them, they are not there.
  hasTables: statement(
    `SELECT count(*) * IS_FREE_LOCK(${LOCK}) AS tables FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?`,
    ["hrmr_store"],
  ),
  tables: TABLES.map(plain),
  begin: plain("START TRANSACTION"),

  // How soon a commit is on the disk is a setting of the whole server.
  options: () => ({ adapter: "mysql", bigint: true }),

  notify: () => null,

  statement,

  documentsByKey: (collection, keys) =>
    inPowers(keys).map((part) =>
      statement(
        `SELECT id, text, version, expires FROM hrmr_documents WHERE collection = ? AND id IN (${marks(part, "?")})`,
        [collection, ...part.map(bytes)],
      ),
    ),

  documentsByName: (names) =>
    partsByCollection(names).map(({ collection, part }) =>
      statement(
        `SELECT collection, id, text, version, expires FROM hrmr_documents WHERE collection = ? AND id IN (${marks(part, "?")})`,
        [collection, ...part.map(({ key }) => bytes(key))],
      ),
    ),

  putDocuments: (rows) =>
    inParts(rows, ({ document }) => document.text.length, MAX_ROWS)
      .flatMap(inPowers)
      .map((part) =>
        statement(
          `INSERT INTO hrmr_documents (collection, id, text, version, expires) VALUES ${marks(part, "(?, ?, ?, ?, ?)")} ON DUPLICATE KEY UPDATE text = VALUES(text), version = VALUES(version), expires = VALUES(expires)`,
          part.flatMap(documentCells),
        ),
      ),

  deleteDocuments: (names) =>
    partsByCollection(names).map(({ collection, part }) =>
      statement(`DELETE FROM hrmr_documents WHERE collection = ? AND id IN (${marks(part, "?")})`, [
        collection,
        ...part.map(({ key }) => bytes(key)),
      ]),
    ),

  putEntries: (rows) =>
    inPowers(rows).map((part) =>
      statement(
        `INSERT IGNORE INTO hrmr_entries (collection, field, value, id) VALUES ${marks(part, "(?, ?, ?, ?)")}`,
        part.flatMap(({ collection, index, value, key }) => [collection, bytes(index), bytes(value), bytes(key)]),
      ),
    ),

  deleteEntries: (rows) => entries("DELETE FROM", rows),

  entriesAmong: (rows) => entries("SELECT field, value, id FROM", rows),

  snapshot: [
    plain("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
    plain("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"),
  ],
  compact: ["documents", "entries", "changes"].map((name) => plain(`OPTIMIZE TABLE hrmr_${name}`)),

  failure: mysqlFailure,

  mark: () => "?",

  plainRows: (rows) =>
    rows.map((row: Row) => {
      const made: Record<string, unknown> = { ...row };
      for (const [name, value] of Object.entries(row))
        if (typeof value === "bigint") made[name] = Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
      return made;
    }),
};

/** Each row names its index by itself, so that the database finds it there. */
function entries(verb: string, rows: readonly EntryRow[]): readonly Query[] {
  return inPowers(rows).map((part) =>
    statement(
      `${verb} hrmr_entries WHERE ${part.map(() => "(collection = ? AND field = ? AND value = ? AND id = ?)").join(" OR ")}`,
      part.flatMap(({ collection, index, value, key }) => [collection, bytes(index), bytes(value), bytes(key)]),
    ),
  );
}

function plain(sql: string): Query {
  return { sql, values: [] };
}

function statement(sql: string, values: readonly SqlValue[]): Query {
  return { sql, values };
}

/** Parts whose sizes are powers of 2: the database prepares few statements, and knows each again. */
function inPowers<T>(rows: readonly T[]): readonly (readonly T[])[] {
  const parts: (readonly T[])[] = [];
  for (let at = 0; at < rows.length;) {
    const size = Math.min(MAX_ROWS, 2 ** Math.floor(Math.log2(rows.length - at)));
    parts.push(rows.slice(at, at + size));
    at += size;
  }
  return parts;
}

function partsByCollection(
  names: readonly DocumentName[],
): readonly { readonly collection: string; readonly part: readonly DocumentName[] }[] {
  return [...Map.groupBy(names, ({ collection }) => collection)].flatMap(([collection, of]) =>
    inPowers(of).map((part) => ({ collection, part })),
  );
}

function documentCells({ collection, key, document }: DocumentRow): SqlValue[] {
  return [collection, bytes(key), document.text, document.version, document.expiresAt];
}

function marks(rows: readonly unknown[], of: string): string {
  return rows.map(() => of).join(", ");
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text);
}
