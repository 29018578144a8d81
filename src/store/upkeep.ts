/** One process deletes expired documents and unused indexes, without being asked. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Commit } from "../module/store/port";
import type { Backend } from "./backend";
import type { DeclaredIndexes, IndexBuilder } from "./indexes";
import type { Writer } from "./writer";

/** Documents of one step: it is part of a turn of the loop, and of its commit. */
const SWEEP_STEP = 200;
/**
 * How long no version has declared an index when it is dropped. The other processes may not have loaded the next version
 * yet, and one that brings it back is often near. In milliseconds.
 */
const DROP_AFTER_MS = 60_000;

interface UpkeepStore {
  readonly backend: Pick<Backend, "expired" | "indexes">;
  readonly writer: Pick<Writer, "commit">;
  readonly indexes: Pick<IndexBuilder, "drop">;
}

export class Upkeep {
  readonly #declared: Pick<DeclaredIndexes, "of">;
  /** By collection and index: since when no version declares it, by `performance.now()`. */
  #undeclared = new Map<string, number>();
  #isRunning = false;

  constructor(declared: Pick<DeclaredIndexes, "of">) {
    this.#declared = declared;
  }

  /**
   * Does what is due, in steps. Does nothing while the run before goes on.
   *
   * @param mayGoOn asked before each step: whether the store is still open, and this process still the one
   * @param now by `performance.now()`
   * @throws StoreError, as the backend
   */
  async run(store: UpkeepStore, mayGoOn: () => boolean, now: number): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      await sweep(store, mayGoOn);
      if (mayGoOn()) await this.#drop(store, now);
    } finally {
      this.#isRunning = false;
    }
  }

  async #drop({ backend, indexes }: UpkeepStore, now: number): Promise<void> {
    const before = this.#undeclared;
    this.#undeclared = new Map();
    for (const { collection, index } of (await backend.indexes?.()) ?? []) {
      if (this.#declared.of(collection).includes(index)) continue;
      const id = `${collection}\0${index}`;
      const since = before.get(id) ?? now;
      this.#undeclared.set(id, since);
      if (now - since < DROP_AFTER_MS) continue;
      await indexes.drop(collection, index);
      this.#undeclared.delete(id);
    }
  }
}

async function sweep({ backend, writer }: UpkeepStore, mayGoOn: () => boolean): Promise<void> {
  while (mayGoOn()) {
    const found = await backend.expired(SWEEP_STEP);
    if (found.length === 0) return;
    const mutations = found.map(
      ({ collection, key }) => ({ kind: "sweep", collection, key, ifVersion: null }) as const,
    );
    const commit: Commit = { checks: [], mutations };
    const { ok } = await writer.commit(commit);
    if (!ok || found.length < SWEEP_STEP) return;
    await nextTurn();
  }
}
