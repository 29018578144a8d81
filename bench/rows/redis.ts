/** The store by Redis' protocol, against redis-server with an append-only file. redis-benchmark is the load. */
import type { Bench, Line, Row } from "../bench";
import { compareLoads, type Loaded } from "../compare";
import { makeProject } from "../project";
import { RedisBenchmark, whyNoRedis } from "../redis-benchmark";
import { startBaseline, startProcess, type Started } from "../server";
import { rateLine, skippedLine } from "../table";
import { startArguments } from "./start-arguments";

interface Case {
  /** As redis-benchmark knows it. */
  readonly test: string;
  readonly pipeline: number;
  /** Of redis-server's requests a second. null: no target. */
  readonly least: number | null;
}

interface Durability {
  readonly store: "full" | "relaxed";
  readonly redis: "always" | "everysec";
}

const FSYNCED: Durability = { store: "full", redis: "always" };
const RELAXED: Durability = { store: "relaxed", redis: "everysec" };

function redisRow(name: string, durability: Durability, cases: readonly Case[], isExtra = false): Row {
  const title = ({ test, pipeline }: Case): string =>
    `${test.toUpperCase()}, ${pipeline} pipelined : redis-server, ${durability.redis}`;
  return {
    name,
    isExtra,
    async run(bench) {
      const reason = whyNoRedis();
      if (reason !== null) return cases.map((each) => skippedLine(title(each), reason));
      return await withBoth(bench, durability, async (server, redis) => {
        const lines: Line[] = [];
        for (const each of cases) {
          const result = await compareLoads(bench.rounds, loaded(server, each), loaded(redis, each));
          lines.push(rateLine(title(each), result, each.least));
        }
        return lines;
      });
    },
  };
}

function loaded(server: Started, { test, pipeline }: Case): Loaded {
  const load = new RedisBenchmark(server.port, test, pipeline);
  return { server, run: (ms) => load.run(ms) };
}

async function withBoth<T>(
  bench: Bench,
  { store, redis }: Durability,
  act: (server: Started, redis: Started) => Promise<T>,
): Promise<T> {
  const settings = JSON.stringify({ modules: { store: {} }, store: { durability: store } });
  const server = await startProcess("hrmr", startArguments(bench), makeProject({ "hrmr.json": settings }));
  let bound: Started | null = null;
  try {
    bound = await startBaseline("redis.ts", makeProject({ "readme.txt": "Of redis-server.\n" }), redis);
    // Something that can be read.
    for (const each of [server, bound]) await new RedisBenchmark(each.port, "set", 16).run(FILL_MS);
    return await act(server, bound);
  } finally {
    await Promise.all([server.stop(), bound?.stop()]);
  }
}

const FILL_MS = 2000;

export const redisReadRow = redisRow("redis-get", FSYNCED, [
  { test: "get", pipeline: 16, least: 0.5 },
  { test: "get", pipeline: 1, least: null },
]);
export const redisWriteRow = redisRow("redis-set", FSYNCED, [
  { test: "set", pipeline: 16, least: 0.4 },
  { test: "set", pipeline: 1, least: null },
]);
export const redisRelaxedRow = redisRow("redis-relaxed", RELAXED, [
  { test: "set", pipeline: 16, least: 0.3 },
  { test: "set", pipeline: 1, least: null },
]);
export const redisOthersRow = redisRow(
  "redis-others",
  FSYNCED,
  [16, 1].flatMap((pipeline) => ["incr", "mset"].map((test) => ({ test, pipeline, least: null }))),
  true,
);
