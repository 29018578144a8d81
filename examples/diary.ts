/**
 * A login for raw clients. A client shows its token once, with AUTH, and each of its messages then has a session. A
 * diary is for those whose token has the scope app:diary, and each of them has one of its own.
 *
 *   hrmr token add ada --scope app:diary > token
 *   printf 'AUTH %s\nDIARY rain\nDIARY\n' "$(cat token)" | nc -N localhost 8080     # -> rain
 *   printf 'DIARY rain\n' | nc -N localhost 8080     # -> ERR show a token with AUTH first
 */
import { Database } from "bun:sqlite";
import { defineModule } from "hrmr";

function openPages(file: string): Database {
  const db = new Database(file);
  db.run("PRAGMA busy_timeout = 1000");
  db.run("PRAGMA journal_mode = WAL");
  db.run("CREATE TABLE IF NOT EXISTS pages (owner TEXT NOT NULL, text TEXT NOT NULL)");
  return db;
}

const LAST =
  "SELECT text FROM (SELECT rowid, text FROM pages WHERE owner = ? ORDER BY rowid DESC LIMIT 10) ORDER BY rowid";

export default defineModule({
  setup: async ({ shared, dataDir }) => ({ db: await shared.open("db", () => openPages(`${dataDir}/diary.sqlite`)) }),
  routes: {
    DIARY: {
      framing: "line",
      description: "DIARY text: writes into your diary; DIARY alone: its last lines",
      handle({ text, session }, { state: { db } }) {
        // The server never refuses a message to a module: this is the check.
        if (session.identity === null) return "ERR show a token with AUTH first\n";
        if (!session.scopes.includes("app:diary")) return "ERR your token has not the scope app:diary\n";
        const line = text.slice("DIARY".length).trim();
        if (line === "") {
          const pages = db.query<{ text: string }, [string]>(LAST).all(session.identity);
          return [...pages.map((page) => page.text), "."].join("\n") + "\n";
        }
        db.run("INSERT INTO pages VALUES (?, ?)", [session.identity, line]);
        return "OK\n";
      },
    },
  },
});
