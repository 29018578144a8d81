/** The store between a place and the server: messages, batches, watches and limits, over a channel of structured clones. */
import { describe, expect, test } from "bun:test";
import { HostedStore } from "../../src/host/inside/store";
import { ASK, type StoreAsks, type StoreTold } from "../../src/host/store/messages";
import { PlaceStore } from "../../src/host/store/place-store";
import type { Commit, KeyRange, Mutation, StoredChange, WatchSink } from "../../src/module/store/port";
import { MemoryStore } from "../support/memory-store";
import { until } from "../support/until";

const VERSION = { id: 1, module: "m" };

/** A place and a server, joined as by a channel. Each message is copied. */
class Joined {
  readonly store = new MemoryStore();
  readonly asks: StoreAsks[] = [];
  readonly told: StoreTold[] = [];
  readonly server: PlaceStore;
  readonly place: HostedStore;
  /** Messages to the place wait in `#held` while it is blocked. */
  #held: StoreTold[] | null = null;

  constructor({ isTrusted = true, maxLetters = Infinity } = {}) {
    this.server = new PlaceStore(
      this.store,
      (message) => {
        this.told.push(message);
        if (this.#held === null) this.#deliver(message);
        else this.#held.push(message);
      },
      { isTrusted },
    );
    this.place = new HostedStore((message) => {
      this.asks.push(message);
      const copy = structuredClone(message);
      setImmediate(() => this.server.receive(copy.asks));
    }, maxLetters);
  }

  #deliver(message: StoreTold): void {
    const { told } = structuredClone(message);
    setImmediate(() => this.place.told(told));
  }

  block(): void {
    this.#held = [];
  }

  unblock(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const message of held) this.#deliver(message);
  }
}

function set(key: string, value: unknown, collection = "c"): Mutation {
  return { kind: "set", collection, key, ifVersion: null, text: JSON.stringify(value), expiresAt: null };
}

function only(...mutations: Mutation[]): Commit {
  return { checks: [], mutations };
}

const ALL: KeyRange = { prefix: "", after: null, limit: 100, reverse: false };

class Sink implements WatchSink {
  at = -1;
  readonly changes: StoredChange[] = [];
  over: { code: string | null; message: string } | null = null;
  constructor(readonly room = Infinity) {}
  begin(at: number): void {
    this.at = at;
  }
  push(change: StoredChange): boolean {
    if (this.changes.length >= this.room) return false;
    this.changes.push(change);
    return true;
  }
  end(code: string | null, message: string): void {
    this.over = { code, message };
  }
}

describe("in a place", () => {
  test("reads and commits give what the store gives, for every kind of mutation", async () => {
    const { place, store } = new Joined();
    const text = JSON.stringify({ a: "grüße 🎈\0", n: 1 });
    const target = { collection: "c", key: "k\n", ifVersion: null };
    const commit: Commit = {
      checks: [
        { kind: "key", collection: "c", key: "none", version: 0 },
        { kind: "range", collection: "c", from: null, to: "x", at: 0 },
      ],
      mutations: [
        { kind: "set", ...target, ifVersion: 0, text, expiresAt: 5000 },
        { kind: "patch", ...target, text: '{"b":null}', expiresAt: "keep" },
        { kind: "increment", ...target, by: 2, field: "n", expiresAt: "keep" },
        { kind: "increment", ...target, key: "count", by: 1.5, field: null, expiresAt: null },
        { kind: "expire", ...target, expiresAt: 9000 },
        { kind: "expire", ...target, expiresAt: null },
        { kind: "delete", ...target, key: "none" },
      ],
    };
    const result = await place.commit(commit);
    expect(store.commits).toEqual([commit]);
    expect(await new MemoryStore().commit(commit)).toEqual(result);
    expect(result).toMatchObject({ ok: true });
    expect(await place.get("c", ["k\n", "none"])).toEqual(await store.get("c", ["k\n", "none"]));
    expect(await place.list("c", ALL)).toEqual(await store.list("c", ALL));
    expect(await place.list("c", { ...ALL, after: "count", reverse: true })).toMatchObject({ entries: [], at: 6 });
  });

  test("a refused commit is a result, and a failure is a StoreError with its code", async () => {
    const { place } = new Joined();
    const refused = await place.commit(only({ ...set("a", 1), ifVersion: 7 }));
    expect(refused).toMatchObject({ ok: false, code: "CONFLICT", at: 0 });
    const range = { index: "user", from: null, to: null, after: null, limit: 1, reverse: false };
    expect(place.find("c", range)).rejects.toMatchObject({ name: "StoreError", code: "INDEX_MISSING" });
  });

  test("values of sql cross as they are, and rows come back as objects", async () => {
    const { place, store } = new Joined();
    const values = [null, true, 1.5, 2n ** 60n, "x", new Uint8Array([0, 255])];
    const [row] = await place.sql({ parts: ["a", "b"], values });
    expect(store.statements).toEqual([{ parts: ["a", "b"], values }]);
    expect(row).toEqual({ values, big: 2n ** 60n, bytes: new Uint8Array([1, 2]) });
  });

  test("what one turn asks leaves in one message, and its answers come in one", async () => {
    const { place, asks, told } = new Joined();
    const all = Array.from({ length: 100 }, (_, i) => place.commit(only(set(`k${i}`, i))));
    expect((await Promise.all(all)).every(({ ok }) => ok)).toBe(true);
    expect(asks.length).toBe(1);
    expect(told.length).toBe(1);
  });

  test("large commits of one turn leave in several messages, and one over the limit is refused", async () => {
    const { place, asks, store } = new Joined({ maxLetters: 5_000_000 });
    const big = "x".repeat(3_000_000);
    const three = [1, 2, 3].map((i) => place.commit(only(set(`k${i}`, big))));
    expect((await Promise.all(three)).every(({ ok }) => ok)).toBe(true);
    const commits = asks.filter((each) => JSON.stringify(each).length > 3_000_000);
    expect(commits.length).toBe(3);
    expect(place.commit(only(set("a", big), set("b", big)))).rejects.toMatchObject({ code: "TOO_LARGE" });
    expect((await place.get("c", ["a"]))[0]).toBe(null);
    expect(store.commits.length).toBe(3);
  });
});

describe("a watch in a place", () => {
  test("gets the changes in order, from the version that it names, until it leaves", async () => {
    const { place, store } = new Joined();
    await place.commit(only(set("a1", 1), set("b", 1)));
    const sink = new Sink();
    const leave = place.watch(VERSION, { collection: "c", key: null, prefix: "a", after: 0 }, sink);
    await place.commit(only(set("a2", { x: 1 })));
    await place.commit(only({ kind: "delete", collection: "c", key: "a1", ifVersion: null }));
    await until("the watch has three changes", () => sink.changes.length === 3);
    expect(sink.at).toBe(0);
    expect(sink.changes).toEqual(store.changes.filter(({ key }) => key !== "b"));
    leave();
    await until("the server knows", () => store.sinks.size === 0);
    await place.commit(only(set("a3", 1)));
    expect(sink.changes.length).toBe(3);
    expect(sink.over).toBe(null);
  });

  test("ends with GONE when its reader has no room, and the others go on", async () => {
    const { place, store } = new Joined();
    const [slow, quick] = [new Sink(2), new Sink()];
    const wish = { collection: "c", key: null, prefix: "", after: null };
    place.watch(VERSION, wish, slow);
    place.watch(VERSION, wish, quick);
    for (let i = 0; i < 4; i++) await place.commit(only(set("a", i)));
    await until("the quick one has all", () => quick.changes.length === 4);
    expect(slow.changes.length).toBe(2);
    expect(slow.over?.code).toBe("GONE");
    await until("the server knows", () => store.sinks.size === 1);
  });

  test("ends when the store ends it, behind the changes before", async () => {
    const joined = new Joined();
    const sink = new Sink();
    joined.place.watch(VERSION, { collection: "c", key: null, prefix: "", after: null }, sink);
    await until("it has begun", () => sink.at === 0);
    joined.block();
    await joined.store.commit(only(set("a", 1)));
    for (const each of joined.store.sinks.keys()) each.end(null, "");
    joined.unblock();
    await until("it is over", () => sink.over !== null);
    expect(sink.changes.length).toBe(1);
    expect(sink.over).toEqual({ code: null, message: "" });
  });
});

describe("limits", () => {
  test("a place that does not read costs a bounded amount of memory, and gets everything later", async () => {
    const joined = new Joined();
    const { place, store, told } = joined;
    await place.commit(only(set("big", "x".repeat(3_000_000))));
    joined.block();
    const before = told.length;
    let answered = 0;
    const reads = Array.from({ length: 50 }, () => place.get("c", ["big"]).then(() => answered++));
    await until("the server has begun", () => told.length > before);
    // A marker: the server has handled a later message of the place.
    place.watch(VERSION, { collection: "c", key: null, prefix: "", after: null }, new Sink());
    await until("the marker is there", () => store.sinks.size === 1);
    const sent = told.slice(before).reduce((sum, each) => sum + JSON.stringify(each).length, 0);
    expect(sent).toBeLessThan(25_000_000);
    joined.unblock();
    await Promise.all(reads);
    expect(answered).toBe(50);
  });

  test("a watch whose place does not read ends with GONE instead of growing", async () => {
    const joined = new Joined();
    const { place, store } = joined;
    const sink = new Sink();
    place.watch(VERSION, { collection: "c", key: null, prefix: "", after: null }, sink);
    await until("it has begun", () => sink.at === 0);
    joined.block();
    const text = JSON.stringify("x".repeat(1_000_000));
    for (let version = 1; version <= 40 && store.sinks.size > 0; version++)
      store.tell({ version, collection: "c", key: "a", kind: "set", text });
    expect(store.sinks.size).toBe(0);
    joined.unblock();
    await until("it is over", () => sink.over !== null);
    expect(sink.over?.code).toBe("GONE");
    expect(sink.changes.length).toBeGreaterThan(0);
  });

  test("more than 64 reads at a time wait for each other, and 10,000 asks are all that wait", async () => {
    const { place, store } = new Joined();
    const gate = Promise.withResolvers<void>();
    store.gate = gate.promise;
    const reads = Array.from({ length: 10_001 }, () => place.get("c", ["a"]));
    const late = reads.pop() as Promise<unknown>;
    expect(late).rejects.toMatchObject({ code: "BUSY" });
    await late.catch(() => {});
    expect(store.mostReading).toBe(64);
    gate.resolve();
    expect((await Promise.all(reads)).length).toBe(10_000);
    expect(store.mostReading).toBe(64);
    expect(await place.get("c", ["a"])).toEqual([null]);
  });

  test("a place has at most 1,000 watches, and can open more when it leaves some", async () => {
    const { place, store } = new Joined();
    const wish = { collection: "c", key: null, prefix: "", after: null };
    const leaves = Array.from({ length: 1000 }, () => place.watch(VERSION, wish, new Sink()));
    const refused = new Sink();
    place.watch(VERSION, wish, refused);
    await until("one is refused", () => refused.over !== null);
    expect(refused.over?.code).toBe("BUSY");
    leaves[0]?.();
    place.watch(VERSION, wish, new Sink());
    await until("there are a thousand again", () => store.sinks.size === 1000);
  });
});

describe("a place that is lost", () => {
  test("leaves its watches, and what it asked and had not begun is never done", async () => {
    const store = new MemoryStore();
    const server = new PlaceStore(store, () => {}, { isTrusted: true });
    const gate = Promise.withResolvers<void>();
    store.gate = gate.promise;
    const read = (number: number) => [number, ASK.get, "c", 1, "k"];
    const write = (number: number, key: string) => [number, ASK.commit, 0, 1, 0, "c", key, null, "1", null];
    const reads = Array.from({ length: 64 }, (_, at) => read(at + 10)).flat();
    server.receive([1, ASK.watch, 1, "m", "c", null, "", null, ...write(2, "begun"), ...reads]);
    // 64 reads run at a time; these wait.
    server.receive([...read(3), ...write(4, "waits")]);
    expect([store.sinks.size, store.reading]).toEqual([1, 64]);
    server.drop();
    expect(store.sinks.size).toBe(0);
    gate.resolve();
    // The next place of the same keeper.
    server.receive(write(1, "next"));
    await until("both commits are there", () => store.commits.length >= 2);
    expect([...store.documents.keys()].sort()).toEqual(["c/begun", "c/next"]);
  });

  test("a late answer does not reach the next place", async () => {
    const store = new MemoryStore();
    const told: StoreTold[] = [];
    const server = new PlaceStore(store, (message) => told.push(message), { isTrusted: true });
    const gate = Promise.withResolvers<void>();
    store.gate = gate.promise;
    server.receive([1, 0, "c", 1, "old"]);
    server.drop();
    server.receive([1, 0, "c", 2, "x", "y"]);
    gate.resolve();
    await until("it is answered", () => told.length === 1);
    expect(told[0]?.told).toEqual([1, 0, 2, null, null]);
  });
});

describe("a process that sends anything", () => {
  const broken: [string, unknown[]][] = [
    ["no kind", [1]],
    ["an unknown kind", [1, 99, "c"]],
    ["a number for a collection", [1, 0, 5, 1, "k"]],
    ["a count beyond the end", [1, 0, "c", 1e9, "k"]],
    ["a negative count", [1, 0, "c", -1]],
    ["an unknown mutation", [1, 3, 0, 1, 17, "c", "k", null]],
    ["an unknown expiry", [1, 3, 0, 1, 0, "c", "k", null, "1", "for ever"]],
    ["an object for a key", [1, 0, "c", 1, {}]],
    ["a watch twice", [1, 5, "c", null, "", null, 1, 5, "c", null, "", null]],
  ];
  for (const [what, asks] of broken)
    test(`${what} is an error, which ends that process`, () => {
      const { server, store } = new Joined();
      expect(() => server.receive(asks as never)).toThrow(TypeError);
      expect(store.commits).toEqual([]);
    });

  const refused: [string, Mutation, string][] = [
    ["text that is not JSON", { ...set("a", 1), text: "{" } as Mutation, "INVALID_VALUE"],
    ["a patch that is not JSON", { ...set("a", 1), kind: "patch", text: "" } as Mutation, "INVALID_VALUE"],
  ];
  for (const [what, mutation, code] of refused)
    test(`${what} is refused, and written by nobody`, async () => {
      const { place, store } = new Joined({ isTrusted: false });
      expect(place.commit(only(set("b", 1), mutation))).rejects.toMatchObject({ code });
      await place.get("c", ["a"]);
      expect(store.documents.size).toBe(0);
      expect(await place.commit(only(set("b", 1)))).toMatchObject({ ok: true });
    });
});
