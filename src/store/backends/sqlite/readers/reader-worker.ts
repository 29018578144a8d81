/** Entry of a reader thread: a Worker that reads a store of SQLite by a handle of its own. */
import { Database, type SQLQueryBindings } from "bun:sqlite";
import type { StoredEntry } from "../../../../module/store/port";
import { entriesOfPage } from "../pages";
import type { FromReader, ToReader } from "./messages";

/** The part of a Worker's global scope that is used here; the DOM's types are not loaded. */
interface WorkerScope {
  onmessage: ((event: { data: ToReader }) => void) | null;
  postMessage(data: FromReader): void;
}

/** How long it waits for another process that puts the file in order after a crash. In milliseconds. */
const BUSY_MS = 5000;
/** An answer is held in memory twice on its way. */
const MAX_ROWS_LETTERS = 64_000_000;

const scope = globalThis as unknown as WorkerScope;
let path = "";
let open: Database | null = null;

scope.onmessage = ({ data }) => {
  if (data.type === "open") path = data.path;
  else scope.postMessage(data.type === "close" ? close() : answer(data));
};

function answer({ sql, values, isPage }: Extract<ToReader, { type: "read" }>): FromReader {
  try {
    const db = (open ??= openToRead());
    const statement = db.prepare(sql);
    try {
      const rows = statement.iterate(...(values as SQLQueryBindings[]));
      return isPage ? pageOf(db, rows as Iterable<StoredEntry>) : rowsOf(rows as Iterable<Record<string, unknown>>);
    } finally {
      statement.finalize();
    }
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    return { type: "failed", code: typeof code === "string" ? code : null, message: String(message ?? error) };
  }
}

function openToRead(): Database {
  const db = new Database(path, { readonly: true, strict: true });
  db.run(`PRAGMA busy_timeout = ${BUSY_MS}`);
  return db;
}

/** The version is that of the same moment. */
function pageOf(db: Database, rows: Iterable<StoredEntry>): FromReader {
  db.run("BEGIN");
  try {
    const { at } = db.query("SELECT coalesce(max(last), 0) AS at FROM changes").get() as { at: number };
    const cells = entriesOfPage(rows).flatMap(({ key, text, version, expiresAt }) => [key, text, version, expiresAt]);
    return { type: "page", at, cells };
  } finally {
    db.run("COMMIT");
  }
}

function rowsOf(all: Iterable<Record<string, unknown>>): FromReader {
  const rows: Record<string, unknown>[] = [];
  let letters = 0;
  for (const row of all) {
    rows.push(row);
    letters += lettersOf(row);
    if (letters > MAX_ROWS_LETTERS)
      return {
        type: "failed",
        code: "TOO_LARGE",
        message: `the answer has more than ${MAX_ROWS_LETTERS / 1e6} MB. Ask for less, by LIMIT or fewer columns`,
      };
  }
  return { type: "rows", rows };
}

function lettersOf(row: Record<string, unknown>): number {
  let letters = 0;
  for (const [name, value] of Object.entries(row))
    letters += name.length + (typeof value === "string" || value instanceof Uint8Array ? value.length : 8);
  return letters;
}

function close(): FromReader {
  open?.close();
  open = null;
  return { type: "closed" };
}
