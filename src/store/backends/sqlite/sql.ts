/** Statements of modules. */
import type { Database, SQLQueryBindings } from "bun:sqlite";
import { StoreError } from "../../../module/store/error";
import type { SqlStatement } from "../../../module/store/port";

/** Statements that change nothing. */
const READS = /^\s*(?:select|values|explain)\b/i;

/**
 * @param onChanges called when it may have changed anything, also if it failed
 * @throws StoreError UNSUPPORTED: it has begun a transaction, which nobody would end; or an error of SQLite
 */
export function runSql(db: Database, { parts, values }: SqlStatement, onChanges: () => void) {
  const text = parts.join("?");
  const wasWithin = db.inTransaction;
  const statement = db.prepare(text);
  try {
    return statement.all(...(values as SQLQueryBindings[])) as Record<string, unknown>[];
  } finally {
    statement.finalize();
    if (!READS.test(text)) onChanges();
    if (!wasWithin && db.inTransaction) leave(db);
  }
}

function leave(db: Database): never {
  db.run("ROLLBACK");
  throw new StoreError("UNSUPPORTED", "sql cannot begin a transaction: use `context.store.transaction`");
}
