/** The queries of pages in SQLite: how they find their first document decides whether the last page costs as much as the first. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findQuery, listQuery } from "../../../src/store/backends/sqlite/pages";
import { SqliteBackend } from "../../../src/store/backends/sqlite/sqlite";
import { backendOptions, COLLECTION, foundKeys, keysIn, openBackend, set, write } from "../../support/store/subject";

const IDS = { collection: 1, index: 2 };
const ALL = { prefix: "", after: null, limit: 10, reverse: false };
const ANY = { index: "user", from: null, to: null, after: null, limit: 10, reverse: false };

/** The bounds that a query asks for, without values. */
const boundsOf = ({ sql }: { sql: string }, column: RegExp): string[] => sql.match(column) ?? [];

test.each([
  [{ ...ALL, prefix: "b", after: "bx" }, ["key > ?", "key < ?"], ["bx", "c"]],
  [{ ...ALL, prefix: "b", after: "a" }, ["key >= ?", "key < ?"], ["b", "c"]],
  [{ ...ALL, prefix: "b", after: "bx", reverse: true }, ["key >= ?", "key < ?"], ["b", "bx"]],
  [{ ...ALL, prefix: "b", after: "d", reverse: true }, ["key >= ?", "key < ?"], ["b", "c"]],
  [{ ...ALL, prefix: "b", after: "d" }, ["key > ?", "key < ?"], ["d", "c"]],
  [{ ...ALL, after: "d", reverse: true }, ["key < ?"], ["d"]],
  [
    { ...ALL, prefix: "\u{10ffff}", after: "\u{10ffff}a", reverse: true },
    ["key >= ?", "key < ?"],
    ["\u{10ffff}", "\u{10ffff}a"],
  ],
])("list %#: one bound on each side, the narrower", (range, bounds, values) => {
  const query = listQuery(1, range, 99);
  expect(boundsOf(query, /\bkey [<>]=? \?/g)).toEqual(bounds);
  expect(query.values).toEqual([1, ...values, 99, 10]);
});

test.each([
  [{ ...ANY, from: "b", to: "d", after: { value: "c", key: "k" } }, ["key) >", "value <="], ["c", "k", "d"]],
  [{ ...ANY, from: "b", to: "b", after: { value: "b", key: "k" } }, ["key) >", "value <="], ["b", "k", "b"]],
  [{ ...ANY, from: "b", to: "d", after: { value: "a", key: "k" } }, ["value >=", "value <="], ["b", "d"]],
  [
    { ...ANY, from: "b", to: "d", after: { value: "c", key: "k" }, reverse: true },
    ["value >=", "key) <"],
    ["b", "c", "k"],
  ],
  [
    { ...ANY, from: "b", to: "d", after: { value: "e", key: "k" }, reverse: true },
    ["value >=", "value <="],
    ["b", "d"],
  ],
])("find %#: one bound on each side, the narrower", (range, bounds, values) => {
  const query = findQuery(IDS, range, 99);
  expect(boundsOf(query, /(?:value|key\)) [<>]=?/g)).toEqual(bounds);
  expect(query.values).toEqual([2, ...values, 99, 10]);
});

test("SQLite looks for the first document of each page", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hrmr-pages-"));
  const path = join(folder, "hub.sqlite");
  try {
    const make = () => new SqliteBackend(path, backendOptions());
    const backend = await openBackend({ make, remove: () => {} }, { indexes: { [COLLECTION]: ["user"] } });
    await write(backend, ...["a", "b1", "b2", "b3", "c"].map((key) => set(key, { user: "ann" })));
    expect(await keysIn(backend, { prefix: "b", after: "b1" })).toEqual(["b2", "b3"]);
    expect(await keysIn(backend, { prefix: "b", after: "a" })).toEqual(["b1", "b2", "b3"]);
    expect(await keysIn(backend, { prefix: "b", after: "c" })).toEqual([]);
    expect(await keysIn(backend, { prefix: "b", after: "c", reverse: true })).toEqual(["b3", "b2", "b1"]);
    expect(await keysIn(backend, { prefix: "b", after: "a", reverse: true })).toEqual([]);
    const [{ value }] = new Database(path).query("SELECT value FROM entries").all() as [{ value: string }];
    const equal = { from: value, to: value };
    expect(await foundKeys(backend, "user", { ...equal, after: { value, key: "b2" } })).toEqual(["b3", "c"]);
    expect(await foundKeys(backend, "user", { ...equal, after: { value, key: "b2" }, reverse: true })).toEqual([
      "b1",
      "a",
    ]);
    await backend.close();
    const db = new Database(path);
    const plan = ({ sql, values }: ReturnType<typeof listQuery>) =>
      (db.query(`EXPLAIN QUERY PLAN ${sql}`).all(...values) as { detail: string }[]).map(({ detail }) => detail);
    expect(plan(listQuery(1, { ...ALL, prefix: "b", after: "bx" }, 1))).toEqual([
      "SEARCH d USING PRIMARY KEY (collection=? AND key>? AND key<?)",
    ]);
    expect(plan(findQuery(IDS, { ...ANY, from: "b", to: "b", after: { value: "b", key: "k" } }, 1))).toEqual([
      "SEARCH i USING PRIMARY KEY (index=? AND (value,key)>(?,?) AND value<?)",
      "SEARCH d USING PRIMARY KEY (collection=? AND key=?)",
    ]);
    db.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
