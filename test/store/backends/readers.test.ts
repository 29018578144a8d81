/** Reads of SQLite in threads of their own. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { looksLikeRead, Readers } from "../../../src/store/backends/sqlite/readers/readers";
import { SqliteBackend } from "../../../src/store/backends/sqlite/sqlite";
import { backendOptions, COLLECTION, openBackend, set, write } from "../../support/store/subject";
import { until } from "../../support/until";

const folder = mkdtempSync(join(tmpdir(), "hrmr-readers-"));
const path = join(folder, "hub.sqlite");
let backend: SqliteBackend;

beforeAll(async () => {
  const make = () => (backend = new SqliteBackend(path, backendOptions()));
  await openBackend({ make, remove: () => {} }, { indexes: { [COLLECTION]: ["n"] } });
  await write(backend, ...Array.from({ length: 300 }, (_, n) => set(`k${n}`, { n })));
});
afterAll(async () => {
  await backend.close();
  rmSync(folder, { recursive: true });
});

async function withReaders(
  options: ConstructorParameters<typeof Readers>[1],
  run: (readers: Readers) => Promise<void>,
): Promise<void> {
  const readers = new Readers(path, options);
  try {
    await run(readers);
  } finally {
    await readers.close();
  }
}

const sql = (...parts: string[]) => ({ parts, values: [] });
/** Counts so far. A million take a tenth of a second or so. */
const slow = (steps: number) =>
  sql(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${steps}) SELECT count(*) AS n FROM c`);
const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "answered",
    (error: { code?: unknown }) => error.code,
  );

test.each([
  ["select 1", true],
  ["  -- of all\n SELECT 1", true],
  ["/* of\n all */ WITH a AS (SELECT 1) SELECT * FROM a", true],
  ["VALUES (1)", true],
  ["EXPLAIN SELECT 1", true],
  ["selected", false],
  ["UPDATE documents SET text = ", false],
  ["PRAGMA user_version", false],
  ["", false],
])("%j is run in a thread: %p", (text, isRead) => {
  expect(looksLikeRead(sql(text))).toBe(isRead);
});

test("a page has the same entries and the same version as in the main thread, and values arrive as they are", async () => {
  const range = { prefix: "k1", after: null, limit: 250, reverse: true };
  expect(await backend.apart.list(COLLECTION, range)).toEqual(backend.list(COLLECTION, range));
  const byIndex = { index: "n", from: null, to: null, after: null, limit: 250, reverse: false };
  const page = await backend.apart.find(COLLECTION, byIndex);
  expect(page).toEqual(backend.find(COLLECTION, byIndex));
  expect([page.entries.length, page.at]).toEqual([250, 300]);
  expect(await backend.apart.list("none", range)).toEqual({ entries: [], at: 300 });
  const parts = ["SELECT ", " AS a, ", " AS b, ", " AS c, ", " AS d"];
  const values = [null, 1.5, "ä\0", new Uint8Array([1, 2])];
  const rows = await backend.apart.sql({ parts, values });
  expect(rows).toEqual([{ a: null, b: 1.5, c: "ä\0", d: new Uint8Array([1, 2]) }]);
});

test("a statement that writes after all has done nothing, and a wrong one tells why", async () => {
  const writing = sql("WITH a AS (SELECT 1) DELETE FROM documents");
  expect(await codeOf(backend.apart.sql(writing) as Promise<unknown>)).toBe("READ_ONLY");
  expect(backend.size().documents).toBe(300);
  const wrong = await (backend.apart.sql(sql("SELECT * FROM no_table")) as Promise<unknown>).catch(String);
  expect(wrong).toContain("no such table: no_table");
});

test("reads wait for a thread, and are refused when too many wait", () =>
  withReaders({ threads: 1, maxWaiting: 2 }, async (readers) => {
    const first = readers.sql(slow(300_000));
    const waiting = [readers.sql(sql("SELECT 1 AS n")), readers.sql(sql("SELECT 2 AS n"))];
    expect(await codeOf(readers.sql(sql("SELECT 3 AS n")))).toBe("BUSY");
    expect(await first).toEqual([{ n: 300_000 }]);
    expect(await Promise.all(waiting)).toEqual([[{ n: 1 }], [{ n: 2 }]]);
    expect(await readers.sql(sql("SELECT 4 AS n"))).toEqual([{ n: 4 }]);
  }));

test("a read that takes too long is given up, and the next one gets another thread", () =>
  withReaders({ threads: 1, readMs: 300 }, async (readers) => {
    const long = codeOf(readers.sql(slow(20_000_000)));
    const waiting = codeOf(readers.sql(sql("SELECT 1 AS n")));
    expect([await long, await waiting]).toEqual(["BUSY", "BUSY"]);
    await until("a thread reads again", async () => (await codeOf(readers.sql(sql("SELECT 5 AS n")))) === "answered");
  }));

test("an answer that would fill the memory is refused", async () => {
  const huge = sql("SELECT printf('%.*c', 1000000, 'x') AS text FROM documents");
  expect(await codeOf(backend.apart.sql(huge) as Promise<unknown>)).toBe("TOO_LARGE");
});

test("a thread without work ends, and closing leaves no thread and no reads behind", async () => {
  const readers = new Readers(path, { idleMs: 1 });
  expect(await readers.sql(sql("SELECT 1 AS n"))).toEqual([{ n: 1 }]);
  await until("the thread has ended", () => readers.size === 0);
  const last = readers.sql(slow(300_000));
  await readers.close();
  expect(await last).toEqual([{ n: 300_000 }]);
  expect(readers.size).toBe(0);
  expect(await codeOf(readers.sql(sql("SELECT 1")))).toBe("BUSY");
});

test("a store that is closed while threads read is put in order", async () => {
  const other = join(folder, "other.sqlite");
  const second = new SqliteBackend(other, backendOptions());
  second.open();
  await write(second, set("a", 1));
  const read = second.apart.sql(sql("SELECT count(*) AS n FROM documents"));
  await second.close();
  expect(await read).toEqual([{ n: 1 }]);
  expect([existsSync(other), existsSync(`${other}-wal`)]).toEqual([true, false]);
});
