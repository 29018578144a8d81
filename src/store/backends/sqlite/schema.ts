/** The tables of a store in SQLite, and opening its file. */
import { Database } from "bun:sqlite";
import { closeSync, fsyncSync, openSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { StoreError } from "../../../module/store/error";
import { syncFolder } from "../../../system/files/durable";
import { PRIVATE_FILE } from "../../../system/private-files";
import { makeFolderOf, mustBeFileOrNew } from "../place";

/** "hrmr": tells a store from other databases. */
const APPLICATION_ID = 0x68726d72;
const SCHEMA_VERSION = 2;
/** How long a commit waits for another process that writes. The loop stands still meanwhile. In milliseconds. */
const BUSY_MS = 1000;
const WAL_PAUSE_MS = 5;
const CACHE_KB = 32_768;

// `collections.documents` is their number: SQLite would look at each to count them. Rows of documents and entries lie in their key's own tree: one search instead of two. A change's row holds all changes
// of a COMMIT, since a row for each would cost as much as the document itself.
const TABLES = `
  CREATE TABLE collections (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, documents INTEGER NOT NULL DEFAULT 0
  );
  CREATE TABLE documents (
    collection INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, text TEXT NOT NULL, expires INTEGER,
    PRIMARY KEY (collection, key)
  ) WITHOUT ROWID;
  CREATE INDEX expiring ON documents (expires) WHERE expires IS NOT NULL;
  CREATE TABLE indexes (
    id INTEGER PRIMARY KEY, collection INTEGER NOT NULL, name TEXT NOT NULL, built TEXT, complete INTEGER NOT NULL,
    UNIQUE (collection, name)
  );
  CREATE TABLE entries (
    "index" INTEGER NOT NULL, value TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY ("index", value, key)
  ) WITHOUT ROWID;
  CREATE TABLE changes (last INTEGER PRIMARY KEY, first INTEGER NOT NULL, clock INTEGER NOT NULL, changes TEXT NOT NULL);
`;

/**
 * @param path absolute; its folder is made
 * @throws StoreError NOT_A_STORE or NEWER_SCHEMA, or an error of the system or of SQLite
 */
export function openFile(path: string, durability: "full" | "relaxed"): Database {
  mustBeFileOrNew(path);
  makeFolderOf(path);
  // SQLite gives its other files the mode of this one.
  closeSync(openSync(path, "a+", PRIVATE_FILE));
  const db = new Database(path, { create: true, readwrite: true, strict: true });
  try {
    db.run(`PRAGMA busy_timeout = ${BUSY_MS}`);
    // In one transaction each: another process may make the tables at the same time. Most files have them, and need no
    // lock, for which they would wait while another process writes.
    const look = db.transaction(() => {
      mustBeOurs(db, path);
      return isReady(db);
    });
    if (!look.deferred())
      db.transaction(() => {
        mustBeOurs(db, path);
        makeTables(db);
        upgrade(db);
      }).immediate();
    useWal(db);
    db.run(`PRAGMA synchronous = ${durability === "full" ? "FULL" : "NORMAL"}`);
    db.run(`PRAGMA cache_size = -${CACHE_KB}`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Copies a store, as it is now, into a new file, which is on the disk when this returns. @throws Error EEXIST */
export function copyInto(db: Database, path: string): void {
  // SQLite writes into an empty file, too, and would make one that others may read.
  const fd = openSync(path, "wx", PRIVATE_FILE);
  try {
    db.prepare("VACUUM INTO ?").run(path);
    fsyncSync(fd);
  } catch (error) {
    rmSync(path);
    throw error;
  } finally {
    closeSync(fd);
  }
  syncFolder(dirname(path));
}

/** SQLite does not wait by itself for another process that does the same. */
function useWal(db: Database): void {
  const until = performance.now() + BUSY_MS;
  for (;;) {
    try {
      db.run("PRAGMA journal_mode = WAL");
      return;
    } catch (error) {
      if (!String((error as { code?: unknown }).code).startsWith("SQLITE_BUSY") || performance.now() > until)
        throw error;
      Bun.sleepSync(WAL_PAUSE_MS);
    }
  }
}

function mustBeOurs(db: Database, path: string): void {
  const application = pragma(db, "application_id");
  const tables = (db.query("SELECT count(*) AS count FROM sqlite_schema").get() as { count: number }).count;
  if (application !== APPLICATION_ID && tables > 0)
    throw new StoreError(
      "NOT_A_STORE",
      `${path} is a SQLite database, but no store of hrmr. Name another file in \`store.url\``,
    );
  const version = pragma(db, "user_version");
  if (application === APPLICATION_ID && version > SCHEMA_VERSION)
    throw new StoreError(
      "NEWER_SCHEMA",
      `the store ${path} was written by a newer version of hrmr (schema ${version}; this one knows ${SCHEMA_VERSION}). Use that version, or restore a backup`,
    );
}

function isReady(db: Database): boolean {
  return pragma(db, "application_id") === APPLICATION_ID && pragma(db, "user_version") === SCHEMA_VERSION;
}

function makeTables(db: Database): void {
  if (pragma(db, "application_id") === APPLICATION_ID) return;
  db.run(TABLES);
  db.run(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  db.run(`PRAGMA application_id = ${APPLICATION_ID}`);
}

/** Schema 1 did not keep the number of documents. */
function upgrade(db: Database): void {
  if (pragma(db, "user_version") !== 1) return;
  db.run("ALTER TABLE collections ADD COLUMN documents INTEGER NOT NULL DEFAULT 0");
  db.run("UPDATE collections SET documents = (SELECT count(*) FROM documents d WHERE d.collection = collections.id)");
  db.run(`PRAGMA user_version = ${SCHEMA_VERSION}`);
}

function pragma(db: Database, name: string): number {
  return Object.values(db.query(`PRAGMA ${name}`).get() as Record<string, number>)[0] as number;
}
