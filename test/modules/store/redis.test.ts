/** The replies to clients of Redis are those of redis-server. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { shareHub } from "../../support/hub";
import { Random } from "../../support/random";
import { randomCommand } from "../../support/redis/random";
import type { Reply } from "../../support/redis/reply";
import { NO_REDIS, RedisConnection, RedisServer } from "../../support/redis/server";

/** `npm run test:long` makes more. */
const SEEDS = Number(process.env["HRMR_TEST_STORE_SEEDS"] ?? 8);
const COMMANDS = 250;
/** Sent at once. */
const MAX_TOGETHER = 20;
const TABLE = join(import.meta.dir, "../../support/redis/commands.txt");
/** That the times of two servers may differ, in their unit. */
const UNCERTAIN = 5000;

type Answer = Reply | null;

const onHub = shareHub({ "hrmr.json": JSON.stringify({ modules: { store: {} } }) });
let redis: RedisServer;

interface Line {
  readonly text: string;
  readonly args: readonly string[];
  /** "~": the order of its elements does not matter. "?": a time, about. */
  readonly mark: string;
}

function readTable(): Line[][] {
  const text = readFileSync(TABLE, "utf8").replaceAll(/^#.*\n/gm, "");
  return text.split(/\n\n+/).map((group) =>
    group
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const [, mark = "", rest = ""] = /^([~?]?)(.*)$/.exec(line) ?? [];
        const words = rest.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? [];
        const args = words.map((word) => (word.startsWith('"') ? (JSON.parse(word) as string) : word));
        return { text: rest, args, mark };
      }),
  );
}

function comparable(answer: Answer, mark: string): unknown {
  if (mark === "?" && typeof answer === "number") return answer < 0 ? answer : Math.round(answer / UNCERTAIN);
  return mark === "~" ? sorted(answer) : answer;
}

function sorted(answer: Answer): unknown {
  if (!Array.isArray(answer)) return answer;
  return answer.map((each) => JSON.stringify(sorted(each as Answer))).toSorted();
}

/** Connections to both, on a database that nothing else uses. */
async function withBoth(
  database: number,
  port: number,
  work: (theirs: RedisConnection, ours: RedisConnection) => Promise<void>,
): Promise<void> {
  const both = await Promise.all([RedisConnection.open(redis.socket), RedisConnection.open(port)]);
  try {
    for (const each of both) await each.sendAll([["SELECT", String(database)]]);
    await work(...both);
  } finally {
    for (const each of both) each.close();
  }
}

describe.skipIf(NO_REDIS !== null)(`replies${NO_REDIS === null ? "" : ` (skipped: ${NO_REDIS})`}`, () => {
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(async () => {
    await redis.stop();
  });

  test("to hundreds of commands are those of redis-server", () =>
    onHub(async (hub) => {
      const groups = readTable();
      expect(groups.flat().length).toBeGreaterThan(700);
      expect(new Set(groups.flat().map(({ args }) => args[0]?.toUpperCase())).size).toBeGreaterThan(125);
      for (const [database, lines] of groups.entries())
        await withBoth(database, hub.port, async (theirs, ours) => {
          const commands = lines.map(({ args }) => args);
          const [expected, found] = await Promise.all([theirs.sendAll(commands), ours.sendAll(commands)]);
          const show = (answers: Answer[]) =>
            lines.map(({ text, mark }, at) => [text, comparable(answers[at] ?? null, mark)]);
          expect(show(found)).toEqual(show(expected));
        });
    }));

  test.each(Array.from({ length: SEEDS }, (_, seed) => seed))(
    "to random pipelines are those of redis-server (%d)",
    (seed) =>
      onHub((hub) =>
        withBoth(1000 + seed, hub.port, async (theirs, ours) => {
          const random = new Random(seed);
          for (let sent = 0; sent < COMMANDS;) {
            const commands = Array.from({ length: 1 + random.below(MAX_TOGETHER) }, () => randomCommand(random));
            sent += commands.length;
            const lines = commands.map(({ args }) => args);
            const [expected, found] = await Promise.all([theirs.sendAll(lines), ours.sendAll(lines)]);
            const show = (answers: Answer[]) =>
              commands.map(({ args, isUnordered }, at) => {
                // The replies of EXEC have no marks of their own.
                const mark = isUnordered || args[0] === "EXEC" ? "~" : "";
                return [args.join(" "), at + sent, comparable(answers[at] ?? null, mark)];
              });
            expect(show(found)).toEqual(show(expected));
          }
        }),
      ),
  );
});
