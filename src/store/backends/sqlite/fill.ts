/** A new file of SQLite with documents of another database, which keep their versions. */
import { closeSync, openSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import type { StoredEntry } from "../../../module/store/port";
import { asHost } from "../../../system/leave-graph";
import { syncFolder } from "../../../system/files/durable";
import { PRIVATE_FILE } from "../../../system/private-files";
import { openFile } from "./schema";

/** Documents of one collection. */
interface Part {
  readonly collection: string;
  readonly entries: readonly StoredEntry[];
}

interface Filling {
  /** Of the store's newest change. */
  readonly version: number;
  /** The store's clock, in milliseconds since 1970. */
  readonly clock: number;
  readonly parts: AsyncIterable<Part>;
}

/** The file is on the disk when this returns. If it fails, there is none. @throws Error EEXIST, or of the parts */
export async function fillNewFile(path: string, filling: Filling): Promise<void> {
  closeSync(openSync(path, "wx", PRIVATE_FILE));
  try {
    await fill(path, filling);
  } catch (error) {
    for (const end of ["", "-wal", "-shm"]) rmSync(path + end, { force: true });
    throw error;
  }
  syncFolder(dirname(path));
}

async function fill(path: string, { version, clock, parts }: Filling): Promise<void> {
  const db = asHost(() => openFile(path, "full"));
  try {
    db.run("BEGIN IMMEDIATE");
    const collections = new Map<string, number>();
    const document = db.query("INSERT INTO documents (collection, key, version, text, expires) VALUES (?, ?, ?, ?, ?)");
    for await (const { collection, entries } of parts) {
      const id = collections.get(collection) ?? collections.size + 1;
      if (!collections.has(collection))
        db.query("INSERT INTO collections (id, name) VALUES (?, ?)").run(id, collection);
      collections.set(collection, id);
      for (const { key, version: of, text, expiresAt } of entries) document.run(id, key, of, text, expiresAt);
    }
    db.run("UPDATE collections SET documents = (SELECT count(*) FROM documents d WHERE d.collection = collections.id)");
    // It has no changes before its own.
    db.query("INSERT INTO changes (last, first, clock, changes) VALUES (?, ?, ?, '[]')").run(
      version,
      version + 1,
      clock,
    );
    db.run("COMMIT");
  } finally {
    db.close();
  }
}
