/** Transactions that have read what was never durable, since its commit failed. */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { transact } from "../../src/module/store/attempts";
import { StoreError } from "../../src/module/store/error";
import type { StorePort } from "../../src/module/store/port";
import type { Backend, Batch } from "../../src/store/backend";
import { JsonBackend } from "../../src/store/backends/json/backend";
import { SqliteBackend } from "../../src/store/backends/sqlite/sqlite";
import { TurnWriter } from "../../src/store/turn-writer";
import { backendOptions, COLLECTION, commitOf, set } from "../support/store/subject";

type SyncBackend = Backend & Required<Pick<Backend, "begin">>;

const BACKENDS: Record<string, (folder: string) => SyncBackend> = {
  sqlite: (folder) => new SqliteBackend(join(folder, "hub.sqlite"), backendOptions()),
  json: (folder) => new JsonBackend(join(folder, "hub.json"), backendOptions()),
};

/** The next commits of its database fail. */
class Spoiled {
  failures = 0;

  around(backend: SyncBackend): SyncBackend {
    const begin = backend.begin.bind(backend);
    backend.begin = () => {
      const batch = begin();
      const commit = (): void => {
        if (this.failures === 0) return batch.commit();
        this.failures--;
        throw new StoreError("FULL", "the disk is full");
      };
      return { apply: (each) => batch.apply(each), commit, rollback: () => batch.rollback() } satisfies Batch;
    };
    return backend;
  }
}

function portOf(backend: SyncBackend): StorePort {
  const writer = new TurnWriter(backend, { changed() {}, committed() {}, failed() {}, mustFind() {} });
  return {
    get: (collection, keys) => writer.read(() => backend.get(collection, keys)),
    list: (collection, range) => writer.read(() => backend.list(collection, range)),
    commit: (commit) => writer.commit(commit),
    enterTurn: () => writer.enterTurn(),
  } as StorePort;
}

test.each(Object.keys(BACKENDS))("%s: a transaction that has read an undone write runs again", async (kind) => {
  const folder = mkdtempSync(join(tmpdir(), "hrmr-undone-"));
  const spoiled = new Spoiled();
  const backend = spoiled.around((BACKENDS[kind] as (folder: string) => SyncBackend)(folder));
  try {
    await backend.open();
    const port = portOf(backend);
    const later = Promise.withResolvers<void>();
    const seen: unknown[] = [];
    spoiled.failures = 1;
    const undone = Promise.resolve(port.commit(commitOf(set("k", "undone"))));
    const copied = transact(port, async (tx) => {
      const documents = tx.collection<string>(COLLECTION);
      const { value } = (await documents.get("k")) ?? {};
      const listed = await documents.list({});
      seen.push([value, listed.map(({ key }) => key)]);
      await later.promise;
      await documents.set("copy", value ?? "none");
    });
    await expect(undone).rejects.toThrow("the disk is full");
    // It gets the version that was undone.
    expect(await port.commit(commitOf(set("k", "durable")))).toMatchObject({ ok: true, mutated: [{ version: 1 }] });
    later.resolve();
    await copied;
    expect(seen).toEqual([
      ["undone", ["k"]],
      ["durable", ["k"]],
    ]);
    expect((await backend.get(COLLECTION, ["copy"])).map((found) => found?.text)).toEqual(['"durable"']);
  } finally {
    await backend.close();
    rmSync(folder, { recursive: true });
  }
});
