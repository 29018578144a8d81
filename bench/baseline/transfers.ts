/**
 * The transfers of rows/transfers.ts by hand, `bun transfers.ts FILE ACCOUNTS`: lines of JSON-RPC in, read and checked
 * by the same schema, the same rows in bun:sqlite, one COMMIT for all that came in a turn of the loop, answers behind
 * it.
 */
import { Database } from "bun:sqlite";
import type { Socket } from "bun";
import { z } from "zod";
import { accountName } from "../accounts";

const [file = "", accounts = "0"] = process.argv.slice(2);
const FIRST_BALANCE = 1_000_000;
const ANSWER = '{"jsonrpc":"2.0","result":true,"id":';

const Transfer = z.object({ from: z.string(), to: z.string(), amount: z.number().positive() });

const db = new Database(file, { create: true, readwrite: true, strict: true });
db.run("PRAGMA journal_mode = WAL");
db.run("PRAGMA synchronous = FULL");
db.run("PRAGMA cache_size = -32768");
db.run(`CREATE TABLE documents (
  collection INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, text TEXT NOT NULL, expires INTEGER,
  PRIMARY KEY (collection, key)
) WITHOUT ROWID`);
db.run("CREATE TABLE changes (last INTEGER PRIMARY KEY, changes TEXT NOT NULL)");
let version = 0;
db.transaction(() => {
  const insert = db.prepare("INSERT INTO documents (collection, key, version, text) VALUES (1, ?, ?, ?)");
  for (let at = 0; at < Number(accounts); at++)
    insert.run(accountName(at), ++version, JSON.stringify({ balance: FIRST_BALANCE }));
})();

const [begin, commit] = [db.prepare("BEGIN IMMEDIATE"), db.prepare("COMMIT")];
const read = db.prepare<{ text: string }, [string]>("SELECT text FROM documents WHERE collection = 1 AND key = ?");
const write = db.prepare("UPDATE documents SET version = ?, text = ?, expires = NULL WHERE collection = 1 AND key = ?");
const log = db.prepare("INSERT INTO changes (last, changes) VALUES (?, ?)");

let changes: (string | number)[] = [];
let answers = new Map<Socket, string>();

function transfer(line: string): string {
  const { id, params } = JSON.parse(line) as { id: number; params: unknown };
  const checked = Transfer.safeParse(params);
  if (!checked.success)
    return `{"jsonrpc":"2.0","error":{"code":-32602,"message":"the input does not fit"},"id":${id}}\n`;
  const { from, to, amount } = checked.data;
  const [payer, payee] = [balanceOf(from), balanceOf(to)];
  if (payer < amount) return `{"jsonrpc":"2.0","error":{"code":-32000,"message":"not enough"},"id":${id}}\n`;
  put(from, payer - amount);
  put(to, payee + amount);
  return `${ANSWER}${id}}\n`;
}

function balanceOf(key: string): number {
  const { text } = read.get(key) as { text: string };
  return (JSON.parse(text) as { balance: number }).balance;
}

function put(key: string, balance: number): void {
  const text = JSON.stringify({ balance });
  write.run(++version, text, key);
  changes.push(version, "accounts", key, "set", text);
}

function endTurn(): void {
  log.run(version, JSON.stringify(changes));
  commit.run();
  changes = [];
  const ready = answers;
  answers = new Map();
  for (const [socket, text] of ready) socket.write(text);
}

const listener = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  socket: {
    data(socket, bytes) {
      if (answers.size === 0) {
        begin.run();
        setImmediate(endTurn);
      }
      let text = answers.get(socket) ?? "";
      for (const line of bytes.toString("utf8").split("\n")) if (line !== "") text += transfer(line);
      answers.set(socket, text);
    },
  },
});
console.log(`listening on tcp://127.0.0.1:${listener.port}`);
