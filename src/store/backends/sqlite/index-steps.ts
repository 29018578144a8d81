/** Making and removing the entries of an index, a part at a time. */
import type { Statement } from "bun:sqlite";
import { entriesOf } from "../../plan";

/** Documents whose entries are made in one step. */
const BUILD_STEP = 1000;
/** Entries that are removed in one step. */
const DROP_STEP = 10_000;

/** Prepares a statement, or takes the one that was prepared before. */
type Prepare = (sql: string) => Statement;

interface IndexPlace {
  /** The ids in the database. null: the collection has no document yet. */
  readonly id: number;
  readonly collection: number | null;
  /** The field. */
  readonly name: string;
}

/** Makes the entries of the next documents. @returns whether it is complete */
export function buildStep(prepare: Prepare, { id, collection, name }: IndexPlace): boolean {
  const { built, complete } = prepare("SELECT built, complete FROM indexes WHERE id = ?").get(id) as {
    built: string | null;
    complete: number;
  };
  if (complete === 1) return true;
  // The key "" is before all others.
  const from = built === null ? "key >= ?" : "key > ?";
  const documents = prepare(
    `SELECT key, text FROM documents WHERE collection = ? AND ${from} ORDER BY key LIMIT ?`,
  ).all(collection, built ?? "", BUILD_STEP) as { key: string; text: string }[];
  for (const { key, text } of documents)
    for (const { value } of entriesOf({ text, version: 0, expiresAt: null }, [name]))
      addEntry(prepare, id, { value, key });
  const isComplete = documents.length < BUILD_STEP;
  prepare("UPDATE indexes SET built = ?, complete = ? WHERE id = ?").run(
    documents.at(-1)?.key ?? built ?? "",
    isComplete ? 1 : 0,
    id,
  );
  return isComplete;
}

/** Removes some of its entries, and at last itself. @returns whether it is gone */
export function dropStep(prepare: Prepare, id: number): boolean {
  const next = prepare('SELECT value, key FROM entries WHERE "index" = ? ORDER BY value, key LIMIT 1 OFFSET ?').get(
    id,
    DROP_STEP,
  ) as { value: string; key: string } | null;
  if (next !== null) {
    prepare('DELETE FROM entries WHERE "index" = ? AND (value, key) < (?, ?)').run(id, next.value, next.key);
    // It is declared again before it is gone: its entries are made anew.
    prepare("UPDATE indexes SET complete = 0, built = NULL WHERE id = ?").run(id);
    return false;
  }
  prepare('DELETE FROM entries WHERE "index" = ?').run(id);
  prepare("DELETE FROM indexes WHERE id = ?").run(id);
  return true;
}

export function addEntry(
  prepare: Prepare,
  id: number,
  { value, key }: { readonly value: string; readonly key: string },
): void {
  prepare('INSERT OR IGNORE INTO entries ("index", value, key) VALUES (?, ?, ?)').run(id, value, key);
}
