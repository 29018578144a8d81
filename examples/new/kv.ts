/**
 * Keys and values, for clients and for other modules: `await context.services["NAME"].get("color")`. They are in a
 * database, which all processes of the server share, and which outlives restarts.
 *
 *   hrmr send 'COMMAND SET color blue'
 *   hrmr send 'COMMAND GET color'
 */
import { Database } from "bun:sqlite";
import { defineModule } from "hrmr";

function openRows(file: string): Database {
  const db = new Database(file);
  // Another process that writes is waited for, a second at most.
  db.run("PRAGMA busy_timeout = 1000");
  db.run("PRAGMA journal_mode = WAL");
  db.run("CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY, value TEXT NOT NULL)");
  return db;
}

function get(db: Database, key: string): string | null {
  return db.query<{ value: string }, [string]>("SELECT value FROM kv WHERE key = ?").get(key)?.value ?? null;
}

function set(db: Database, key: string, value: string): void {
  db.run("INSERT OR REPLACE INTO kv VALUES (?, ?)", [key, value]);
}

export default defineModule({
  // The database stays open over reloads, and is closed when the server ends.
  setup: async ({ shared, dataDir }) => ({ db: await shared.open("db", () => openRows(`${dataDir}/kv.sqlite`)) }),
  services: {
    get: (key: string, { state }) => get(state.db, key),
    set: ([key, value]: [string, string], { state }) => set(state.db, key, value),
  },
  routes: {
    "COMMAND GET ": {
      framing: "line",
      description: "COMMAND GET key: its value",
      handle: ({ text }, { state }) => `${get(state.db, text.slice("COMMAND GET ".length)) ?? "(none)"}\n`,
    },
    "COMMAND SET ": {
      framing: "line",
      description: "COMMAND SET key value: keeps it",
      handle({ text }, { state }) {
        const [key = "", ...value] = text.slice("COMMAND SET ".length).split(" ");
        set(state.db, key, value.join(" "));
        return "OK\n";
      },
    },
  },
});
