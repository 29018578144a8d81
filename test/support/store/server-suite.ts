/** What the store does on a database server, beside what every backend does: several servers of hrmr, and failures. */
import { afterAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { openBackend } from "../../../src/store/backends/open";
import { callProgram } from "../call-program";
import { Hub, makeProject, telling, withHub } from "../hub";
import { startProgram } from "../program";
import { runOnStore, STORE_MODULE } from "../store-module";
import { until } from "../until";
import { CutLink } from "./cut-link";
import type { StartedServer } from "./database-server";
import { backendOptions, COLLECTION, commitOf, increment, outcome, set, START_MS, valueOf, write } from "./subject";

/** `npm run test:long` makes more of them. */
const KILLS = Number(process.env["HRMR_TEST_STORE_KILLS"] ?? 1);
const PAIRS = 60;
const SECRET = "p4ss:w0rd/é";
const DEADLINE_MS = 120_000 + KILLS * 60_000;

interface ServerSuiteOptions {
  readonly name: string;
  /** Why it cannot run here. null: it can. */
  readonly skipped: string | null;
  readonly server: () => Promise<StartedServer>;
  /** Statements that make a user with a password and all rights. */
  readonly makeUser: (name: string, password: string) => readonly string[];
}

/** One server for all tests of a file, which ends after them. */
export function shareServer(start: () => Promise<StartedServer>): () => Promise<StartedServer> {
  let started: Promise<StartedServer> | null = null;
  afterAll(async () => await (await started)?.remove());
  return () => (started ??= start());
}

export function describeServer({ name, skipped, server, makeUser }: ServerSuiteOptions): void {
  const title = skipped === null ? `${name}, as a server` : `${name}, as a server (skipped: ${skipped})`;
  describe.skipIf(skipped !== null)(title, () => {
    const withPair = sharePair(server);
    test("two servers on one database are one store", () => withPair(twoServers), DEADLINE_MS);
    test(
      "a kill of the database in the middle of writes loses no answered one, and both servers go on by themselves",
      () => withPair(async ({ hubs }) => await killDatabase(hubs, await server())),
      DEADLINE_MS,
    );
    test("a commit whose answer is lost is done once, and one that never arrived is not done", async () => {
      await lostAnswers(await server());
    });
    test("hrmr store copies to it and from it, compares, backs up and checks, and shows no password", async () => {
      await commands(await server(), makeUser);
    });
    test("what is wrong with the database is said with a code and without the password", async () => {
      await refusals(await server(), makeUser);
    });
  });
}

const MIGRATED_MODULE = `
  import { defineModule } from "hrmr";
  export default defineModule({
    migrations: { "001-count": async (tx) => void (await tx.collection("migrated").increment("runs")) },
    routes: { "MIGRATED ": () => "yes\\n" },
  });
`;

interface Pair {
  readonly hubs: readonly [Hub, Hub];
  readonly url: string;
}

/** Two servers of hrmr on one database, for the tests of a `describe`: the first one starts them. */
function sharePair(server: () => Promise<StartedServer>): (use: (pair: Pair) => Promise<void>) => Promise<void> {
  let started: Promise<Pair> | null = null;
  afterAll(async () => {
    for (const hub of (await started)?.hubs ?? []) await hub.stop();
  });
  const start = async (): Promise<Pair> => {
    const url = await (await server()).fresh();
    const dirs = [1, 2].map(() =>
      makeProject({
        "modules/probe.ts": STORE_MODULE,
        "hrmr.json": JSON.stringify({ store: { url } }),
      }),
    );
    const programs = await Promise.all(dirs.map(async (cwd) => await startProgram(["--port", "0"], { cwd })));
    const [first, second] = programs.map((program, at) => new Hub(dirs[at]!, program));
    return { hubs: [first!, second!], url };
  };
  return async (use) => {
    const pair = await (started ??= start());
    await telling(pair.hubs[0], async () => await telling(pair.hubs[1], async () => await use(pair)));
  };
}

/** @returns the value; an error of the code fails the test */
async function run<T>(hub: Hub, code: string): Promise<T> {
  const { value, code: error, message } = await runOnStore(hub, code);
  if (message !== undefined) throw new Error(`${error}: ${message}`);
  return value as T;
}

// ---- several servers ----

/** Follows all changes of a collection, from now on. */
const FOLLOW = `
  shared.seen = [];
  const watch = store.collection("c").watch();
  shared.following = (async () => { for await (const { version, key, value } of watch) shared.seen.push([version, key, value]); })();
  await watch.ready;`;

/** Two that read both documents, and write one each: only one of two such transactions may succeed on what it read. */
const SKEW = (own: string): string => `
  let done = 0;
  for (let at = 0; at < 20; at++) {
    done += await store.transaction(async (tx) => {
      const c = tx.collection("skew");
      const [a, b] = await c.getMany(["a", "b"]);
      if ((a?.value ?? 0) + (b?.value ?? 0) >= 10) return 0;
      await c.increment("${own}");
      return 1;
    });
  }
  return done;`;

const ADD = `
  const add = () => store.transaction(async (tx) => {
    const c = tx.collection("c");
    const before = (await c.get("sum"))?.value ?? 0;
    await c.set("sum", before + 1);
  });
  let done = 0;
  for (let at = 0; at < 15; at++) {
    const ends = await Promise.allSettled([add(), add()]);
    done += ends.filter(({ status }) => status === "fulfilled").length;
  }
  return done;`;

/** Documents whose time is over go, though no module of the servers has used the store yet. */
async function untilSwept(url: string): Promise<void> {
  const backend = openBackend(url, backendOptions());
  await backend.open();
  try {
    await write(backend, set("ended", 1, { expiresAt: START_MS + 1 }));
    const isThere = async (): Promise<boolean> => (await backend.collections()).some(({ name }) => name === COLLECTION);
    await until("the sweep", async () => !(await isThere()));
  } finally {
    await backend.close();
  }
}

async function twoServers({ hubs, url }: Pair): Promise<void> {
  const [first, second] = hubs;
  await untilSwept(url);
  for (const hub of hubs) await run(hub, FOLLOW);
  // Migrations: both load the module at the same time.
  const loaded = hubs.map(async (hub) => {
    hub.write("modules/migrated.ts", MIGRATED_MODULE);
    const unix = join(hub.dir, ".hrmr/control.sock");
    return (await (await fetch("http://hrmr/v1/reload", { unix, method: "POST" })).json()) as { ok: boolean };
  });
  expect((await Promise.all(loaded)).map(({ ok }) => ok)).toEqual([true, true]);
  expect(await run(second, `return (await store.collection("migrated").get("runs")).value;`)).toBe(1);
  // Documents.
  await run(first, `return store.collection("c").set("a", { from: 1 });`);
  expect(await run(second, `return (await store.collection("c").get("a")).value;`)).toEqual({ from: 1 });
  const read = await callProgram(["store", "get", "c", "a"], { cwd: second.dir });
  expect([read.stderr, read.stdout]).toEqual(["", '{"from":1}\n']);
  const counted = 'return await store.sql`SELECT count(*) AS n FROM hrmr_documents WHERE collection = ${"c"}`;';
  expect(await run(second, counted)).toEqual([{ n: 1 }]);
  // Transactions.
  const added = await Promise.all(hubs.map((hub) => run<number>(hub, ADD)));
  const sum = await run<number>(first, `return (await store.collection("c").get("sum")).value;`);
  expect(added[0]! + added[1]!).toBe(sum);
  expect(sum).toBeGreaterThan(30);
  const skewed = await Promise.all([run<number>(first, SKEW("a")), run<number>(second, SKEW("b"))]);
  expect(skewed[0]! + skewed[1]!).toBe(10);
  // Watches.
  const last = await run<number>(second, `return store.collection("c").set("last", 1);`);
  for (const hub of hubs) {
    await until(
      "the watch to hear all",
      async () => (await run<number>(hub, "return shared.seen.at(-1)?.[0] ?? 0")) === last,
    );
  }
  const [seen, alsoSeen] = await Promise.all(
    hubs.map((hub) => run<[number, string, unknown][]>(hub, "return shared.seen")),
  );
  expect(seen).toEqual(alsoSeen!);
  expect(seen!.filter(([, key]) => key === "sum").map(([, , value]) => value)).toEqual(
    Array.from({ length: sum }, (_, at) => at + 1),
  );
  const versions = seen!.map(([version]) => version);
  expect(versions).toEqual([...new Set(versions)].toSorted((a, b) => a - b));
}

// ---- failures ----

/** Writes pairs until it is stopped. `shared.writing` is then those that were answered. */
const WRITE_PAIRS = (name: string): string => `
  shared.stop = false;
  shared.done = 0;
  const [acknowledged, errors] = [[], []];
  const one = async (loop) => {
    for (let n = 0; !shared.stop; n++) {
      const id = "${name}" + loop + ":" + n;
      try {
        await store.transaction(async (tx) => {
          await tx.collection("pairs").set(id + ":a", n);
          await tx.collection("pairs").set(id + ":b", n);
        });
        acknowledged.push(id);
        shared.done++;
      } catch (error) {
        errors.push(error.code);
        await new Promise((go) => setTimeout(go, 5));
      }
    }
  };
  shared.writing = Promise.all([one(0), one(1), one(2), one(3)])
    .then(() => ({ acknowledged, errors: [...new Set(errors)] }));`;

const ALL_PAIRS = `
  const c = store.collection("pairs");
  const all = [];
  for (let page = await c.list({ limit: 1000 }); page.length > 0; page = await c.list({ after: page.at(-1).key, limit: 1000 }))
    for (const { key } of page) all.push(key);
  return all;`;

async function killDatabase(hubs: readonly [Hub, Hub], server: StartedServer): Promise<void> {
  for (const hub of hubs) await run(hub, FOLLOW);
  const done = async (): Promise<number> =>
    (await Promise.all(hubs.map((hub) => run<number>(hub, "return shared.done ?? 0")))).reduce((a, b) => a + b);
  for (let kill = 0; kill < KILLS; kill++) {
    for (const hub of hubs) await run(hub, "shared.done = 0;");
    await Promise.all(hubs.map((hub, at) => run(hub, WRITE_PAIRS(`k${kill}-${at}-`))));
    await until("enough writes", async () => (await done()) > PAIRS);
    await server.kill();
    const away = await runOnStore(hubs[0], `return store.collection("c").set("away", 1);`);
    expect(away.code).toBe("UNAVAILABLE");
    expect(away.message).toMatch(/(?:cannot be reached|not there at the moment|connection failed)/);
    await server.start();
    const before = await done();
    await until("both servers to go on", async () => (await done()) > before + PAIRS);
    const stop = "shared.stop = true; return await shared.writing;";
    const written = await Promise.all(hubs.map((hub) => run<{ acknowledged: string[]; errors: string[] }>(hub, stop)));
    const keys = new Set(await run<string[]>(hubs[kill % 2]!, ALL_PAIRS));
    const lost = written.flatMap(({ acknowledged }) => acknowledged).filter((id) => !keys.has(`${id}:a`));
    expect(lost).toEqual([]);
    const halves = [...keys].filter((key) => !keys.has(key.replace(/[ab]$/, (end) => (end === "a" ? "b" : "a"))));
    expect(halves).toEqual([]);
    for (const { errors } of written) for (const code of errors) expect(["UNAVAILABLE", "UNKNOWN"]).toContain(code);
  }
  // Watches have gone on, too.
  const last = await run<number>(hubs[0], `return store.collection("c").set("last", 1);`);
  for (const hub of hubs)
    await until(
      "the watch to go on",
      async () => (await run<number>(hub, "return shared.seen.at(-1)?.[0] ?? 0")) === last,
    );
}

/** Not that of READ COMMITTED. */
const COMMIT = /COMMIT(?!TED)/;

async function lostAnswers(server: StartedServer): Promise<void> {
  const url = new URL(await server.fresh());
  using link = new CutLink(Number(url.port));
  url.port = String(link.port);
  const backend = openBackend(url.href, backendOptions());
  await backend.open();
  try {
    await write(backend, increment("n"));
    for (let round = 1; round <= 3; round++) {
      link.cutAt(COMMIT, "behind");
      expect(await outcome(backend, [commitOf(increment("n"), set("round", round))])).toEqual(["ok"]);
      expect(await valueOf(backend, "n")).toBe(round + 1);
    }
    link.cutAt(COMMIT, "before");
    const refused = await outcome(backend, [commitOf(increment("n"))]).catch((error: { code: string }) => error.code);
    expect(refused).toBe("UNAVAILABLE");
    // Before anything is written, it simply begins again.
    link.cutAt(/FOR UPDATE/, "before");
    expect(await outcome(backend, [commitOf(set("again", 1))])).toEqual(["ok"]);
    expect([await valueOf(backend, "n"), await valueOf(backend, "again")]).toEqual([4, 1]);
    expect(link.cuts).toBe(5);
  } finally {
    await backend.close();
  }
}

/** The URL with another user and password. */
function as(url: string, user: string, password: string): string {
  return url.replace(/\/\/[^@]*@/, `//${user}:${encodeURIComponent(password)}@`);
}

async function commands(server: StartedServer, makeUser: ServerSuiteOptions["makeUser"]): Promise<void> {
  const plain = await server.fresh();
  for (const statement of makeUser("mover", SECRET)) await server.ask(plain, statement);
  const url = as(plain, "mover", SECRET);
  const lines = ["a\0", "ä ", "b"].flatMap((key) =>
    ["one", "two"].map(
      (collection) =>
        `{"collection":"${collection}","key":${JSON.stringify(key)},"value":{"n":1.50,"t":"\\u0000'\\\\"},"expiresAt":null}`,
    ),
  );
  const dir = makeProject({
    "hrmr.json": JSON.stringify({ store: { url: "json://data/hub.json" } }),
    "in.jsonl": lines.join("\n"),
  });
  const told: string[] = [];
  const hrmr = async (...words: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await callProgram(words, { cwd: dir });
    told.push(stdout, stderr);
    if (exitCode !== 0) throw new Error(`hrmr ${words.join(" ")} ended with ${exitCode}: ${stdout}${stderr}`);
    return stdout;
  };
  try {
    await hrmr("store", "import", "in.jsonl", "--url", "sqlite://from.sqlite");
    const all = await hrmr("store", "export", "--url", "sqlite://from.sqlite");
    expect(await hrmr("store", "copy", url, "--url", "sqlite://from.sqlite")).toContain("6 documents copied to ");
    // To the store of this folder.
    expect(await hrmr("store", "copy", "--url", url)).toContain("and compared");
    await hrmr("backup", "copy.backup", "--url", url);
    for (const from of [[], ["--url", url], ["--url", "sqlite://copy.backup"]])
      expect(await hrmr("store", "export", ...from)).toBe(all);
    expect(await hrmr("store", "check", "--url", url)).toBe("The store is in order.\n");
    await hrmr("store", "compact", "--url", url);
    await expect(hrmr("store", "copy", url, "--url", "sqlite://from.sqlite")).rejects.toThrow("already");
    await expect(hrmr("restore", "copy.backup", "--url", url)).rejects.toThrow("hrmr store copy URL");
    expect(told.join("\n")).not.toMatch(/p4ss|w0rd/);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

async function refusals(server: StartedServer, makeUser: ServerSuiteOptions["makeUser"]): Promise<void> {
  const url = await server.fresh();
  for (const statement of makeUser("locked", SECRET)) await server.ask(url, statement);
  const opened = async (at: string): Promise<string> => {
    const backend = openBackend(at, backendOptions());
    try {
      await backend.open();
      await backend.close();
      return "open";
    } catch (error) {
      const { code, message } = error as { code: string; message: string };
      return `${code} ${message}`;
    }
  };
  expect(await opened(as(url, "locked", SECRET))).toBe("open");
  const wrong = await opened(as(url, "locked", `${SECRET}-wrong`));
  expect(wrong).toMatch(/^UNAVAILABLE .*refuses the user's password/);
  expect(wrong).not.toContain("p4ss");
  expect(await opened(url.replace(/\/\w+\?/, "/missing?"))).toMatch(/^UNAVAILABLE .*has no such database/);
  expect(await opened(url.replace(/:\d+\//, ":1/"))).toMatch(/^UNAVAILABLE .*cannot be reached/);

  await server.ask(url, "UPDATE hrmr_store SET format = 99");
  expect(await opened(url)).toMatch(/^NEWER_SCHEMA .*schema 99; this one knows 1/);
  await server.ask(url, "DELETE FROM hrmr_store");
  expect(await opened(url)).toMatch(/^NOT_A_STORE /);

  // The server starts without its database, says so, and goes on when the password is right.
  const files = {
    "modules/probe.ts": STORE_MODULE,
    "hrmr.json": JSON.stringify({ store: { url: "${STORE_URL}" } }),
    ".env": `STORE_URL=${as(url, "locked", `${SECRET}-wrong`)}\n`,
  };
  await withHub(files, [], async (hub) => {
    const { code, message } = await runOnStore(hub, `return store.collection("c").get("a");`);
    expect(code).toBe("UNAVAILABLE");
    const told = [message, await hub.ask("STATUS\n"), hub.program.output()].join("\n");
    expect(told).toContain("refuses the user's password");
    expect(told).not.toMatch(/p4ss|w0rd/);
  });
}
