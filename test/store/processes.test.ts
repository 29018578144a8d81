/** Several processes of one server that use one store. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Hub, shareHub } from "../support/hub";
import { runProgram } from "../support/program";
import { runInProcesses, runOnStore, STORE_MODULE } from "../support/store-module";
import { until } from "../support/until";

const FILES = { "modules/probe.ts": STORE_MODULE };
const KINDS = ["sqlite", "json"] as const;

function filesFor(kind: (typeof KINDS)[number]): Record<string, string> {
  return { ...FILES, "hrmr.json": JSON.stringify({ store: { url: `${kind}://data/hub.${kind}` } }) };
}

let steps = 0;

/** Runs code in each of so many processes, once. @returns its values by process */
async function inEach(hub: Hub, count: number, code: string): Promise<Map<number, unknown>> {
  const values = new Map<number, unknown>();
  const step = `step${++steps}`;
  await until(`${count} processes have run it`, async () => {
    const outcome = await runOnStore(
      hub,
      `return [process.pid, await (shared.${step} ??= (async () => { ${code} })())];`,
    );
    expect(outcome.message).toBe(undefined);
    const [pid, value] = outcome.value as [number, unknown];
    values.set(pid, value);
    return values.size === count;
  });
  return values;
}

async function valueOf(hub: Hub, code: string): Promise<unknown> {
  const { value, message } = await runOnStore(hub, code);
  expect(message).toBe(undefined);
  return value;
}

/** Writes without end, and notes what was answered. */
const WRITE = `
  shared.answered ??= [];
  shared.errors ??= [];
  shared.writing ??= (async () => {
    for (let n = 0; !shared.isOver; n++) {
      const key = process.pid + "-" + n;
      try {
        await store.collection("w").batch([{ set: key + "a", value: n }, { set: key + "b", value: n }]);
        shared.answered.push(key);
      } catch (error) {
        shared.errors.push([key, error.code]);
      }
    }
  })();
  return shared.answered.length;`;

describe.each([...KINDS])("a store in %s", (kind) => {
  const onServer = {
    2: shareHub(filesFor(kind), ["--processes", "2"]),
    4: shareHub(filesFor(kind), ["--processes", "4"]),
  };

  test.each([2, 4] as const)("is used by %d processes: each reads and watches what the others write", (count) =>
    onServer[count](async (hub) => {
      await inEach(
        hub,
        count,
        `const w = store.collection("seen").watch();
         shared.seen = [];
         await w.ready;
         void (async () => { for await (const c of w) shared.seen.push(c.key + "=" + c.value.n + " at " + c.version); })();`,
      );
      const keys = await inEach(
        hub,
        count,
        `const key = "k" + process.pid;
         const c = store.collection("seen");
         await c.set(key, { n: 1 });
         if ((await c.get(key))?.value.n !== 1) throw Error("its own write is missing");
         await c.patch(key, { n: 2 });
         if ((await c.list({ prefix: key }))[0].value.n !== 2) throw Error("its own patch is missing");
         return key;`,
      );
      // A set and a patch of each, in the order of their versions.
      const seen = await inEach(
        hub,
        count,
        `while (shared.seen.length < ${2 * count}) await Bun.sleep(1); return shared.seen;`,
      );
      const [first] = seen.values();
      for (const one of seen.values()) expect(one).toEqual(first);
      expect((first as string[]).length).toBe(2 * count);
      const listed = await inEach(hub, count, `return (await store.collection("seen").list()).map(({ key }) => key);`);
      for (const one of listed.values()) expect(one).toEqual([...keys.values()].sort());
    }),
  );

  test("counts what all processes add, by increments and by transactions", () =>
    onServer[2](async (hub) => {
      const add = `
        for (let n = 0; n < 20; n++) {
          await store.collection("n").increment("plain");
          await store.transaction(async (tx) => {
            const c = tx.collection("n");
            const [one, two] = [await c.get("one"), await c.get("two")];
            if ((one?.value ?? 0) !== (two?.value ?? 0)) throw Error("torn");
            await c.set("one", (one?.value ?? 0) + 1);
            await c.set("two", (two?.value ?? 0) + 1);
          });
        }
        return process.pid;`;
      const total = await runInProcesses(hub, 2, 12, add);
      const read = `return (await store.collection("n").getMany(["plain", "one", "two"])).map((d) => d.value)`;
      expect(await valueOf(hub, read)).toEqual([20 * total, 20 * total, 20 * total]);
    }));

  test("has a socket for this user alone", () =>
    onServer[2](async (hub) => {
      await inEach(hub, 2, `return await store.collection("any").get("k");`);
      const state = join(hub.dir, ".hrmr");
      const sockets = readdirSync(state).filter((name) => /^store-.*\.sock$/.test(name));
      expect(sockets.length).toBe(1);
      expect(statSync(join(state, sockets[0] as string)).mode & 0o777).toBe(0o600);
      expect(statSync(state).mode & 0o777).toBe(0o700);
    }));

  // The last one with this server: its processes are others then.
  test("gives no client an error in a restart, and loses nothing", () =>
    onServer[2](async (hub) => {
      const code = `for (let i = 0; i < 10; i++) await store.collection("r").increment("n"); return 10;`;
      let added = 0;
      let isOver = false;
      const clients = Array.from({ length: 4 }, async () => {
        while (!isOver) {
          const more = (await valueOf(hub, code)) as number;
          added += more;
        }
      });
      await until("they write", () => added > 50);
      expect((await runProgram(["restart"], { cwd: hub.dir })).exitCode).toBe(0);
      const before = added;
      await until("they write on", () => added > before + 50);
      isOver = true;
      await Promise.all(clients);
      expect(await valueOf(hub, `return (await store.collection("r").get("n")).value`)).toBe(added);
    }));

  // The last one with this server: a process of it is another one then.
  test("loses nothing that was answered when the process that leads dies by kill -9 while all write", () =>
    onServer[4](async (hub) => {
      await inEach(hub, 4, WRITE);
      const facts = readdirSync(join(hub.dir, ".hrmr")).find((name) => /^store-.*\.lock$/.test(name)) as string;
      const leader = JSON.parse(readFileSync(join(hub.dir, ".hrmr", facts), "utf8")).pid as number;
      const answeredBefore = new Map<number, number>();
      await until("all have written", async () => {
        const [pid, count] = (await valueOf(hub, `return [process.pid, shared.answered?.length ?? 0]`)) as [
          number,
          number,
        ];
        answeredBefore.set(pid, count);
        return answeredBefore.size === 4 && [...answeredBefore.values()].every((each) => each > 0);
      });
      process.kill(leader, "SIGKILL");
      const others = [...answeredBefore.keys()].filter((pid) => pid !== leader);
      const more = new Set<number>();
      await until("the others write on", async () => {
        const [pid, count] = (await valueOf(hub, `return [process.pid, shared.answered?.length ?? 0]`)) as [
          number,
          number,
        ];
        if (count > (answeredBefore.get(pid) ?? Infinity)) more.add(pid);
        return others.every((each) => more.has(each));
      });
      const ends = new Map<number, { answered: string[]; errors: [string, string][]; keys: string[] }>();
      await until("all have stopped", async () => {
        const code = `
          if (shared.writing === undefined) return null;
          shared.isOver = true;
          await shared.writing;
          return [process.pid, { answered: shared.answered, errors: shared.errors }];`;
        const value = (await valueOf(hub, code)) as
          [number, { answered: string[]; errors: [string, string][]; keys: [] }] | null;
        if (value !== null) ends.set(...value);
        return others.every((each) => ends.has(each));
      });
      const list = `
        const keys = [];
        for (let after; ; ) {
          const page = await store.collection("w").list({ limit: 1000, ...(after === undefined ? null : { after }) });
          if (page.length === 0) return keys;
          after = page.at(-1).key;
          for (const { key } of page) keys.push(key);
        }`;
      const there = new Set((await valueOf(hub, list)) as string[]);
      for (const { answered, errors } of ends.values()) {
        expect(answered.filter((key) => !there.has(`${key}a`) || !there.has(`${key}b`))).toEqual([]);
        for (const [key, code] of errors) {
          expect(["UNKNOWN", "UNAVAILABLE"]).toContain(code);
          // Whole, or not at all; with UNAVAILABLE not at all.
          expect(there.has(`${key}a`)).toBe(there.has(`${key}b`));
          if (code === "UNAVAILABLE") expect(there.has(`${key}a`)).toBe(false);
        }
      }
      const halves = [...there].filter((key) => !there.has(key.replace(/[ab]$/, (half) => (half === "a" ? "b" : "a"))));
      expect(halves).toEqual([]);
    }));
});
