/** Looks for faults in a store of SQLite. */
import type { Database } from "bun:sqlite";
import { entriesOf } from "../../plan";

/** Faults of one kind that are told one by one. */
const MAX_TOLD = 20;

/** @returns the faults, each a sentence */
export function checkFile(db: Database): string[] {
  const pages = db.query("PRAGMA integrity_check").all() as { integrity_check: string }[];
  const faults = pages.map((each) => each.integrity_check).filter((text) => text !== "ok");
  if (faults.length > 0) return faults.slice(0, MAX_TOLD).map((text) => `SQLite: ${text}`);
  return [...documentFaults(db), ...countFaults(db), ...indexFaults(db)];
}

function documentFaults(db: Database): string[] {
  const rows = db
    .query(
      "SELECT c.name AS collection, d.key AS key FROM documents d LEFT JOIN collections c ON c.id = d.collection WHERE c.id IS NULL OR NOT json_valid(d.text) LIMIT ?",
    )
    .all(MAX_TOLD) as { collection: string | null; key: string }[];
  return rows.map(({ collection, key }) => `the document ${JSON.stringify(key)} of ${collection} is not JSON`);
}

function countFaults(db: Database): string[] {
  const rows = db
    .query(
      "SELECT c.name AS name, c.documents AS told, (SELECT count(*) FROM documents d WHERE d.collection = c.id) AS found FROM collections c WHERE told <> found LIMIT ?",
    )
    .all(MAX_TOLD) as { name: string; told: number; found: number }[];
  return rows.map(({ name, told, found }) => `the collection ${name} has ${found} documents, and counts ${told}`);
}

interface IndexRow {
  readonly id: number;
  readonly collection: number;
  readonly name: string;
  readonly of: string;
}

function indexFaults(db: Database): string[] {
  const indexes = db
    .query(
      "SELECT i.id AS id, i.collection AS collection, i.name AS name, c.name AS of FROM indexes i JOIN collections c ON c.id = i.collection WHERE i.complete = 1",
    )
    .all() as IndexRow[];
  return indexes.flatMap((index) => entryFaults(db, index));
}

function entryFaults(db: Database, { id, collection, name, of }: IndexRow): string[] {
  const has = db.query('SELECT 1 FROM entries WHERE "index" = ? AND value = ? AND key = ?');
  const faults: string[] = [];
  let expected = 0;
  for (const row of db.query("SELECT key, text FROM documents WHERE collection = ?").iterate(collection)) {
    const { key, text } = row as { key: string; text: string };
    for (const { value } of entriesOf({ text, version: 0, expiresAt: null }, [name])) {
      expected++;
      if (has.get(id, value, key) === null && faults.length < MAX_TOLD)
        faults.push(`the index ${name} of ${of} lacks the document ${JSON.stringify(key)}`);
    }
  }
  const { count } = db.query('SELECT count(*) AS count FROM entries WHERE "index" = ?').get(id) as { count: number };
  if (count > expected) faults.push(`the index ${name} of ${of} has ${count - expected} entries too many`);
  return faults;
}
