/** Transfers by Bun's own parts, `bun transfers-serve.ts FILE ACCOUNTS`: Bun.serve, bun:sqlite, a COMMIT a request. */
import { Database } from "bun:sqlite";
import { accountName } from "../accounts";

const [file = "", accounts = "0"] = process.argv.slice(2);
const FIRST_BALANCE = 1_000_000;

const db = new Database(file, { create: true, readwrite: true, strict: true });
db.run("PRAGMA journal_mode = WAL");
db.run("PRAGMA synchronous = FULL");
db.run("CREATE TABLE accounts (id TEXT PRIMARY KEY, balance INTEGER NOT NULL)");
db.transaction(() => {
  const insert = db.prepare("INSERT INTO accounts (id, balance) VALUES (?, ?)");
  for (let at = 0; at < Number(accounts); at++) insert.run(accountName(at), FIRST_BALANCE);
})();

const read = db.prepare<{ balance: number }, [string]>("SELECT balance FROM accounts WHERE id = ?");
const write = db.prepare("UPDATE accounts SET balance = ? WHERE id = ?");
const transfer = db.transaction((from: string, to: string, amount: number) => {
  const [payer, payee] = [read.get(from), read.get(to)];
  if (payer === null || payee === null) throw new Error("there is no such account");
  if (payer.balance < amount) throw new Error("not enough");
  write.run(payer.balance - amount, from);
  write.run(payee.balance + amount, to);
});

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  routes: {
    "/transfer": {
      async POST(request) {
        const { from, to, amount } = (await request.json()) as { from: string; to: string; amount: number };
        transfer.immediate(from, to, amount);
        return Response.json(true);
      },
    },
  },
});
console.log(`listening on http://127.0.0.1:${server.port}`);
