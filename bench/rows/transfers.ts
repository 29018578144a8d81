/** The store: transfers between 100,000 accounts, each answered when it is on the disk. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Accounts, ID, PAYEE, PAYER } from "../accounts";
import type { Bench, Row } from "../bench";
import { compare, type Comparison, type Side } from "../compare";
import { makeProject } from "../project";
import { exactly } from "../reply";
import { startBaseline, startProcess, type Started } from "../server";
import { comparisonLine, rateLine, skippedLine } from "../table";
import { postRequest } from "./http";
import { startArguments } from "./start-arguments";

const CONNECTIONS = 64;
const PIPELINED = 40;
const ACCOUNTS = 100_000;
const FIRST_BALANCE = 1_000_000;
const UNIFORM: Accounts = { count: ACCOUNTS, skew: 0 };
const ZIPF: Accounts = { count: ACCOUNTS, skew: 1.5 };

const PARAMS = `{"from":"${PAYER}","to":"${PAYEE}","amount":1}`;
const REQUEST = `{"jsonrpc":"2.0","id":${ID},"method":"bank.transfer","params":${PARAMS}}`;
const ANSWER = `${exactly('{"jsonrpc":"2.0","result":true,"id":')}\\d\\d\\}`;

const BANK = `import { defineModule, ServiceError } from "hrmr";
import { z } from "zod";

const Transfer = z.object({ from: z.string(), to: z.string(), amount: z.number().positive() });

export default defineModule({
  services: {
    transfer: {
      public: true,
      input: Transfer,
      call: ({ from, to, amount }, { store }) =>
        store.transaction(async (tx) => {
          const accounts = tx.collection("accounts");
          const payer = await accounts.get(from);
          const payee = await accounts.get(to);
          if (payer === null || payee === null) throw new ServiceError("NO_ACCOUNT", "there is no such account");
          if (payer.value.balance < amount) throw new ServiceError("NOT_ENOUGH", "not enough");
          await accounts.set(from, { balance: payer.value.balance - amount });
          await accounts.set(to, { balance: payee.value.balance + amount });
          return true;
        }),
    },
    fill: {
      public: true,
      async call([from, to], { store }) {
        const names = Array.from({ length: to - from }, (_, at) => String(from + at).padStart(6, "0"));
        await store
          .collection("accounts")
          .batch(names.map((name) => ({ set: name, value: { balance: ${FIRST_BALANCE} } })));
        return true;
      },
    },
    total: {
      public: true,
      async call(_, { store }) {
        const [row] = await store.sql\`SELECT sum(json_extract(text, '$.balance')) AS total FROM documents\`;
        return row.total;
      },
    },
  },
});
`;

async function startBank(bench: Bench): Promise<Started> {
  // 64 clients with 40 open calls are more than the server takes by default.
  const argv = [...startArguments(bench), "--set", "limits.maxQueued=4096"];
  const server = await startProcess("hrmr", argv, makeProject({ "modules/bank.ts": BANK }));
  try {
    for (let at = 0; at < ACCOUNTS; at += 1000) await ask(server, "fill", [at, at + 1000]);
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}

async function ask({ port }: Started, procedure: string, params: readonly unknown[]): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: `bank.${procedure}`, params });
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(`http://127.0.0.1:${port}/rpc`, { method: "POST", headers, body });
  const answer = (await response.json()) as { result?: unknown };
  if (!("result" in answer)) throw new Error(`bank.${procedure}: ${JSON.stringify(answer)}`);
  return answer.result;
}

/** @throws Error if money has come or gone */
async function mustBalance(server: Started): Promise<void> {
  const total = await ask(server, "total", []);
  if (total !== ACCOUNTS * FIRST_BALANCE) throw new Error(`the accounts hold ${String(total)}`);
}

function fileOfBaseline(): string {
  return join(makeProject({ "readme.txt": "The database of a comparison.\n" }), "bank.sqlite");
}

function lines(server: Started, accounts: Accounts, pipeline = PIPELINED): Side {
  const request = `${REQUEST}\n`;
  return {
    server,
    spec: { connections: CONNECTIONS, request, reply: { pattern: `${ANSWER}\\n` }, pipeline, accounts },
  };
}

function posts(server: Started, path: string, body: string, type: string, answer: string): Side {
  const request = postRequest(path, body);
  const reply = { http: { type }, pattern: answer };
  return { server, spec: { connections: CONNECTIONS, request, reply, accounts: UNIFORM } };
}

const overRpc = (server: Started): Side =>
  posts(server, "/rpc", REQUEST, "application/json;charset=utf-8", `${ANSWER}\\n?`);

/** hrmr against a program that `start` starts. */
async function against(
  bench: Bench,
  start: () => Promise<Started>,
  sides: (ours: Started, bound: Started) => readonly [Side, Side],
): Promise<Comparison> {
  const server = await startBank(bench);
  let bound: Started | null = null;
  try {
    bound = await start();
    const result = await compare(bench, ...sides(server, bound));
    await mustBalance(server);
    return result;
  } finally {
    await Promise.all([server.stop(), bound?.stop()]);
  }
}

const bare = (): Promise<Started> => startBaseline("transfers.ts", fileOfBaseline(), String(ACCOUNTS));
const serve = (): Promise<Started> => startBaseline("transfers-serve.ts", fileOfBaseline(), String(ACCOUNTS));

const NODE = join(import.meta.dir, "..", "baseline", "node");
const fastify = (): Promise<Started> =>
  startProcess("node", ["node", join(NODE, "transfers.js"), fileOfBaseline(), String(ACCOUNTS)], NODE);

export const transfersRow: Row = {
  name: "transfers-bare",
  async run(bench) {
    const result = await against(bench, bare, (ours, bound) => [lines(ours, UNIFORM), lines(bound, UNIFORM)]);
    return [comparisonLine("transfers, 40 at a time : bare bun:sqlite", result, 1.4)];
  },
};

export const transfersSingleRow: Row = {
  name: "transfers-single",
  isExtra: true,
  async run(bench) {
    const result = await against(bench, bare, (ours, bound) => [lines(ours, UNIFORM, 1), lines(bound, UNIFORM, 1)]);
    return [comparisonLine("transfers, one by one : bare bun:sqlite", result, null)];
  },
};

export const transfersZipfRow: Row = {
  name: "transfers-zipf",
  async run(bench) {
    const server = await startBank(bench);
    try {
      const result = await compare(bench, lines(server, ZIPF), lines(server, UNIFORM));
      await mustBalance(server);
      return [comparisonLine("transfers, Zipf 1.5 : uniform", result, 1.1)];
    } finally {
      await server.stop();
    }
  },
};

export const transfersServeRow: Row = {
  name: "transfers-serve",
  isExtra: true,
  async run(bench) {
    const result = await against(bench, serve, (ours, bound) => [
      overRpc(ours),
      posts(bound, "/transfer", PARAMS, "application/json;charset=utf-8", "true"),
    ]);
    return [comparisonLine("transfers, POST : Bun.serve, bun:sqlite", result, null)];
  },
};

const FASTIFY = "transfers a second : node, fastify, SQLite";

export const transfersNodeRow: Row = {
  name: "transfers-node",
  async run(bench) {
    if (!existsSync(join(NODE, "node_modules")))
      return [skippedLine(FASTIFY, "npm ci --prefix bench/baseline/node first")];
    const node = (bound: Started): Side =>
      posts(bound, "/transfer", PARAMS, "application/json;charset=utf-8", exactly('{"ok":true}'));
    const raw = await against(bench, fastify, (ours, bound) => [lines(ours, UNIFORM), node(bound)]);
    const http = await against(bench, fastify, (ours, bound) => [overRpc(ours), node(bound)]);
    return [rateLine(FASTIFY, raw, 6), rateLine("the same, POST /rpc : node", http, null)];
  },
};
