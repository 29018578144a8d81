/** The store with 1,000,000 documents: its start, its memory, and how much more its reads cost than with 100,000. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Bench, Line, Row } from "../bench";
import { compare, type Side } from "../compare";
import { Control } from "../control";
import { makeProject, moduleSource } from "../project";
import { settledBytes, startProcess, type Started } from "../server";
import { comparisonLine, figureLine } from "../table";
import { startArguments } from "./start-arguments";

const MANY = 1_000_000;
const FEW = 100_000;
/** Documents with the same user. */
const A_USER = 20;
const CONNECTIONS = 16;
const MEGABYTE = 1_048_576;
/** Lines that are written at a time. */
const STEP = 10_000;

const key = (at: number): string => `player:${String(at).padStart(7, "0")}`;

/** Each route takes keys at random: one document, the 20 of a user, a page of 100. */
const scores = (count: number): string =>
  moduleSource(`{
    collections: { scores: { indexes: ["user"] } },
    routes: {
      GET: { framing: "line", handle: async (_, { store }) =>
        (await store.collection("scores").get(key())) === null ? "ERR\\n" : "OK\\n" },
      FIND: { framing: "line", handle: async (_, { store }) =>
        (await store.collection("scores").find("user", { equals: user(), limit: 100 })).length === ${A_USER} ? "OK\\n" : "ERR\\n" },
      LIST: { framing: "line", handle: async (_, { store }) =>
        (await store.collection("scores").list({ prefix: "player:", after: key(0.9), limit: 100 })).length === 100 ? "OK\\n" : "ERR\\n" },
    },
  }`).replace(
    "export default",
    `const key = (part = 1) => "player:" + String(Math.floor(Math.random() * part * ${count})).padStart(7, "0");
const user = () => "user" + Math.floor(Math.random() * ${count / A_USER});
export default`,
  );

/** A project whose store has so many documents, made by `hrmr store import`. */
async function project({ program }: Bench, count: number): Promise<string> {
  const dir = makeProject({ "modules/scores.ts": scores(count) });
  const path = join(dir, "all.jsonl");
  const file = Bun.file(path).writer();
  for (let at = 0; at < count; at++) {
    const value = { user: `user${at % (count / A_USER)}`, points: at, note: "x".repeat(80) };
    file.write(`${JSON.stringify({ collection: "scores", key: key(at), value })}\n`);
    if (at % STEP === 0) await file.flush();
  }
  await file.end();
  const done = Bun.spawnSync([...program.argv, "store", "import", path], { cwd: dir });
  if (!done.success) throw new Error(`hrmr store import failed: ${done.stderr.toString()}`);
  rmSync(path);
  return dir;
}

/** A server of it whose index is made. */
async function serve(bench: Bench, dir: string): Promise<Started> {
  await (await startProcess("hrmr", startArguments(bench), dir)).stop();
  return await startProcess("hrmr", startArguments(bench), dir);
}

function side(server: Started, request: string): Side {
  return { server, spec: { connections: CONNECTIONS, request: `${request}\n`, reply: { pattern: "OK\\n" } } };
}

/** From the spawn to the first document. */
async function firstReadMs(bench: Bench, dir: string): Promise<number> {
  const server = await startProcess("hrmr", startArguments(bench), dir);
  const control = await Control.connect(server.port);
  try {
    const { reply, ms } = await control.ask("GET");
    if (reply !== "OK\n") throw new Error(`GET answers ${reply}`);
    return server.startMs + ms;
  } finally {
    control.close();
    await server.stop();
  }
}

export const storeMillionRow: Row = {
  name: "store-million",
  isExtra: true,
  async run(bench) {
    const [many, few] = [await project(bench, MANY), await project(bench, FEW)];
    const started: Started[] = [];
    try {
      started.push(await serve(bench, many), await serve(bench, few));
      const [million, fewer] = started as [Started, Started];
      const lines: Line[] = [];
      for (const [request, title] of [
        ["GET", "a document of a million : of 100,000"],
        ["FIND", "20 by an index, of a million : of 100,000"],
        ["LIST", "a page of a million : of 100,000"],
      ] as const)
        lines.push(comparisonLine(title, await compare(bench, side(million, request), side(fewer, request)), 2));
      const bytes = await settledBytes(million.pid);
      await Promise.all(started.splice(0).map((server) => server.stop()));
      return [
        ...lines,
        figureLine({ title: "memory with a million documents", value: bytes / MEGABYTE, most: 150, unit: " MB" }),
        figureLine({
          title: "start with a million documents, to one of them",
          value: await firstReadMs(bench, many),
          most: 500,
          unit: " ms",
          digits: 0,
        }),
      ];
    } finally {
      await Promise.all(started.map((server) => server.stop()));
    }
  },
};
