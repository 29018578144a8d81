/** Transfers by node, `node transfers.js FILE ACCOUNTS`: fastify, better-sqlite3, a COMMIT a request. */
import Database from "better-sqlite3";
import fastify from "fastify";

const [file, accounts] = process.argv.slice(2);
const FIRST_BALANCE = 1_000_000;

const db = new Database(file);
db.pragma("journal_mode = WAL");
db.pragma("synchronous = FULL");
db.exec("CREATE TABLE accounts (id TEXT PRIMARY KEY, balance INTEGER NOT NULL)");
db.transaction(() => {
  const insert = db.prepare("INSERT INTO accounts (id, balance) VALUES (?, ?)");
  for (let at = 0; at < Number(accounts); at++) insert.run(String(at).padStart(6, "0"), FIRST_BALANCE);
})();

const read = db.prepare("SELECT balance FROM accounts WHERE id = ?");
const write = db.prepare("UPDATE accounts SET balance = ? WHERE id = ?");
const transfer = db.transaction((from, to, amount) => {
  const [payer, payee] = [read.get(from), read.get(to)];
  if (payer === undefined || payee === undefined) throw new Error("there is no such account");
  if (payer.balance < amount) throw new Error("not enough");
  write.run(payer.balance - amount, from);
  write.run(payee.balance + amount, to);
});

const body = {
  type: "object",
  required: ["from", "to", "amount"],
  properties: { from: { type: "string" }, to: { type: "string" }, amount: { type: "number", exclusiveMinimum: 0 } },
};
const server = fastify({ keepAliveTimeout: 600_000 });
server.post("/transfer", { schema: { body } }, async (request) => {
  const { from, to, amount } = request.body;
  transfer.immediate(from, to, amount);
  return { ok: true };
});
console.log(`listening on ${await server.listen({ host: "127.0.0.1", port: 0 })}`);
