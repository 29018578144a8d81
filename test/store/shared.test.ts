/** What the processes of a server do together at one store: who leads, and how another one takes its place. */
import { serialize } from "bun:jsc";
import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StoreChange } from "../../src/module/contract";
import { openBackend } from "../../src/store/backends/open";
import type { SharedBackend } from "../../src/store/shared/shared-backend";
import { testEngine, type TestEngine } from "../support/store/engine";
import { until } from "../support/until";

let dir = "";
let engines: TestEngine[] = [];

afterEach(async () => {
  for (const { engine } of engines) await engine.close();
  engines = [];
  rmSync(dir, { recursive: true, force: true });
});

/** Opens so many stores on one file, the first one first. */
async function open(kind: "sqlite" | "json", count: number, folder = ""): Promise<TestEngine[]> {
  dir = mkdtempSync(join(tmpdir(), "hrmr-shared-"));
  mkdirSync(join(dir, folder), { recursive: true });
  return await more(kind, count, folder);
}

async function more(kind: "sqlite" | "json", count: number, folder = ""): Promise<TestEngine[]> {
  const made: TestEngine[] = [];
  for (let n = 0; n < count; n++) {
    const one = testEngine(join(dir, folder), `${kind}://${join(dir, `hub.${kind}`)}`);
    made.push(one);
    await one.store.collection("opened").get("k");
  }
  engines.push(...made);
  return made;
}

/** Gathers the changes of a collection. */
async function watched({ store }: TestEngine, collection = "c"): Promise<StoreChange[]> {
  const watch = store.collection(collection).watch();
  const seen: StoreChange[] = [];
  await watch.ready;
  void (async () => {
    for await (const change of watch) seen.push(change);
  })().catch((error: Error & { code?: string }) => seen.push({ key: error.code ?? "" } as StoreChange));
  return seen;
}

/** Writes without end. @returns ends it, with the keys that were answered and the codes of the others */
function writing({ store }: TestEngine, name: string): () => Promise<{ answered: string[]; codes: string[] }> {
  const answered: string[] = [];
  const codes: string[] = [];
  let isOver = false;
  const work = (async () => {
    for (let n = 0; !isOver; n++)
      await Promise.all(
        ["a", "b", "c"].map(async (part) => {
          try {
            await store.collection("c").set(`${name}${part}${n}`, n);
            answered.push(`${name}${part}${n}`);
          } catch (error) {
            codes.push((error as { code: string }).code);
          }
        }),
      );
  })();
  return async () => {
    isOver = true;
    await work;
    return { answered, codes };
  };
}

describe.each(["sqlite", "json"] as const)("in %s", (kind) => {
  test("each sees what the others have written, its own writes at once", async () => {
    const all = await open(kind, 3);
    for (const [n, { store }] of all.entries()) {
      const c = store.collection("c");
      await c.set(`k${n}`, { n });
      expect((await c.get(`k${n}`))?.value).toEqual({ n });
      await c.patch(`k${n}`, { more: true });
      for (const other of all) expect((await other.store.collection("c").get(`k${n}`))?.value.more).toBe(true);
    }
    const listed = await Promise.all(all.map(({ store }) => store.collection("c").list({ reverse: true, limit: 2 })));
    for (const page of listed) expect(page.map(({ key }) => key)).toEqual(["k2", "k1"]);
    expect(await all[2]?.store.collection("c").delete("k0")).toBe(true);
    expect(await all[1]?.store.collection("c").getMany(["k0", "k1"])).toMatchObject([null, { value: { n: 1 } }]);
  });

  test("a conflict is a conflict everywhere, and a transaction runs again", async () => {
    const [one, two] = (await open(kind, 2)) as [TestEngine, TestEngine];
    const version = await two.store.collection("c").set("k", 1);
    await one.store.collection("c").set("k", 2, { ifVersion: version });
    const refused = two.store.collection("c").set("k", 3, { ifVersion: version });
    expect(refused).rejects.toMatchObject({ name: "StoreError", code: "CONFLICT" });
    let runs = 0;
    const result = await two.store.transaction(async (tx) => {
      const found = await tx.collection("c").get("k");
      // It does not run alone any more.
      await Bun.sleep(1);
      if (++runs === 1) await one.store.collection("c").set("k", 10);
      await tx.collection("c").set("k", found?.value + 1);
      expect((await tx.collection("c").get("k"))?.value).toBe(found?.value + 1);
      return found?.value;
    });
    expect([result, runs]).toEqual([10, 2]);
    expect((await one.store.collection("c").get("k"))?.value).toBe(11);
  });

  test("find, and the index that one of them declares, work in all", async () => {
    const all = await open(kind, 2);
    await all[1]?.store.collection("c").set("a", { user: "ann" });
    for (const { engine } of all) await engine.declare({ id: 1, collections: [{ name: "c", indexes: ["user"] }] });
    await all[1]?.store.collection("c").set("b", { user: "bob" });
    for (const { store } of all)
      expect((await store.collection("c").find("user", { equals: "bob" })).map(({ key }) => key)).toEqual(["b"]);
  });

  test("a change is told to all, in order", async () => {
    const all = await open(kind, 3);
    const seen = await Promise.all(all.map((each) => watched(each)));
    for (let n = 0; n < 9; n++) await all[n % 3]?.store.collection("c").set(`k${n}`, n);
    for (const changes of seen)
      await until("all changes", () => changes.length === 9 && changes.every(({ key }, at) => key === `k${at}`));
  });

  test("a state folder with a long path is no obstacle", async () => {
    const all = await open(kind, 2, "x".repeat(120));
    const seen = await watched(all[1] as TestEngine);
    await all[0]?.store.collection("c").set("k", 1);
    await until("it is told", () => seen.length === 1);
    await all[0]?.engine.close();
    await all[1]?.store.collection("c").set("l", 1);
    await until("it leads", () => seen.length === 2);
  });

  test("a process that sends anything is cut off, and the others are served", async () => {
    const all = await open(kind, 2);
    const socket = readdirSync(dir).find((name) => name.endsWith(".sock")) as string;
    const path = join(dir, socket);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    for (const bytes of [
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
      Buffer.alloc(64, 0xff),
      frame([0, 99, null]),
      frame([2, 1, 1]),
    ]) {
      const closed = Promise.withResolvers<void>();
      const socket = { open: (it: Bun.Socket) => void it.write(bytes), data: () => {}, close: () => closed.resolve() };
      await Bun.connect({ unix: path, socket });
      await closed.promise;
    }
    await all[1]?.store.collection("c").set("k", 1);
    expect((await all[0]?.store.collection("c").get("k"))?.value).toBe(1);
  });
});

/** A message of a process, as it is on the wire. */
function frame(message: unknown): Uint8Array {
  const body = serialize(message, { binaryType: "nodebuffer" });
  const head = Buffer.alloc(5);
  head[0] = 2;
  head.writeUInt32LE(body.length, 1);
  return Buffer.concat([head, body]);
}

test("the leader's planned end loses no write of the others, and gives none an error", async () => {
  const all = await open("json", 3);
  const seen = await watched(all[2] as TestEngine);
  const ends = all.slice(1).map((each, at) => writing(each, `w${at}`));
  await until("they write", () => seen.length > 20);
  await all[0]?.engine.close();
  const before = seen.length;
  await until("they go on", () => seen.length > before + 40);
  // Its successor ends as well, and one that has come since leads.
  await more("json", 1);
  const end = ends[0] as () => Promise<{ answered: string[]; codes: string[] }>;
  const first = await end();
  await all[1]?.engine.close();
  const last = await (ends[1] as typeof end)();
  expect([...first.codes, ...last.codes]).toEqual([]);
  const keys = [...first.answered, ...last.answered];
  await until("all are seen", () => seen.length >= keys.length);
  expect(seen.map(({ key }) => key).sort()).toEqual([...keys].sort());
  const versions = seen.map(({ version }) => version);
  expect(versions).toEqual([...versions].sort((a, b) => a - b));
  expect((await all[2]?.store.collection("c").get(keys.at(-1) as string))?.version).toBeGreaterThan(0);
  for (const { log } of all) expect(log).toEqual([]);
});

test("a lock file of a process that has ended, or of another form, is no obstacle", async () => {
  await open("json", 1);
  const name = readdirSync(dir).find((each) => each.endsWith(".lock")) as string;
  await engines[0]?.engine.close();
  for (const text of ["", "{oops\n", '{"pid":1}\n', '{"pid":1,"socket":"gone.sock"}\n', "x".repeat(10_000)]) {
    writeFileSync(join(dir, name), text);
    const [one, two] = (await more("json", 2)) as [TestEngine, TestEngine];
    await two.store.collection("c").increment("n");
    expect(JSON.parse(readFileSync(join(dir, name), "utf8")).pid).toBe(process.pid);
    await one.engine.close();
    await two.engine.close();
  }
  const [last] = (await more("json", 1)) as [TestEngine];
  expect((await last.store.collection("c").get("n"))?.value).toBe(5);
});

test("a write to SQLite is told to the other processes, though none of them asks", async () => {
  dir = mkdtempSync(join(tmpdir(), "hrmr-shared-"));
  const heard: string[][] = [];
  const all = [0, 1, 2].map((at) => {
    heard.push([]);
    const changed = (changes: readonly { readonly key: string }[]): void =>
      void heard[at]?.push(...changes.map(({ key }) => key));
    const backend = openBackend(
      `sqlite://${join(dir, "hub.sqlite")}`,
      {
        limits: { maxValueBytes: 1000, maxDepth: 10 },
        durability: "full",
        now: Date.now,
        raiseClock: () => {},
        keptChanges: 100,
        indexesOf: () => [],
        onForeignChanges: changed,
      },
      dir,
    ) as SharedBackend;
    backend.open();
    const owner = { mustFind: () => {}, changed, committed: () => {}, failed: () => {} };
    return { backend, writer: backend.writer(owner) };
  });
  const write = async (at: number, key: string): Promise<void> => {
    const set = { kind: "set", collection: "c", key, ifVersion: null, text: "1", expiresAt: null } as const;
    await all[at]?.writer.commit({ checks: [], mutations: [set] });
  };
  try {
    // The first one leads. The others may still be on their way to it: they hear of all when they are there.
    await write(0, "a");
    await until("all have heard", () => heard.every((each) => each.join("") === "a"));
    await write(1, "b");
    await until("all have heard", () => heard.every((each) => each.join("") === "ab"));
    await all[0]?.backend.close();
    await write(2, "c");
    await until("both have heard", () => heard.slice(1).every((each) => each.join("") === "abc"));
  } finally {
    for (const { backend } of all) await backend.close();
  }
});

test("a transaction that conflicts again and again keeps others from writing, and is done", async () => {
  const [one, two] = (await open("json", 2)) as [TestEngine, TestEngine];
  let isOver = false;
  const others = [one, two].map(async ({ store }) => {
    for (; !isOver; await Bun.sleep(0)) await store.collection("c").increment("k");
  });
  for (const { store } of [two, one, two]) {
    let runs = 0;
    await store.transaction(async (tx) => {
      runs++;
      const { value } = (await tx.collection("c").get("k")) ?? { value: 0 };
      // Long enough for the others to write.
      await until("others write, or it is held", () =>
        store
          .collection("c")
          .get("k")
          .then((now) => now?.value !== value || runs > 3),
      );
      await tx.collection("c").set("k", value + 1000);
    });
    expect(runs).toBe(4);
  }
  isOver = true;
  await Promise.all(others);
  expect((await one.store.collection("c").get("k"))?.value).toBeGreaterThan(3000);
});
