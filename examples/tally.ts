/**
 * A counter that all share: raw clients, HTTP, JSON-RPC and other modules. It is in a database, so all processes of the
 * server count together, and a restart loses nothing.
 *
 *   printf 'TALLY visits\n' | nc -N localhost 8080         # 1
 *   curl -X POST localhost:8080/tally/visits               # 2
 *   printf 'CALL tally.add {"name":"visits"}\n' | nc -N localhost 8080     # 3
 *   curl --json '{"name":"visits"}' localhost:8080/rpc/tally.add           # 4
 *   printf '{"jsonrpc":"2.0","id":1,"method":"tally.add","params":{"name":"visits"}}\n' | nc -N localhost 8080
 *
 *   In another module: await context.services.tally.add({ name: "visits", by: 5 })
 */
import { Database } from "bun:sqlite";
import { defineModule, service, ServiceError } from "hrmr";

function openTable(file: string): Database {
  const db = new Database(file);
  // Another process that writes is waited for, a second at most.
  db.run("PRAGMA busy_timeout = 1000");
  db.run("PRAGMA journal_mode = WAL");
  db.run("CREATE TABLE IF NOT EXISTS tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL)");
  return db;
}

/** One statement, so that no other process can count between reading and writing. */
const ADD = `INSERT INTO tally VALUES (?, ?)
  ON CONFLICT DO UPDATE SET count = count + excluded.count RETURNING count`;

function add(db: Database, name: string, by: number): number {
  const isName = typeof name === "string" && name !== "" && name.length <= 100;
  if (!isName || !Number.isSafeInteger(by)) throw new ServiceError("BAD_INPUT", "give a name, and a whole number");
  return db.query<{ count: number }, [string, number]>(ADD).get(name, by)?.count ?? 0;
}

export default defineModule({
  // The database stays open over reloads, and is closed when the server ends.
  setup: async ({ shared, dataDir }) => ({ db: await shared.open("db", () => openTable(`${dataDir}/tally.sqlite`)) }),
  services: {
    add: service({
      description: "Adds to a counter, and answers its new value",
      public: true,
      call: (input: { name: string; by?: number }, { state }): number => add(state.db, input?.name, input?.by ?? 1),
    }),
  },
  routes: {
    "TALLY ": {
      framing: "line",
      description: "TALLY name: counts",
      handle: ({ text }, { state }) => `${add(state.db, text.slice("TALLY ".length), 1)}\n`,
    },
    "POST /tally/:name": {
      description: "counts",
      fetch: (_request, { state, params }) => new Response(`${add(state.db, params.name, 1)}\n`),
    },
  },
});
