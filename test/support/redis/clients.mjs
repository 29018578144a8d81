// Clients of Redis under node, as the npm packages have them: node clients.mjs ioredis|node-redis PORT. Prints what they saw.
import { createClient } from "@redis/client";
import { Redis } from "ioredis";

const [, , which, port] = process.argv;

async function ioredis() {
  const client = new Redis(Number(port), "127.0.0.1", { db: 3 });
  const seen = [];
  seen.push(await client.set("greeting", "hällo", "EX", 100), await client.get("greeting"));
  seen.push(await client.pipeline().incr("n").incrby("n", 41).get("n").exec());
  seen.push(await client.hset("h", { a: "1", b: "ä" }), await client.hgetall("h"));
  seen.push(await client.zadd("z", 1, "x", 2.5, "y"), await client.zrange("z", 0, -1, "WITHSCORES"));
  seen.push(await client.multi().rpush("l", "a", "b").lrange("l", 0, -1).exec());
  await client.set("bytes", Buffer.from([0, 255]));
  seen.push([...(await client.getBuffer("bytes"))]);
  await client.watch("n");
  const other = client.duplicate();
  await other.set("n", "7");
  seen.push(await client.multi().set("n", "8").exec(), await client.get("n"));
  seen.push(await client.incr("greeting").catch((error) => error.message));
  const keys = [];
  for await (const page of client.scanStream({ match: "?", count: 1 })) keys.push(...page);
  seen.push(keys.sort());
  await Promise.all([client.quit(), other.quit()]);
  return seen;
}

async function nodeRedis() {
  const seen = [];
  for (const RESP of [2, 3]) {
    const client = await createClient({ url: `redis://127.0.0.1:${port}/${RESP + 2}`, RESP }).connect();
    seen.push(await client.set("greeting", "hällo", { EX: 100 }), await client.get("greeting"));
    seen.push(await Promise.all([client.incr("n"), client.incrBy("n", 41), client.get("n")]));
    seen.push(await client.hSet("h", { a: "1", b: "ä" }), { ...(await client.hGetAll("h")) });
    seen.push(
      await client.zAdd("z", [
        { score: 1, value: "x" },
        { score: 2.5, value: "y" },
      ]),
    );
    seen.push(await client.zRangeWithScores("z", 0, -1));
    seen.push(await client.multi().rPush("l", ["a", "b"]).lRange("l", 0, -1).exec());
    await client.watch("n");
    const other = await client.duplicate().connect();
    await other.set("n", "7");
    seen.push(
      await client
        .multi()
        .set("n", "8")
        .exec()
        .catch((error) => error.constructor.name),
    );
    seen.push(await client.incr("greeting").catch((error) => error.message));
    const keys = [];
    for await (const page of client.scanIterator({ MATCH: "?", COUNT: 1 })) keys.push(...page);
    seen.push(keys.sort());
    await client.close();
    await other.close();
  }
  return seen;
}

console.log(JSON.stringify(await (which === "ioredis" ? ioredis() : nodeRedis())));
process.exit(0);
