import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteBackend } from "../../../src/store/backends/sqlite/sqlite";
import { backendOptions, remove, set, write } from "../../support/store/subject";
import { describeBackend } from "../../support/store/suite";

describeBackend({
  name: "sqlite",
  skipped: null,
  fresh: () => {
    const folder = mkdtempSync(join(tmpdir(), "hrmr-sqlite-"));
    return {
      make: (options) => new SqliteBackend(join(folder, "hub.sqlite"), options),
      remove: () => rmSync(folder, { recursive: true }),
    };
  },
});

test("a file of schema 1 is upgraded: it gets the number of its documents", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hrmr-sqlite-"));
  const path = join(folder, "hub.sqlite");
  try {
    const made = new SqliteBackend(path, backendOptions());
    made.open();
    await write(made, set("a", 1), set("b", 1), set("c", 1, { collection: "other" }));
    made.close();
    const db = new Database(path);
    db.run("ALTER TABLE collections DROP COLUMN documents");
    db.run("PRAGMA user_version = 1");
    db.close();
    const upgraded = new SqliteBackend(path, backendOptions());
    upgraded.open();
    expect(upgraded.size().documents).toBe(3);
    expect(upgraded.check()).toEqual([]);
    await write(upgraded, remove("a"));
    expect(upgraded.size().documents).toBe(2);
    upgraded.close();
    const broken = new Database(path);
    broken.run("UPDATE collections SET documents = 9 WHERE name = 'other'");
    broken.close();
    const checked = new SqliteBackend(path, backendOptions());
    checked.open();
    expect(checked.check()).toEqual(["the collection other has 1 documents, and counts 9"]);
    checked.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
