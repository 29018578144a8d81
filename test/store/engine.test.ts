/** Where a page is read, and what the store tells of its indexes. */
import { expect, spyOn, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultOptions } from "../../src/config/options";
import type { Log } from "../../src/module/contract";
import { Readers } from "../../src/store/backends/sqlite/readers/readers";
import { StoreEngine } from "../../src/store/engine";
import { IndexBuilder } from "../../src/store/indexes";
import { PagePlace } from "../../src/store/page-place";
import { COLLECTION, commitOf, set } from "../support/store/subject";
import { until } from "../support/until";

function engineIn(folder: string, log: Log): StoreEngine {
  return new StoreEngine({
    settings: () => defaultOptions().store,
    dataDir: folder,
    stateDir: folder,
    log,
    background: { watch: () => {} } as never,
  });
}

test("pages are read here, and after a slow one for a second in a thread", () => {
  const place = new PagePlace();
  expect(place.isApart(0)).toBe(false);
  place.wasHere(0, 9.9);
  expect(place.isApart(10)).toBe(false);
  place.wasHere(10, 20);
  expect([place.isApart(21), place.isApart(1019), place.isApart(1020)]).toEqual([true, true, false]);
});

test("an index that takes long to make is told", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hrmr-index-"));
  const told: string[] = [];
  const built = Promise.withResolvers<void>();
  const build = spyOn(IndexBuilder.prototype, "build").mockReturnValue(built.promise);
  const engine = engineIn(folder, { info: (text: string) => told.push(text) } as unknown as Log);
  try {
    const declared = engine.declare({ id: 1, collections: [{ name: COLLECTION, indexes: ["n"] }] });
    await until("it is told", () => told.length > 0);
    expect(told).toEqual([`store: the index "n" of ${COLLECTION} is being made, and its version waits for it`]);
    built.resolve();
    await declared;
  } finally {
    await engine.close();
    build.mockRestore();
    rmSync(folder, { recursive: true });
  }
});

test("a page in a thread has the writes before it, answered or not", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hrmr-page-"));
  const apart = spyOn(PagePlace.prototype, "isApart").mockReturnValue(true);
  const read = spyOn(Readers.prototype, "page");
  const engine = engineIn(folder, {} as Log);
  try {
    engine.declare({ id: 1, collections: [{ name: COLLECTION, indexes: ["n"] }] });
    await engine.commit(commitOf(set("a", { n: 1 })));
    const later = engine.commit(commitOf(set("b", { n: 2 })));
    const range = { after: null, limit: 10, reverse: false };
    const listed = await engine.list(COLLECTION, { prefix: "", ...range });
    const found = await engine.find(COLLECTION, { index: "n", from: null, to: null, ...range });
    expect([listed, found].map(({ entries }) => entries.map(({ key }) => key))).toEqual([
      ["a", "b"],
      ["a", "b"],
    ]);
    expect([listed.at, found.at, read.mock.calls.length]).toEqual([2, 2, 2]);
    await later;
  } finally {
    await engine.close();
    apart.mockRestore();
    read.mockRestore();
    rmSync(folder, { recursive: true });
  }
});
