/** What every backend of the store does alike. Each test has a database of its own. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { indexKey } from "../../../src/module/store/index-key";
import type { Check, Commit, SqlStatement, StoredChange } from "../../../src/module/store/port";
import { openBackend as openStore } from "../../../src/store/backends/open";
import type { Backend, Committed } from "../../../src/store/backend";
import { Random } from "../random";
import {
  COLLECTION,
  START_MS,
  type Subject,
  type SubjectOptions,
  backendOptions,
  changesAfter,
  commit,
  commitOf,
  found,
  foundKeys,
  increment,
  keysIn,
  openBackend,
  outcome,
  patch,
  remove,
  set,
  valueOf,
  write,
} from "./subject";

/** The tests begin with a name like "sqlite" and run on databases that `fresh` makes. */
export interface SuiteOptions {
  readonly name: string;
  /** Why it cannot run here. null: it can. */
  readonly skipped: string | null;
  readonly fresh: () => Promise<Subject> | Subject;
}

/** Keys that are easily taken for something else, or sorted wrongly. */
const ODD_KEYS = [
  "",
  " ",
  "  ",
  "a",
  "A",
  "a ",
  "a\0",
  "a\0b",
  "\0",
  "\x01",
  "\t\n\r",
  "'",
  "''",
  '"',
  "`",
  "\\",
  "\\'",
  "%",
  "_",
  "?",
  "$1",
  ":a",
  "; DROP TABLE hrmr_documents; --",
  "' OR '1'='1",
  "é",
  "e\u0301",
  "ß",
  "ss",
  "\u{e000}",
  "\u{ffff}",
  "\u{10000}",
  "\u{1f600}",
  "\u{10ffff}",
  "日本",
  "\u200b",
  "\ufeff",
  "null",
  "0",
  "00",
  "__proto__",
  "x".repeat(1024),
];
const INDEX_VALUES = [
  null,
  false,
  true,
  -Infinity,
  -1e300,
  -2,
  -1.5,
  -0,
  0,
  5e-324,
  0.1,
  1,
  2,
  10,
  1e300,
  "",
  "0",
  "a",
  "A",
  "a\0",
  "a\0b",
  "aa",
  "é",
  "\u{e000}",
  "\u{10000}",
  "'",
  "x".repeat(300),
  `${"x".repeat(300)}y`,
].filter((value) => typeof value !== "number" || Number.isFinite(value));

export function describeBackend({ name, skipped, fresh }: SuiteOptions): void {
  describe.skipIf(skipped !== null)(skipped === null ? name : `${name} (skipped: ${skipped})`, () => {
    const on = (title: string, run: (backend: Backend, subject: Subject) => Promise<void>, options?: SubjectOptions) =>
      test(title, async () => {
        const subject = await fresh();
        try {
          const backend = await openBackend(subject, options);
          try {
            await run(backend, subject);
          } finally {
            await backend.close();
          }
        } finally {
          await subject.remove();
        }
      });
    describeWrites(on);
    describeChecks(on);
    describeReads(on);
    describeSize(on);
    describeIndexes(on);
    describeTime(on);
    describeLife(on);
    describeUpkeep(on);
    describeModel(on);
  });
}

type On = (title: string, run: (backend: Backend, subject: Subject) => Promise<void>, options?: SubjectOptions) => void;

function describeWrites(on: On): void {
  on("a document is read as it was written, with the version of its change", async (backend) => {
    const [first] = await write(backend, set("a", { wins: 1 }));
    const [second] = await write(backend, set("b", [1, null, "é"], { expiresAt: START_MS + 5000 }));
    expect([first?.version, second?.version]).toEqual([1, 2]);
    expect(await backend.get(COLLECTION, ["b", "missing", "a"])).toEqual([
      { text: '[1,null,"é"]', version: 2, expiresAt: START_MS + 5000 },
      null,
      { text: '{"wins":1}', version: 1, expiresAt: null },
    ]);
    expect(await backend.get("other", ["a"])).toEqual([null]);
  });

  on("JSON is passed on as it stands: its spaces, lines and long numbers", async (backend, subject) => {
    const texts = [
      '{ "a" : 1.0,\n\t"b": 12345678901234567890 }',
      "1e400",
      '"\\u0000\\ud800 \u2028"',
      '{"__proto__":{"a":1}}',
    ];
    await write(backend, ...texts.map((text, at) => ({ ...set(`k${at}`, 0), text })));
    const keys = texts.map((_, at) => `k${at}`);
    expect((await backend.get(COLLECTION, keys)).map((document) => document?.text)).toEqual(texts);
    await backend.close();
    const again = await openBackend(subject);
    const texts2 = (await again.get(COLLECTION, keys)).map((document) => document?.text ?? "");
    await again.close();
    // A line end between two parts may have become a space.
    expect(texts2.map((text) => text.replaceAll("\n", " "))).toEqual(texts.map((text) => text.replaceAll("\n", " ")));
    await backend.open();
  });

  on("each change of a document gets the next version of the store, in the order of the commits", async (backend) => {
    const done = await backend.commit([
      commitOf(set("a", 1), set("b", 2)),
      commitOf(remove("nothing")),
      commitOf(remove("a")),
      commitOf(set("c", 3, { collection: "other" })),
    ]);
    expect(done.map(({ result }) => (result.ok ? result.mutated.map(({ version }) => version) : null))).toEqual([
      [1, 2],
      [0],
      [3],
      [4],
    ]);
    expect(done.flatMap(({ changes }) => changes)).toEqual(await changesAfter(backend, 0).then((all) => [...all]));
    expect(await changesAfter(backend, 0)).toEqual([
      { version: 1, collection: COLLECTION, key: "a", kind: "set", text: "1" },
      { version: 2, collection: COLLECTION, key: "b", kind: "set", text: "2" },
      { version: 3, collection: COLLECTION, key: "a", kind: "delete", text: null },
      { version: 4, collection: "other", key: "c", kind: "set", text: "3" },
    ]);
  });

  on("a commit that is refused leaves nothing, and those around it are done", async (backend) => {
    await write(backend, set("there", 0));
    const codes = await outcome(backend, [
      commitOf(set("a", 1)),
      commitOf(set("b", 1), set("a", 2), set("there", 1, { ifVersion: 9 })),
      commitOf(set("c", "x")),
      commitOf(set("d", 1), increment("c")),
      commitOf(increment("a")),
    ]);
    expect(codes).toEqual(["ok", "CONFLICT", "ok", "NOT_A_NUMBER", "ok"]);
    expect(await Promise.all(["a", "b", "c", "d", "there"].map((key) => valueOf(backend, key)))).toEqual([
      2,
      undefined,
      "x",
      undefined,
      0,
    ]);
    expect((await changesAfter(backend, 1)).map(({ key }) => key)).toEqual(["a", "c", "a"]);
  });

  on("ifVersion is the version that the document must have; 0: there must be none", async (backend) => {
    const codes = await outcome(backend, [
      commitOf(set("a", 1, { ifVersion: 0 })),
      commitOf(set("a", 2, { ifVersion: 0 })),
      commitOf(set("a", 2, { ifVersion: 1 })),
      commitOf(remove("a", 1)),
      commitOf(remove("a", 2)),
      commitOf(set("a", 3, { ifVersion: 2 })),
      commitOf(set("a", 3, { ifVersion: 0 })),
    ]);
    expect(codes).toEqual(["ok", "CONFLICT", "ok", "CONFLICT", "ok", "CONFLICT", "ok"]);
    expect(await valueOf(backend, "a")).toBe(3);
  });

  on("a patch merges, and an increment adds, in one commit each upon those before", async (backend) => {
    const done = await write(
      backend,
      patch("a", { user: { name: "ann", age: 3 } }),
      patch("a", { user: { age: null }, tags: [1] }),
      increment("a", 5, "total.wins"),
      increment("a", -2, "total.wins"),
      increment("n", 0.5),
    );
    expect(done.map(({ number }) => number)).toEqual([null, null, 5, 3, 0.5]);
    expect(await valueOf(backend, "a")).toEqual({ user: { name: "ann" }, tags: [1], total: { wins: 3 } });
    expect(await valueOf(backend, "n")).toBe(0.5);
  });

  on("a document that is too large is refused, and one that just fits is not", async (backend) => {
    const largest = "x".repeat((1 << 20) - 2);
    expect(await outcome(backend, [commitOf(set("a", `${largest}x`)), commitOf(set("b", largest))])).toEqual([
      "TOO_LARGE",
      "ok",
    ]);
    expect(await valueOf(backend, "b")).toBe(largest);
  });

  on("a batch of a thousand commits is one, and each sees those before it", async (backend) => {
    const commits = Array.from({ length: 1000 }, (_, at) => commitOf(increment("n"), set(`k${at}`, at)));
    const done = await backend.commit(commits);
    expect(done.map(({ result }) => (result.ok ? result.mutated[0]?.number : null))).toEqual(
      commits.map((_, at) => at + 1),
    );
    expect(await valueOf(backend, "n")).toBe(1000);
    expect(await keysIn(backend, { prefix: "k", limit: 2000 })).toHaveLength(1000);
  });

  on("many commits at once are done one after the other", async (backend) => {
    await Promise.all(Array.from({ length: 50 }, async () => backend.commit([commitOf(increment("n"))])));
    expect(await valueOf(backend, "n")).toBe(50);
    expect((await changesAfter(backend, 0)).map(({ version }) => version)).toEqual(
      Array.from({ length: 50 }, (_, at) => at + 1),
    );
  });
}

function describeChecks(on: On): void {
  const key = (name: string, version: number): Check => ({ kind: "key", collection: COLLECTION, key: name, version });
  const range = (from: string | null, to: string | null, at: number): Check => ({
    kind: "range",
    collection: COLLECTION,
    from,
    to,
    at,
  });
  const checked = (...checks: Check[]): Commit => ({ checks, mutations: [set(`done`, 1)] });

  on("a commit holds only if the documents that it names are as they were read", async (backend) => {
    await write(backend, set("a", 1), set("b", 1), set("c", 1));
    await write(backend, set("b", 2), remove("c"));
    expect(
      await outcome(backend, [
        checked(key("a", 1), key("b", 4), key("c", 0), key("missing", 0)),
        checked(key("b", 2)),
        checked(key("c", 3)),
        checked(key("missing", 1)),
      ]),
    ).toEqual(["ok", "CONFLICT", "CONFLICT", "CONFLICT"]);
  });

  on("a commit holds only if no key of its range has come, gone or changed since it was read", async (backend) => {
    await write(backend, set("b", 1), set("d", 1), set("f", 1));
    const { at } = await backend.list(COLLECTION, { prefix: "", after: null, limit: 10, reverse: false });
    await write(backend, set("c", 1));
    await write(backend, remove("f"));
    await write(backend, set("b", 1, { collection: "other" }));
    expect(
      await outcome(backend, [
        checked(range("a", "b", at), range("d", "e", at), range("g", null, at), range("c\0", "ezz", at)),
        checked(range("a", "c", at)),
        checked(range("c", "d", at)),
        checked(range("f", "f", at)),
        checked(range(null, null, at)),
        checked(range(null, "c", at + 1), range("f", null, at + 2)),
      ]),
    ).toEqual(["ok", "CONFLICT", "CONFLICT", "CONFLICT", "CONFLICT", "ok"]);
  });

  on("a commit sees what those before it in its batch have changed", async (backend) => {
    await write(backend, set("a", 1));
    expect(
      await outcome(backend, [
        { checks: [key("a", 1)], mutations: [set("a", 2)] },
        { checks: [key("a", 1)], mutations: [set("a", 3)] },
        { checks: [range("x", "z", 1)], mutations: [set("y", 1)] },
        { checks: [range("x", "z", 1)], mutations: [set("y", 2)] },
        { checks: [key("y", 3)], mutations: [set("y", 3)] },
      ]),
    ).toEqual(["ok", "CONFLICT", "ok", "CONFLICT", "ok"]);
    expect(await valueOf(backend, "a")).toBe(2);
    expect(await valueOf(backend, "y")).toBe(3);
  });
}

function describeReads(on: On): void {
  on("keys of any characters are different keys, in the order of their bytes", async (backend, subject) => {
    await backend.commit(ODD_KEYS.map((key, at) => commitOf(set(key, at))));
    const sorted = ODD_KEYS.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(await keysIn(backend)).toEqual(sorted);
    expect(await keysIn(backend, { reverse: true })).toEqual(sorted.toReversed());
    for (const [at, key] of ODD_KEYS.entries()) expect(await valueOf(backend, key)).toBe(at);
    for (const prefix of ["a", "a\0", "\\", "%", "_", "'", "\u{10ffff}", "\0", "é", "x"])
      for (const reverse of [false, true]) {
        const having = sorted.filter((key) => key.startsWith(prefix));
        expect(await keysIn(backend, { prefix, reverse })).toEqual(reverse ? having.toReversed() : having);
      }
    await backend.close();
    const again = await openBackend(subject);
    expect(await keysIn(again)).toEqual(sorted);
    await again.close();
    await backend.open();
  });

  on("pages follow each other without gap or repetition, both ways", async (backend) => {
    const sorted = ODD_KEYS.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    await backend.commit(ODD_KEYS.map((key) => commitOf(set(key, 0))));
    for (const reverse of [false, true])
      for (const limit of [1, 3, 7]) {
        const read: string[] = [];
        for (let page: string[] = await keysIn(backend, { limit, reverse }); page.length > 0;) {
          expect(page.length).toBeLessThanOrEqual(limit);
          read.push(...page);
          page = await keysIn(backend, { limit, reverse, after: page.at(-1) as string });
        }
        expect(read).toEqual(reverse ? sorted.toReversed() : sorted);
      }
  });

  on("a page tells the version that was read, also an empty one", async (backend) => {
    const all = { prefix: "", after: null, limit: 10, reverse: false };
    expect(await backend.list(COLLECTION, all)).toEqual({ entries: [], at: 0 });
    await write(backend, set("a", 1), set("b", 1, { collection: "other" }));
    expect(await backend.list(COLLECTION, all)).toEqual({
      entries: [{ key: "a", text: "1", version: 1, expiresAt: null }],
      at: 2,
    });
    expect(await backend.list("empty", all)).toEqual({ entries: [], at: 2 });
  });

  on("a page ends behind 4 MB of values", async (backend) => {
    const value = "x".repeat(1_000_000);
    await backend.commit(Array.from({ length: 8 }, (_, at) => commitOf(set(`k${at}`, value))));
    const first = await keysIn(backend);
    expect(first.length).toBeGreaterThan(2);
    expect(first.length).toBeLessThan(8);
    expect([...first, ...(await keysIn(backend, { after: first.at(-1) as string }))]).toHaveLength(8);
  });

  on("collections are those that have documents, with their number", async (backend) => {
    await write(
      backend,
      set("a", 1),
      set("b", 1),
      set("a", 1, { collection: "B-1.x" }),
      set("z", 1, { collection: "gone" }),
    );
    await write(backend, { ...remove("z"), collection: "gone" });
    const collections = (await backend.collections()).filter(({ documents }) => documents > 0);
    expect(collections).toEqual([
      { name: "B-1.x", documents: 1 },
      { name: COLLECTION, documents: 2 },
    ]);
  });
}

function describeSize(on: On): void {
  on("the number of documents is told, also after a refused and a broken commit", async (backend) => {
    if (backend.size === undefined) return;
    expect(backend.size()).toMatchObject({ documents: 0, changes: 0 });
    await write(backend, set("a", 1), set("b", 1), set("c", 1), set("other", 1, { collection: "other" }));
    await write(backend, set("a", 2), remove("b"), set("b", 1), remove("c"));
    expect(await outcome(backend, [commitOf(set("d", 1), remove("a", 1))])).toEqual(["CONFLICT"]);
    const batch = backend.begin?.();
    batch?.apply(commitOf(set("d", 1), remove("a")));
    batch?.rollback();
    const size = backend.size();
    expect([size?.documents, (size?.changes ?? 0) >= 7, (size?.bytes ?? 0) > 0]).toEqual([3, true, true]);
    expect(await backend.check()).toEqual([]);
    expect(await backend.collections()).toEqual([
      { name: "other", documents: 1 },
      { name: COLLECTION, documents: 2 },
    ]);
  });
}

function describeIndexes(on: On): void {
  const indexes = { [COLLECTION]: ["v", "a.b"] };
  const values = INDEX_VALUES.map((value, at) => ({ key: `k${at}`, value }));
  // Of equal values the key decides; -0 is 0.
  const order = values.toSorted(
    (a, b) =>
      Buffer.compare(Buffer.from(indexKey(a.value)), Buffer.from(indexKey(b.value))) || (a.key < b.key ? -1 : 1),
  );

  on(
    "an index has its values in order: null, false, true, numbers, strings by their bytes",
    async (backend) => {
      await backend.commit(values.map(({ key, value }) => commitOf(set(key, { v: value }))));
      await write(backend, set("list", { v: [1] }), set("object", { v: {} }), set("none", {}), set("text", "v"));
      const keys = order.map(({ key }) => key);
      expect(order.map(({ value }) => value).slice(0, 3)).toEqual([null, false, true]);
      expect(await foundKeys(backend, "v")).toEqual(keys);
      expect(await foundKeys(backend, "v", { reverse: true })).toEqual(keys.toReversed());
      const cut = (value: (typeof INDEX_VALUES)[number]): string => indexKey(value);
      for (const [from, to] of [
        [1, 10],
        ["", "a\0b"],
        [null, true],
        ["x".repeat(300), null],
        [-2, "0"],
      ] as const) {
        const [low, high] = [cut(from), cut(to)];
        const inside = order.filter(({ value }) => cut(value) >= low && cut(value) <= high).map(({ key }) => key);
        expect(await foundKeys(backend, "v", { from: low, to: high })).toEqual(inside);
        expect(await foundKeys(backend, "v", { from: low, to: high, reverse: true })).toEqual(inside.toReversed());
      }
    },
    { indexes },
  );

  on(
    "pages of an index follow each other without gap or repetition, both ways",
    async (backend) => {
      await backend.commit(Array.from({ length: 23 }, (_, at) => commitOf(set(`k${at}`, { v: at % 3 }))));
      for (const reverse of [false, true]) {
        const whole = await foundKeys(backend, "v", { reverse });
        const read: string[] = [];
        let page = await found(backend, "v", { limit: 4, reverse });
        while (page.length > 0) {
          read.push(...page.map(({ key }) => key));
          const { key, text } = page.at(-1) as (typeof page)[number];
          const after = { value: indexKey((JSON.parse(text) as { v: number }).v), key };
          page = await found(backend, "v", { limit: 4, reverse, after });
        }
        expect(read).toEqual(whole);
        expect(whole).toHaveLength(23);
      }
    },
    { indexes },
  );

  on(
    "an index follows each write: new values, other values, none, deletion",
    async (backend) => {
      await write(backend, set("a", { v: 1, a: { b: "x" } }), set("b", { v: 1 }), set("c", { v: 2 }));
      await write(backend, set("a", { v: 2 }), remove("b"), patch("c", { v: null }), set("d", { v: 1 }));
      const equal = async (index: string, value: string | number): Promise<string[]> =>
        foundKeys(backend, index, { from: indexKey(value), to: indexKey(value) });
      expect([await equal("v", 1), await equal("v", 2), await equal("a.b", "x")]).toEqual([["d"], ["a"], []]);
      // Back and forth within one batch.
      await backend.commit([
        commitOf(set("a", { v: 9 })),
        commitOf(set("a", { v: 2 })),
        commitOf(remove("d")),
        commitOf(set("d", { v: 1 })),
        commitOf(set("e", { v: 1 })),
        commitOf(remove("e")),
      ]);
      expect([await equal("v", 1), await equal("v", 2), await equal("v", 9)]).toEqual([["d"], ["a"], []]);
    },
    { indexes },
  );

  on("an index is built of the documents that are there, while others are written", async (backend, subject) => {
    for (let at = 0; at < 3; at++)
      await backend.commit(Array.from({ length: 1000 }, (_, n) => commitOf(set(`k${at * 1000 + n}`, { v: n }))));
    await backend.close();
    const indexed = await openBackend(subject);
    await indexed.close();
    const declared = { indexes: { [COLLECTION]: ["v"] } };
    const building = subject.make(backendOptions(declared));
    await building.open();
    const first = await building.buildIndex(COLLECTION, "v");
    await write(
      building,
      set("k0", { v: "changed" }),
      remove("k1"),
      set("k2999", { v: "changed" }),
      set("new", { v: 5 }),
    );
    for (let isDone = first; !isDone;) isDone = await building.buildIndex(COLLECTION, "v");
    const five = { from: indexKey(5), to: indexKey(5) };
    expect(await foundKeys(building, "v", five)).toEqual(["k1005", "k2005", "k5", "new"]);
    const changed = { from: indexKey("changed"), to: indexKey("changed") };
    expect(await foundKeys(building, "v", changed)).toEqual(["k0", "k2999"]);
    expect(await foundKeys(building, "v", { from: indexKey(1), to: indexKey(1) })).toEqual(["k1001", "k2001"]);
    while (!(await building.dropIndex(COLLECTION, "v")));
    expect(await foundKeys(building, "v", five)).toEqual([]);
    while (!(await building.buildIndex(COLLECTION, "v")));
    expect(await foundKeys(building, "v", five)).toEqual(["k1005", "k2005", "k5", "new"]);
    await building.close();
    await backend.open();
  });

  on(
    "names of indexes and values are data: quotes and SQL in them do nothing",
    async (backend) => {
      const evil = `x'; DROP TABLE hrmr_documents; --`;
      await write(backend, set("a", { [evil]: evil, 'q"`': 1 }));
      expect(await foundKeys(backend, evil, { from: indexKey(evil), to: indexKey(evil) })).toEqual(["a"]);
      expect(await foundKeys(backend, 'q"`')).toEqual(["a"]);
      expect(await backend.list(evil, { prefix: evil, after: evil, limit: 1, reverse: true })).toMatchObject({
        entries: [],
      });
      expect(await backend.get(evil, [evil])).toEqual([null]);
      expect(await valueOf(backend, "a")).toBeDefined();
    },
    { indexes: { [COLLECTION]: [`x'; DROP TABLE hrmr_documents; --`, 'q"`'] } },
  );
}

function describeTime(on: On): void {
  let now = START_MS;
  const options: SubjectOptions = { now: () => now, indexes: { [COLLECTION]: ["v"] } };

  on(
    "a document whose time is over is there for nobody, and a new one takes its place",
    async (backend) => {
      now = START_MS;
      await write(backend, set("a", { v: 1 }, { expiresAt: now + 1000 }), set("b", { v: 1 }));
      now += 999;
      expect([await keysIn(backend), await foundKeys(backend, "v")]).toEqual([
        ["a", "b"],
        ["a", "b"],
      ]);
      now += 1;
      expect([await keysIn(backend), await foundKeys(backend, "v"), await valueOf(backend, "a")]).toEqual([
        ["b"],
        ["b"],
        undefined,
      ]);
      expect(await backend.expired(10)).toEqual([
        { collection: COLLECTION, key: "a", text: '{"v":1}', version: 1, expiresAt: START_MS + 1000 },
      ]);
      expect(
        await outcome(backend, [
          commitOf(set("a", { v: 2 }, { ifVersion: 1 })),
          commitOf(set("a", { v: 2 }, { ifVersion: 0, expiresAt: { inMs: 50 } })),
        ]),
      ).toEqual(["CONFLICT", "ok"]);
      expect(await foundKeys(backend, "v")).toEqual(["b", "a"]);
      expect(await backend.expired(10)).toEqual([]);
      now += 50;
      expect(await keysIn(backend)).toEqual(["b"]);
    },
    options,
  );

  on(
    "a sweep deletes documents whose time is over, and no others, each with a change of its own",
    async (backend) => {
      now = START_MS;
      const swept = (key: string) => ({ kind: "sweep", collection: COLLECTION, key, ifVersion: null }) as const;
      await write(
        backend,
        set("a", { v: 1 }, { expiresAt: now + 1000 }),
        set("b", { v: 1 }, { expiresAt: now + 2000 }),
      );
      await write(
        backend,
        set("c", { v: 1 }, { expiresAt: now + 1000 }),
        set("d", { v: 1 }, { expiresAt: now + 1000 }),
      );
      now += 1000;
      const before = (await changesAfter(backend, 0)).length;
      const { result, changes } = await commit(
        backend,
        ...["a", "b", "gone"].map(swept),
        set("c", { v: 2 }),
        swept("c"),
        set("d", { v: 3 }),
        remove("d"),
        swept("d"),
      );
      const versions = result.ok ? result.mutated.map(({ version }) => version) : [];
      expect(versions).toEqual([before + 1, 0, 0, before + 2, 0, before + 3, before + 4, 0]);
      expect(changes.map(({ kind, key, text }) => [kind, key, text])).toEqual([
        ["expire", "a", null],
        ["set", "c", '{"v":2}'],
        ["delete", "d", null],
      ]);
      expect(await changesAfter(backend, before)).toEqual([...changes]);
      expect(await backend.expired(10)).toEqual([]);
      now += 5000;
      expect((await backend.expired(10)).map(({ key }) => key)).toEqual(["b"]);
      await write(backend, swept("b"));
      expect(await backend.expired(10)).toEqual([]);
      expect(await foundKeys(backend, "v")).toEqual(["c"]);
    },
    options,
  );

  on(
    "a document's time can be set, kept and taken away",
    async (backend) => {
      now = START_MS;
      await write(backend, set("a", 1, { expiresAt: now + 1000 }), set("b", 1, { expiresAt: now + 2000 }));
      const expire = { kind: "expire", collection: COLLECTION, key: "b", ifVersion: null, expiresAt: null } as const;
      await write(backend, set("a", 2, { expiresAt: "keep" }), expire);
      expect((await backend.get(COLLECTION, ["a", "b"])).map((document) => document?.expiresAt)).toEqual([
        START_MS + 1000,
        null,
      ]);
      now += 5000;
      expect(await keysIn(backend)).toEqual(["b"]);
      expect((await backend.expired(10)).map(({ key }) => key)).toEqual(["a"]);
    },
    options,
  );
}

function describeUpkeep(on: On): void {
  on("statements of SQL run with values of their own, or are refused as a whole", async (backend) => {
    const run = async (parts: string[], ...values: SqlStatement["values"]) => await backend.sql({ parts, values });
    if (backend.kind === "json") {
      await expect(run(["SELECT 1"])).rejects.toMatchObject({ code: "UNSUPPORTED" });
      return;
    }
    await run(["CREATE TABLE own (id INTEGER PRIMARY KEY, big BIGINT, name VARCHAR(80))"]);
    const evil = "x'); DROP TABLE own; --";
    await run(["INSERT INTO own (id, big, name) VALUES (", ", ", ", ", ")"], 1, START_MS, evil);
    await run(["INSERT INTO own (id, big, name) VALUES (", ", ", ", ", ")"], 2, null, "é");
    expect(await run(["SELECT id, big, name FROM own WHERE name = ", ""], evil)).toEqual([
      { id: 1, big: START_MS, name: evil },
    ]);
    expect(await run(["SELECT count(*) AS n FROM own WHERE id > ", " AND id < ", ""], 0, 3)).toEqual([{ n: 2 }]);
    await expect(run(["SELECT nothing FROM own"])).rejects.toMatchObject({ name: "StoreError" });
    // The store goes on.
    expect(await outcome(backend, [commitOf(set("a", 1))])).toEqual(["ok"]);
  });

  on(
    "a backup is a whole store with the versions of all documents, as they were when it began",
    async (backend) => {
      const folder = mkdtempSync(join(tmpdir(), "hrmr-backup-"));
      try {
        await backend.commit(ODD_KEYS.map((key, at) => commitOf(set(key, { v: at }))));
        await write(backend, set("timed", 1, { expiresAt: START_MS + 5000 }), set("a", 1, { collection: "other" }));
        const path = join(folder, "backup");
        await backend.backup(path);
        await write(backend, set("later", 1));
        const copied = openStore(`${backend.kind === "json" ? "json" : "sqlite"}://${path}`, backendOptions());
        expect(await copied.open()).toBe(ODD_KEYS.length + 2);
        expect(await copied.check()).toEqual([]);
        for (const collection of [COLLECTION, "other"]) {
          const keys = [...ODD_KEYS, "timed", "a"];
          expect(await copied.get(collection, keys)).toEqual((await backend.get(collection, keys)) as never);
        }
        expect(await valueOf(copied, "later")).toBeUndefined();
        expect(await outcome(copied, [commitOf(set("later", 2))])).toEqual(["ok"]);
        await copied.close();
        // The file is there.
        await expect((async () => await backend.backup(path))()).rejects.toThrow();
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
    { indexes: { [COLLECTION]: ["v"] } },
  );

  on(
    "a whole store has no faults, before and after unused space was given back",
    async (backend) => {
      await backend.commit(Array.from({ length: 1500 }, (_, at) => commitOf(set(`k${at}`, { v: at }))));
      await write(backend, ...Array.from({ length: 1000 }, (_, at) => remove(`k${at}`)), set("k1000", { v: null }));
      expect(await backend.check()).toEqual([]);
      await backend.compact();
      expect(await backend.check()).toEqual([]);
      expect((await keysIn(backend)).length).toBe(500);
    },
    { indexes: { [COLLECTION]: ["v"] } },
  );
}

function describeLife(on: On): void {
  on(
    "all is there when the store is opened again: documents, indexes, changes, the version",
    async (backend, subject) => {
      await write(backend, set("a", { v: 1 }), set("b", { v: 2 }, { expiresAt: START_MS + 1 }));
      await write(backend, remove("a"), set("c", { v: 1 }));
      await backend.close();
      const again = await openBackend(subject, { indexes: { [COLLECTION]: ["v"] } });
      expect(await keysIn(again)).toEqual(["b", "c"]);
      expect(await foundKeys(again, "v", { from: indexKey(1), to: indexKey(1) })).toEqual(["c"]);
      expect(await again.get(COLLECTION, ["b"])).toEqual([{ text: '{"v":2}', version: 2, expiresAt: START_MS + 1 }]);
      expect(await changesAfter(again, 4)).toEqual([]);
      expect((await write(again, set("d", 1)))[0]?.version).toBe(5);
      await again.close();
      expect(await backend.open()).toBe(5);
    },
    { indexes: { [COLLECTION]: ["v"] } },
  );

  on("changes are read from any version on, a part at a time", async (backend) => {
    await backend.commit(Array.from({ length: 10 }, (_, at) => commitOf(set(`k${at}`, at))));
    expect((await backend.changesAfter(4, 3))?.map(({ key }) => key)).toEqual(["k4", "k5", "k6"]);
    expect((await backend.changesAfter(7, 100))?.map(({ version }) => version)).toEqual([8, 9, 10]);
    expect(await backend.changesAfter(10, 100)).toEqual([]);
  });

  on(
    "old changes are forgotten in time, and whoever asks for them is told so",
    async (backend) => {
      for (let at = 0; at < 200; at++) await backend.commit([commitOf(set("a", at), set("b", at))]);
      expect(await backend.changesAfter(0, 10)).toBeNull();
      expect((await changesAfter(backend, 390)).map(({ version }) => version)).toEqual(
        Array.from({ length: 10 }, (_, at) => at + 391),
      );
      const check: Check = { kind: "range", collection: COLLECTION, from: "x", to: null, at: 400 };
      expect(await outcome(backend, [{ checks: [check], mutations: [set("c", 1)] }])).toEqual(["ok"]);
    },
    { keptChanges: 20 },
  );
}

function describeModel(on: On): void {
  for (const seed of [1, 2, 3])
    on(
      `random commits leave what a model says (seed ${seed})`,
      async (backend, subject) => {
        const random = new Random(seed);
        const model = new Model();
        for (let round = 0; round < 25; round++) {
          const commits = Array.from({ length: 1 + random.below(8) }, () => randomCommit(random, model));
          const done = await backend.commit(commits);
          for (const [at, committed] of done.entries()) model.take(commits[at] as Commit, committed);
        }
        await model.mustBe(backend);
        await backend.close();
        const again = await openBackend(subject, { indexes: { [COLLECTION]: ["v"] } });
        await model.mustBe(again);
        await again.close();
        await backend.open();
      },
      { indexes: { [COLLECTION]: ["v"] } },
    );
}

function randomCommit(random: Random, model: Model): Commit {
  const mutations = Array.from({ length: 1 + random.below(4) }, () => {
    const key = random.pick(ODD_KEYS);
    const ifVersion = random.below(4) === 0 ? random.pick([0, model.versionOf(key), 7]) : null;
    const value = { v: random.pick(INDEX_VALUES) };
    return random.below(3) === 0 ? remove(key, ifVersion) : set(key, value, { ifVersion });
  });
  return { checks: [], mutations };
}

/** A store of the tests, as simple as can be: it believes the backend's versions, and checks everything else. */
class Model {
  readonly #documents = new Map<string, { text: string; version: number }>();
  readonly #changes: StoredChange[] = [];
  #version = 0;

  versionOf(key: string): number {
    return this.#documents.get(key)?.version ?? 0;
  }

  take({ mutations }: Commit, { result, changes }: Committed): void {
    const drafts = new Map(this.#documents);
    let next = this.#version;
    const changed = new Set<string>();
    let isRefused = false;
    for (const mutation of mutations) {
      const now = drafts.get(mutation.key);
      if (mutation.ifVersion !== null && mutation.ifVersion !== (now?.version ?? 0)) isRefused = true;
      if (isRefused) break;
      if (mutation.kind === "delete" && now === undefined) continue;
      next++;
      changed.add(mutation.key);
      if (mutation.kind === "delete") drafts.delete(mutation.key);
      else if (mutation.kind === "set") drafts.set(mutation.key, { text: mutation.text, version: next });
    }
    expect(result.ok).toBe(!isRefused);
    if (isRefused) return;
    expect(new Set(changes.map(({ key }) => key))).toEqual(changed);
    this.#documents.clear();
    for (const [key, document] of drafts) this.#documents.set(key, document);
    this.#changes.push(...changes);
    this.#version = next;
  }

  async mustBe(backend: Backend): Promise<void> {
    const bytes = ([a]: [string, unknown], [b]: [string, unknown]): number =>
      Buffer.compare(Buffer.from(a), Buffer.from(b));
    const documents = [...this.#documents].sort(bytes);
    const page = await backend.list(COLLECTION, { prefix: "", after: null, limit: 1000, reverse: false });
    expect(page.entries.map(({ key, text, version }) => [key, text, version])).toEqual(
      documents.map(([key, { text, version }]) => [key, text, version]),
    );
    const byValue = documents
      .map(([key, { text }]): [string, string] => [indexKey((JSON.parse(text) as { v: null }).v), key])
      .sort((a, b) => bytes(a, b) || bytes([a[1], 0], [b[1], 0]));
    expect(await foundKeys(backend, "v")).toEqual(byValue.map(([, key]) => key));
    expect(await backend.get(COLLECTION, ODD_KEYS)).toEqual(
      ODD_KEYS.map((key) => {
        const document = this.#documents.get(key);
        return document === undefined ? null : { ...document, expiresAt: null };
      }),
    );
  }
}
