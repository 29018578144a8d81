import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { shareHub, withHub } from "../support/hub";
import { runOnStore, STORE_MODULE, runInProcesses } from "../support/store-module";
import { until } from "../support/until";

const FILES = { "modules/probe.ts": STORE_MODULE };
const withServer = shareHub(FILES);

/** @returns the value; an error of the code fails the test */
async function valueOf(hub: Parameters<typeof runOnStore>[0], code: string): Promise<unknown> {
  const outcome = await runOnStore(hub, code);
  expect(outcome.message).toBe(undefined);
  return outcome.value;
}

test("a project that uses no store has no file of it, and the first use makes one for this user alone", () =>
  withHub(FILES, [], async (hub) => {
    expect(existsSync(join(hub.dir, "data"))).toBe(false);
    expect(await valueOf(hub, `return await store.collection("scores").get("ann");`)).toBe(null);
    expect(readdirSync(join(hub.dir, "data"))).toContain("hub.sqlite");
    expect(statSync(join(hub.dir, "data/hub.sqlite")).mode & 0o777).toBe(0o600);
  }));

test("what was written is there after a restart", async () => {
  await withHub(FILES, [], async (hub) => {
    const code = `return [await store.collection("a").set("k", { n: 1 }), await store.collection("b").set("k", [])];`;
    expect(await valueOf(hub, code)).toEqual([1, 2]);
    const data = join(hub.dir, "data");
    await withHub(FILES, ["--data", data], async (second) => {
      // The first one still has it open: two handles on one file.
      expect(await valueOf(second, `return await store.collection("a").get("k");`)).toEqual({
        value: { n: 1 },
        version: 1,
        expiresAt: null,
      });
      expect(await valueOf(second, `return await store.collection("a").set("k", 2);`)).toBe(3);
    });
    expect(await valueOf(hub, `return (await store.collection("a").get("k")).value;`)).toBe(2);
  });
});

describe("a collection", () => {
  test("sets, gets, patches, adds and deletes", () =>
    withServer(async (hub) => {
      const code = `
        const c = store.collection("first");
        const set = await c.set("x", { a: 1, b: { c: 2 } });
        const same = (await c.get("x")).version === set;
        const patched = await c.patch("x", { b: { c: null, d: 3 }, a: null });
        const made = await c.patch("new", { only: true });
        const n = [await c.increment("n"), await c.increment("n", 4), await c.increment("x", 2, { field: "b.d" })];
        const many = (await c.getMany(["x", "gone", "n"])).map((d) => d && d.value);
        const counted = [await c.count(), await store.collection("none").count()];
        c.delete("x");
        const [second, left] = await Promise.all([c.delete("x"), c.count()]);
        return [same, patched.value, made.value, n, many, counted, second, left, await c.get("x")];`;
      expect(await valueOf(hub, code)).toEqual([
        true,
        { b: { d: 3 } },
        { only: true },
        [1, 5, 5],
        [{ b: { d: 5 } }, null, 5],
        [3, 0],
        false,
        2,
        null,
      ]);
    }));

  test("writes only on the version that was expected", () =>
    withServer(async (hub) => {
      const code = `
        const c = store.collection("versions");
        const told = [];
        const tell = (work) => work.then((v) => told.push(v > 0), (e) => told.push(e.code));
        await tell(c.set("k", 1, { ifVersion: 0 }));
        await tell(c.set("k", 2, { ifVersion: 0 }));
        const { version } = await c.get("k");
        await tell(c.set("k", 3, { ifVersion: version }));
        await tell(c.delete("k", { ifVersion: version }));
        await tell(c.batch([{ set: "other", value: 1 }, { set: "k", value: 4, ifVersion: version }]));
        return [...told, await c.get("other"), (await c.get("k")).value];`;
      expect(await valueOf(hub, code)).toEqual([true, "CONFLICT", true, "CONFLICT", "CONFLICT", null, 3]);
    }));

  test("lists by keys in the order of their UTF-8 bytes, a page at a time", () =>
    withServer(async (hub) => {
      const code = `
        const c = store.collection("list");
        const keys = ["", "a", "a/1", "a/2", "a0", "\\u{1F600}", "\\uFFFD", "b\\0c", "b"];
        await c.batch(keys.map((key) => ({ set: key, value: key })));
        const names = (entries) => entries.map(({ key, value }) => { if (key !== value) throw Error(key); return key; });
        const all = names(await c.list());
        const pages = [];
        for (let after; ; after = pages.at(-1).at(-1)) {
          const page = names(await c.list({ limit: 4, ...(after === undefined ? {} : { after }) }));
          pages.push(page);
          if (page.length < 4) break;
        }
        return {
          all,
          pages: pages.flat(),
          reverse: names(await c.list({ reverse: true })).toReversed(),
          prefix: names(await c.list({ prefix: "a/" })),
          behind: names(await c.list({ prefix: "a", after: "a/1" })),
          before: names(await c.list({ prefix: "a", after: "a/2", reverse: true })),
        };`;
      const order = ["", "a", "a/1", "a/2", "a0", "b", "b\0c", "\uFFFD", "\u{1F600}"];
      expect(await valueOf(hub, code)).toEqual({
        all: order,
        pages: order,
        reverse: order,
        prefix: ["a/1", "a/2"],
        behind: ["a/2", "a0"],
        before: ["a/1", "a"],
      });
    }));

  test.each([
    [`store.collection("a b")`, "INVALID_NAME"],
    [`store.collection("a".repeat(65))`, "INVALID_NAME"],
    [`await store.collection("x").get("é".repeat(513))`, "INVALID_KEY"],
    [`await store.collection("x").set("\\uD800", 1)`, "INVALID_KEY"],
    [`await store.collection("x").set(7, 1)`, "INVALID_KEY"],
    [`await store.collection("x").set("k", undefined)`, "INVALID_VALUE"],
    [`await store.collection("x").set("k", 10n)`, "INVALID_VALUE"],
    [`await store.collection("x").set("k", "x".repeat(1048576))`, "TOO_LARGE"],
    [`await store.collection("x").set("k", JSON.parse("[".repeat(201) + "]".repeat(201)))`, "TOO_LARGE"],
    [`await store.collection("x").set("k", 1, { ttlMs: 0 })`, "INVALID_VALUE"],
    [`await store.collection("x").set("k", 1, { ifVersion: -1 })`, "INVALID_VALUE"],
    [`await store.collection("x").list({ limit: 1001 })`, "INVALID_VALUE"],
    [`await store.collection("x").batch([{}])`, "INVALID_VALUE"],
    [`await store.collection("x").set("s", "s"); await store.collection("x").increment("s")`, "NOT_A_NUMBER"],
    [`await store.transaction(1)`, "INVALID_VALUE"],
    [`await store.transaction(() => {}, { timeoutMs: 0 })`, "INVALID_VALUE"],
  ])("%s fails with %s, and the next one is served", (code, expected) =>
    withServer(async (hub) => {
      expect((await runOnStore(hub, code)).code).toBe(expected);
      expect(await valueOf(hub, `return await store.collection("x").get("k")`)).toBe(null);
    }),
  );
});

describe("transactions", () => {
  test("at the same time lose nothing, and run once where they await nothing but the store", () =>
    withServer(async (hub) => {
      const code = `
        let runs = 0;
        const add = () => store.transaction(async (tx) => {
          runs++;
          const c = tx.collection("bank");
          const [a, b] = [(await c.get("a"))?.value ?? 0, (await c.get("b"))?.value ?? 0];
          await c.set("a", a - 1);
          await c.set("b", b + 1);
          return (await c.get("b")).value;
        });
        const seen = await Promise.all(Array.from({ length: 200 }, add));
        const c = store.collection("bank");
        return [runs, new Set(seen).size, (await c.get("a")).value, (await c.get("b")).value];`;
      expect(await valueOf(hub, code)).toEqual([200, 200, -200, 200]);
    }));

  test("that await something else run again when what they read has changed", () =>
    withServer(async (hub) => {
      const code = `
        let runs = 0;
        const c = store.collection("slow");
        const done = store.transaction(async (tx) => {
          const before = (await tx.collection("slow").get("n"))?.value ?? 0;
          if (++runs === 1) { await Bun.sleep(1); await c.set("n", 10); }
          await tx.collection("slow").set("n", before + 1);
        });
        await done;
        return [runs, (await c.get("n")).value];`;
      expect(await valueOf(hub, code)).toEqual([2, 11]);
    }));

  test("see documents that came into their range meanwhile", () =>
    withServer(async (hub) => {
      const code = `
        let runs = 0;
        const c = store.collection("range");
        await store.transaction(async (tx) => {
          const found = await tx.collection("range").list({ prefix: "u/" });
          if (++runs === 1) { await Bun.sleep(1); await c.set("u/1", 1); }
          await tx.collection("counts").set("u", found.length);
        });
        return [runs, (await store.collection("counts").get("u")).value];`;
      expect(await valueOf(hub, code)).toEqual([2, 1]);
    }));

  test("that throw, or are given up, write nothing", () =>
    withServer(async (hub) => {
      const code = `
        const c = store.collection("none");
        const code = (work) => work.then(() => "done", (error) => error.code ?? error.message);
        return [
          await code(store.transaction(async (tx) => { await tx.collection("none").set("k", 1); throw new Error("no"); })),
          await code(store.transaction(async (tx) => { await tx.collection("none").set("k", 1); await new Promise(() => {}); }, { timeoutMs: 30 })),
          await code(store.transaction(async (tx) => { await tx.collection("none").set("k", 1); await new Promise(() => {}); }, { signal: AbortSignal.timeout(30) })),
          await c.get("k"),
        ];`;
      expect(await valueOf(hub, code)).toEqual(["no", "TIMEOUT", "CANCELLED", null]);
    }));
});

describe("a watch", () => {
  test("gets the changes of its keys in order, also those behind a version", () =>
    withServer(async (hub) => {
      const code = `
        const c = store.collection("watched");
        const first = await c.set("a/1", 1);
        await c.set("b/1", 1);
        await c.delete("a/1");
        const watch = c.watch({ prefix: "a/", after: first - 1 });
        await c.set("a/2", { n: 2 });
        const found = [];
        for await (const { kind, key, value } of watch) if (found.push([kind, key, value]) === 3) break;
        return found;`;
      expect(await valueOf(hub, code)).toEqual([
        ["set", "a/1", 1],
        ["delete", "a/1", null],
        ["set", "a/2", { n: 2 }],
      ]);
    }));

  test("hears of the writes of another process", async () => {
    await withHub(FILES, [], async (hub) => {
      const watching = valueOf(
        hub,
        `const w = store.collection("both").watch(); await w.ready; shared.ready = true; for await (const c of w) return c.value;`,
      );
      await until("the watch", async () => (await valueOf(hub, "return shared.ready === true")) === true);
      await withHub(FILES, ["--data", join(hub.dir, "data")], async (other) => {
        await valueOf(other, `return await store.collection("both").set("k", "from elsewhere")`);
        expect(await watching).toBe("from elsewhere");
      });
    });
  });
});

describe("long reads", () => {
  test("let others go on meanwhile", () =>
    withServer(async (hub) => {
      const code = `
        const order = [];
        const slow = store.sql\`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 3000000)
          SELECT count(*) AS n FROM c\`.then(([{ n }]) => order.push(n));
        await store.collection("long").set("a", 1);
        order.push((await store.collection("long").get("a")).value);
        await slow;
        return order;`;
      expect(await valueOf(hub, code)).toEqual([1, 3000000]);
    }));

  test("see all writes before them, also those that are not answered yet", () =>
    withServer(async (hub) => {
      const code = `
        const c = store.collection("long-pages");
        const set = c.batch(Array.from({ length: 300 }, (_, n) => ({ set: "k" + n, value: n })));
        const page = await c.list({ limit: 1000 });
        c.delete("k0");
        const rows = await store.sql\`SELECT count(*) AS n FROM documents d JOIN collections c ON c.id = d.collection WHERE c.name = ${"$"}{"long-pages"}\`;
        return [page.length, page[0].key, rows[0].n];`;
      expect(await valueOf(hub, code)).toEqual([300, "k0", 299]);
    }));

  test("a statement that begins like a read may write", () =>
    withServer(async (hub) => {
      const code = `
        await store.sql\`CREATE TABLE IF NOT EXISTS own (n INTEGER)\`;
        await store.sql\`WITH a(n) AS (SELECT 7) INSERT INTO own SELECT n FROM a\`;
        return await store.sql\`SELECT n FROM own\`;`;
      expect(await valueOf(hub, code)).toEqual([{ n: 7 }]);
    }));
});

test("writes of two processes are all there, once", () =>
  withHub(FILES, ["--processes", "2"], async (hub) => {
    const add = `for (let i = 0; i < 50; i++) await store.collection("n").increment("k"); return process.pid;`;
    const pids = await Promise.all(Array.from({ length: 8 }, () => valueOf(hub, add)));
    expect(await valueOf(hub, `return (await store.collection("n").get("k")).value`)).toBe(400);
    expect(pids.length).toBe(8);
  }));

test("a reload that names another database opens it, and finishes what is under way on the old one", () =>
  withHub(FILES, [], async (hub) => {
    await valueOf(hub, `return await store.collection("a").set("k", "old")`);
    const watching = runOnStore(
      hub,
      `const w = store.collection("a").watch(); await w.ready; shared.ready = true; for await (const c of w) return c;`,
    );
    await until("the watch", async () => (await valueOf(hub, "return shared.ready === true")) === true);
    hub.write("hrmr.json", JSON.stringify({ store: { url: "sqlite://data/other.sqlite" } }));
    expect(await hub.ask("RELOAD")).toStartWith("OK");
    expect((await watching).code).toBe("GONE");
    expect(await valueOf(hub, `return await store.collection("a").get("k")`)).toBe(null);
    hub.write("hrmr.json", "{}");
    expect(await hub.ask("RELOAD")).toStartWith("OK");
    expect(await valueOf(hub, `return (await store.collection("a").get("k")).value`)).toBe("old");
  }));

test("transactions of several processes see each other", () =>
  withHub(FILES, ["--processes", "2"], async (hub) => {
    const add = `
      for (let n = 0; n < 50; n++) {
        await store.transaction(async (tx) => {
          const c = tx.collection("both");
          const [one, two] = [await c.get("one"), await c.get("two")];
          if ((one?.value ?? 0) !== (two?.value ?? 0)) throw Error("torn");
          await c.set("one", (one?.value ?? 0) + 1);
          await c.set("two", (two?.value ?? 0) + 1);
        });
      }
      return process.pid;`;
    const total = await runInProcesses(hub, 2, 12, add);
    expect(await valueOf(hub, `return (await store.collection("both").get("one")).value`)).toBe(50 * total);
  }));

describe("in a pool thread and in a module's process", () => {
  const elsewhere = (run: string): string =>
    STORE_MODULE.replace('"RUN "', `"RUN_${run} "`)
      .replace("framing", `run: "${run}", framing`)
      .replace("slice(4)", "slice(message.text.indexOf(' ') + 1)");
  const withHosts = shareHub({
    ...FILES,
    "modules/pool.ts": elsewhere("pool"),
    "modules/process.ts": elsewhere("process"),
  });

  async function runIn(run: string, hub: Parameters<typeof runOnStore>[0], code: string): Promise<unknown> {
    return JSON.parse(await hub.ask(`RUN_${run} ${code.replaceAll(/\s*\n\s*/g, " ")}\n`));
  }

  test.each(["pool", "process"])("%s: all of it works", (run) =>
    withHosts(async (hub) => {
      const code = `
        const c = store.collection("${run}");
        const watch = c.watch();
        await watch.ready;
        const set = await c.set("k", { a: 1 }, { ttlMs: 60000 });
        const got = await c.get("k");
        await c.patch("k", { b: 2 });
        const counted = await Promise.all(Array.from({ length: 8 }, () => store.transaction(async (tx) => {
          const t = tx.collection("${run}");
          const n = ((await t.get("n"))?.value ?? 0) + 1;
          await t.set("n", n);
          return n;
        })));
        const refused = await c.set("k", 1, { ifVersion: 1e6 }).catch((error) => [error instanceof StoreError, error.code]);
        const first = (await watch.next()).value;
        return [got.version === set, got.expiresAt > Date.now(), (await c.get("k")).value, new Set(counted).size,
          (await c.list({ prefix: "k" })).map(({ key }) => key), refused, [first.kind, first.key], await store.sql\`SELECT 1 AS one\`, await c.count()];`;
      expect(await runIn(run, hub, code)).toEqual({
        value: [true, true, { a: 1, b: 2 }, 8, ["k"], [true, "CONFLICT"], ["set", "k"], [{ one: 1 }], 2],
      });
      expect(await valueOf(hub, `return (await store.collection("${run}").get("n")).value`)).toBe(8);
    }),
  );

  test("a process that dies in the middle of a transaction leaves nothing of it", () =>
    withHosts(async (hub) => {
      const code = `await store.transaction(async (tx) => { await tx.collection("dead").set("k", 1); process.kill(process.pid, "SIGKILL"); await new Promise(() => {}); })`;
      await hub.ask(`RUN_process ${code}\n`);
      expect(await valueOf(hub, `return await store.collection("dead").get("k")`)).toBe(null);
      await until("the next process", async () => {
        const reply = await hub.ask(`RUN_process return await store.collection("dead").set("k", 2)\n`);
        return reply.includes('"value"');
      });
    }));
});

describe("a store in a file of JSON", () => {
  const JSON_FILES = { ...FILES, "hrmr.json": JSON.stringify({ store: { url: "json://data/hub.json" } }) };

  test("is there after a restart, as lines that a person can read", () =>
    withHub(JSON_FILES, [], async (hub) => {
      await valueOf(
        hub,
        `await store.collection("a").set("k", { n: 1 }); return store.transaction((tx) => tx.collection("a").increment("n", 5));`,
      );
      expect(readFileSync(join(hub.dir, "data/hub.json"), "utf8")).toContain('{"n":1}');
      expect(statSync(join(hub.dir, "data/hub.json")).mode & 0o777).toBe(0o600);
      await withHub(
        { ...JSON_FILES, "data/hub.json": readFileSync(join(hub.dir, "data/hub.json"), "utf8") },
        [],
        async (next) => {
          const code = `const c = store.collection("a"); return [(await c.get("k")).value, (await c.get("n")).value]`;
          expect(await valueOf(next, code)).toEqual([{ n: 1 }, 5]);
        },
      );
    }));

  test("is for one server: another one says so", () =>
    withHub(JSON_FILES, [], async (hub) => {
      await valueOf(hub, `await store.collection("a").set("k", 1)`);
      const settings = JSON.stringify({ store: { url: `json://${join(hub.dir, "data/hub.json")}` } });
      await withHub({ ...FILES, "hrmr.json": settings }, [], async (other) => {
        const outcome = await runOnStore(other, `return await store.collection("a").get("k")`);
        expect([outcome.code, outcome.message]).toEqual(["UNAVAILABLE", expect.stringContaining("for one server")]);
      });
      expect(await valueOf(hub, `return (await store.collection("a").get("k")).value`)).toBe(1);
    }));
});
