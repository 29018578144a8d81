/** Runs migrations: each once a store, in a transaction that also records it. */
import type { Store, StoreTransaction } from "../contract";

/** The collection with a document for each migration that has run. Its key: "MODULE/NAME". */
const RECORDS = "hrmr.migrations";
/** The longest time of a timer. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

interface MigrationOrder {
  readonly module: string;
  /** The number of the version that brings them. */
  readonly version: number;
  readonly names: readonly string[];
  /** For each. In milliseconds. 0 waits for ever. */
  readonly timeoutMs: number;
  /** Runs the author's function. */
  readonly run: (name: string, tx: StoreTransaction) => unknown;
  readonly onRan: (name: string) => void;
}

/** @throws MigrationError for the first that fails: it has done nothing, and those before it stay */
export async function migrate(store: Store, order: MigrationOrder): Promise<void> {
  const keys = order.names.map((name) => `${order.module}/${name}`);
  const records = await store.collection(RECORDS).getMany(keys);
  for (const [at, name] of order.names.entries()) {
    if (records[at] !== null) continue;
    if (await runOnce(store, order, name)) order.onRan(name);
  }
}

/** @returns false: another process of the server has run it meanwhile */
async function runOnce(
  store: Store,
  { module, version, timeoutMs, run }: MigrationOrder,
  name: string,
): Promise<boolean> {
  const key = `${module}/${name}`;
  const options = { timeoutMs: timeoutMs === 0 ? MAX_TIMEOUT_MS : timeoutMs };
  try {
    return await store.transaction(async (tx) => {
      const records = tx.collection(RECORDS);
      if ((await records.get(key)) !== null) return false;
      await run(name, tx);
      await records.set(key, { at: new Date().toISOString(), version });
      return true;
    }, options);
  } catch (cause) {
    throw new MigrationError(name, cause);
  }
}

export class MigrationError extends Error {
  readonly migration: string;

  constructor(migration: string, cause: unknown) {
    super(`the migration "${migration}" failed`, { cause });
    this.migration = migration;
  }
}
