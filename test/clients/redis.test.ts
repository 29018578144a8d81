/**
 * Clients of Redis as they are: ioredis and node-redis under node, redis-py. They see the same as of
 * redis-server. redis-py is skipped where Debian's python3-redis is not installed.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { shareHub } from "../support/hub";
import { NO_REDIS, RedisServer } from "../support/redis/server";

const SCRIPT = resolve(import.meta.dir, "../support/redis/clients.mjs");
const PYTHON_SCRIPT = join(import.meta.dir, "../support/redis/clients.py");
const NODE = Bun.which("node") ?? "node";
/** Debian's: its packages are not there for another one on PATH. */
const PYTHON = "/usr/bin/python3";
const hasPythonClient = existsSync(PYTHON) && Bun.spawnSync([PYTHON, "-c", "import redis"]).exitCode === 0;

const onHub = shareHub({ "hrmr.json": JSON.stringify({ modules: { store: {} } }) });
let redis: RedisServer | null = null;

beforeAll(async () => {
  if (NO_REDIS === null) redis = await RedisServer.start();
});
afterAll(async () => {
  await redis?.stop();
});

async function run(...command: string[]): Promise<unknown> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe" });
  const [text, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")}: ${text}${errors}`);
  return JSON.parse(text);
}

const CLIENTS: Record<string, (port: number) => string[]> = {
  ioredis: (port) => [NODE, SCRIPT, "ioredis", String(port)],
  "node-redis": (port) => [NODE, SCRIPT, "node-redis", String(port)],
  "redis-py": (port) => [PYTHON, PYTHON_SCRIPT, String(port)],
};

for (const [client, command] of Object.entries(CLIENTS))
  test.skipIf(client === "redis-py" && !hasPythonClient)(`${client} works as it is`, () =>
    onHub(async (hub) => {
      const seen = await run(...command(hub.port));
      expect(JSON.stringify(seen)).toContain("hällo");
      if (redis !== null) expect(seen).toEqual(await run(...command(redis.port)));
    }),
  );
