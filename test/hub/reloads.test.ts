/**
 * Reloads of a service's module, of its callers and of a schedule's owner, under a load of calls, events and due times.
 * `npm run test:long` makes 200 of them.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Hub, withHub } from "../support/hub";
import { until } from "../support/until";

const RELOADS = Number(process.env["HRMR_TEST_HUB_RELOADS"] ?? 20);
const CLIENTS = 4;

const callee = (version: number): string => `import { defineModule } from "hrmr";
export default defineModule({ services: {
  now: () => ${version},
  later: async () => (await Bun.sleep(2), ${version}),
} });`;
const caller = (version: number): string => `import { defineModule } from "hrmr";
export default defineModule({ services: { both: { public: true, call: async (_, { services }) => {
  const [now, later] = await Promise.all([services.callee.now(), services.callee.later()]);
  return [${version}, now, later];
} } } });`;
/** It also hears events: each once and in order, whichever version gets them. */
const clock = (version: number): string => `import { defineModule } from "hrmr";
import { appendFileSync } from "node:fs";
export default defineModule({
  schedule: { "every 1s": (_context, { dueAt }) => appendFileSync("ticks.txt", \`\${dueAt.getTime()} ${version}\\n\`) },
  on: { "count.*": ({ data }) => appendFileSync("heard.txt", \`\${data}\\n\`) },
});`;
const EMITTER = `import { defineModule } from "hrmr";
let count = 0;
export default defineModule({ routes: { "EMIT-NEXT\\n": (_message, { events }) => { events.emit("count.up", ++count); return count + "\\n"; } } });`;
const MODULES = { callee, caller, clock };
type Name = keyof typeof MODULES;

const numbersIn = (hub: Hub, file: string): number[] => {
  try {
    return readFileSync(join(hub.dir, file), "utf8")
      .trim()
      .split("\n")
      .map((line) => Number(line.split(" ")[0]));
  } catch {
    return [];
  }
};

test("no call is lost or gets a wrong version, each due second runs once, and each event comes once", async () => {
  const files = {
    "modules/callee.ts": callee(1),
    "modules/caller.ts": caller(1),
    "modules/clock.ts": clock(1),
    "modules/emitter.ts": EMITTER,
  };
  await withHub(files, [], async (hub) => {
    /** Versions that have served for sure, and the newest that may. */
    const served: Record<Name, number> = { callee: 1, caller: 1, clock: 1 };
    const written: Record<Name, number> = { ...served };
    let isOver = false;
    let calls = 0;
    let emitted = 0;
    let stalledSeconds = 0;
    const problems: string[] = [];
    const isPossible = (name: Name, version: number, atLeast: number): boolean =>
      version >= atLeast && version <= written[name];
    const callOn = async (): Promise<void> => {
      const client = await hub.connect();
      for (let id = 1; !isOver; id++) {
        const before = { ...served };
        const askedAt = performance.now();
        await client.send(`{"jsonrpc":"2.0","method":"caller.both","id":${id}}\n`);
        const answer = await client.waitFor(new RegExp(`"id":${id}\\}\n`));
        client.clear();
        stalledSeconds += Math.floor((performance.now() - askedAt) / 500);
        const [own = 0, now = 0, later = 0] = (JSON.parse(answer) as { result?: number[] }).result ?? [];
        const isRight =
          isPossible("caller", own, before.caller) &&
          isPossible("callee", now, before.callee) &&
          isPossible("callee", later, before.callee);
        if (!isRight) problems.push(`${answer.trim()} at ${JSON.stringify(before)}`);
        calls++;
      }
    };
    const emitOn = async (): Promise<void> => {
      const client = await hub.connect();
      while (!isOver) {
        await client.send("EMIT-NEXT\n");
        await client.waitFor(`${++emitted}\n`);
        client.clear();
      }
    };
    await until("the clock ticks", () => numbersIn(hub, "ticks.txt").length > 0);
    const load = [...Array.from({ length: CLIENTS }, callOn), emitOn()];
    for (let each = 0; each < RELOADS; each++) {
      const name = (Object.keys(MODULES) as Name[])[each % 3] as Name;
      const version = ++written[name];
      hub.write(`modules/${name}.ts`, MODULES[name](version));
      const verdict = await hub.ask(`RELOAD ${name}\n`);
      if (!verdict.startsWith("OK")) problems.push(verdict);
      served[name] = version;
    }
    isOver = true;
    await Promise.all(load);
    expect(problems).toEqual([]);
    expect(calls).toBeGreaterThan(RELOADS);

    const counted = Array.from({ length: emitted }, (_, at) => at + 1);
    await until("the last event", () => numbersIn(hub, "heard.txt").length >= emitted);
    expect(numbersIn(hub, "heard.txt")).toEqual(counted);

    const before = numbersIn(hub, "ticks.txt").length;
    await until("another tick", () => numbersIn(hub, "ticks.txt").length > before);
    const ticks = numbersIn(hub, "ticks.txt");
    const gaps = ticks.slice(1).map((tick, at) => tick - (ticks[at] as number));
    const { tasks = [] } = (await hub.status()).modules.find(({ name }) => name === "clock") ?? {};
    // A due time may pass while a run is under way, which is counted, or while the machine stands still.
    const passed = gaps.reduce((sum, gap) => sum + gap / 1000 - 1, 0);
    expect(gaps.filter((gap) => gap % 1000 !== 0 || gap <= 0)).toEqual([]);
    expect(passed).toBeLessThanOrEqual((tasks[0]?.skipped ?? 0) + stalledSeconds);
  });
});
