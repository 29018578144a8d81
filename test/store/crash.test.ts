/** The processes of the server are killed in the middle of writes. Also run against the binary (HRMR_BIN). */
import { expect, test } from "bun:test";
import type { RawClient } from "../support/client";
import type { Hub } from "../support/hub";
import { Random } from "../support/random";
import { type Project, withProject } from "../support/restarts";
import { runOnStore, STORE_MODULE } from "../support/store-module";
import { faultsOf, PairWriter } from "../support/store/writer";
import { lives, processesIn } from "../support/supervised";
import { until } from "../support/until";

/** `npm run test:long` makes more and longer ones. */
const KILLS = Number(process.env["HRMR_TEST_STORE_KILLS"] ?? 2);
const WRITES = Number(process.env["HRMR_TEST_STORE_WRITES"] ?? 300);
const WRITERS = 4;
/** Of one test. In milliseconds. */
const DEADLINE_MS = 60_000 + KILLS * WRITES * 10;

/** Sends the changes behind a version, a line each: its version, kind and key. */
const FOLLOWING_MODULE = `
  import { defineModule } from "hrmr";
  export default defineModule({ routes: { "FOLLOW ": { framing: "line", async *handle(message, { store }) {
    const [, collection, after] = message.text.trim().split(" ");
    const watch = store.collection(collection).watch({ after: Number(after) });
    yield "ready " + await watch.ready + "\\n";
    for await (const { version, kind, key } of watch) yield version + " " + kind + " " + key + "\\n";
  } } } });
`;

const files = (settings: object): Record<string, string> => ({
  "modules/probe.ts": STORE_MODULE,
  "modules/follow.ts": FOLLOWING_MODULE,
  "hrmr.json": JSON.stringify({ modules: { store: {} }, ...settings }),
});

async function valuesIn(hub: Hub, collection: string): Promise<Map<string, unknown>> {
  const code = `
    const c = store.collection("${collection}");
    const all = [];
    for (let page = await c.list({ limit: 1000 }); page.length > 0; page = await c.list({ after: page.at(-1).key, limit: 1000 }))
      for (const { key, value } of page) all.push([key, value]);
    return all;`;
  const { value, message } = await runOnStore(hub, code);
  if (message !== undefined) throw new Error(message);
  return new Map(value as [string, unknown][]);
}

/** @returns the whole lines of a client that follows changes, without the first */
function followed(client: RawClient): string[] {
  return client.text.split("\n").slice(1, -1);
}

async function follow(hub: Hub, collection: string, after: number): Promise<RawClient> {
  const client = await (await hub.connect()).send(`FOLLOW ${collection} ${after}\n`);
  await client.waitFor("\n");
  expect(client.text).toStartWith("ready ");
  return client;
}

function versionOf(change: string | undefined): number {
  return Number(change?.split(" ")[0] ?? 0);
}

/** Writes until so many pairs are answered, and then kills. */
async function writeAndKill(project: Project, collection: string, random: Random, kill: () => Promise<void>) {
  const names = Array.from({ length: WRITERS }, (_, at) => `w${at}`);
  const writers = await Promise.all(names.map((name) => new PairWriter(collection, name).start(project.hub.port)));
  const enough = WRITES / 4 + random.below(WRITES);
  await until("enough writes", () => writers.reduce((sum, { pairs }) => sum + pairs, 0) >= enough);
  await kill();
  return writers;
}

/** All at once, like a power cut: without its master a process would end in its own time. */
async function killAll(project: Project): Promise<void> {
  const pids = processesIn(project.dir);
  for (const pid of pids) process.kill(pid, "SIGKILL");
  await project.kill();
}

/** Kills the process that answers, and waits until it has ended. */
async function killWorker(hub: Hub): Promise<void> {
  const { value: pid } = await runOnStore(hub, "return process.pid");
  process.kill(pid as number, "SIGKILL");
  await until("the process to end", () => !lives(pid as number));
}

/** A file of JSON forgets the changes when it is written anew, which is after 1 MB of them. */
const CASES = [
  { name: "sqlite", settings: {}, args: [], isLogWhole: true },
  { name: "json", settings: { store: { url: "json://data/hub.json" } }, args: [], isLogWhole: false },
  { name: "sqlite, two processes", settings: {}, args: ["--processes", "2"], isLogWhole: true },
] as const;

test.each(CASES)(
  "$name: a kill in the middle of writes loses no answered write and leaves no half of a transaction",
  ({ name, settings, args, isLogWhole }) =>
    withProject(files(settings), async (project) => {
      const random = new Random(name.length);
      await project.start(...args);
      /** The changes of the round before, as a client has got them. */
      let seen: string[] = [];
      let after = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        const collection = `c${kill}`;
        const follower = await follow(project.hub, collection, after);
        const writers = await writeAndKill(project, collection, random, () => killAll(project));
        await Promise.all(writers.map(({ ended }) => ended));
        seen = followed(follower);
        await project.start(...args);

        expect(faultsOf(writers, await valuesIn(project.hub, collection))).toEqual([]);
        // Only another process's commit may be in doubt.
        if (args.length === 0) expect(writers.map(({ unsure }) => unsure.size)).toEqual(writers.map(() => 0));
        const { value: last } = await runOnStore(
          project.hub,
          `return store.collection("${collection}").set("mark", 1)`,
        );
        // From before the round: the same changes as before the kill, and those that nobody heard of.
        const again = await follow(project.hub, collection, isLogWhole ? after : versionOf(seen.at(-1)));
        await again.waitFor(`\n${String(last)} set mark\n`);
        const changes = followed(again);
        const before = isLogWhole ? after : versionOf(seen.at(-1));
        expect(changes.map(versionOf)).toEqual(Array.from({ length: changes.length }, (_, at) => before + at + 1));
        if (isLogWhole) expect(changes.slice(0, seen.length)).toEqual(seen);
        after = last as number;
        // The server would wait for them.
        project.hub.closeClients();
      }
    }),
  DEADLINE_MS,
);

test(
  "a kill of one of two processes loses none of its answered writes, and the other one goes on",
  () => withProject(files({}), killOneOfTwo),
  DEADLINE_MS,
);

async function killOneOfTwo(project: Project): Promise<void> {
  const hub = await project.start("--processes", "2");
  for (let kill = 0; kill < KILLS; kill++) {
    const collection = `c${kill}`;
    const writers = await writeAndKill(project, collection, new Random(kill), () => killWorker(hub));
    const others = await Promise.all(
      ["x0", "x1", "x2", "x3"].map((each) => new PairWriter(collection, each).start(hub.port)),
    );
    await until("more writes", () => others.every(({ pairs }) => pairs > 20));
    await Promise.all([...writers, ...others].map((writer) => writer.stop()));
    expect(faultsOf([...writers, ...others], await valuesIn(hub, collection))).toEqual([]);
  }
}
