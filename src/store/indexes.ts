/** The indexes that loaded versions of modules declare, and those of a database that are complete. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { StoreError } from "../module/store/error";
import type { Awaitable, CollectionSpec } from "../module/store/port";
import type { Backend } from "./backend";
import type { Writer } from "./writer";

/** By the id of a version: from its load to its end, so that old versions finish their calls. */
export class DeclaredIndexes {
  readonly #byVersion = new Map<number, readonly CollectionSpec[]>();
  /** By collection: of all versions. */
  #all = new Map<string, readonly string[]>();

  add(version: number, collections: readonly CollectionSpec[]): void {
    if (collections.length === 0) return;
    this.#byVersion.set(version, collections);
    this.#unite();
  }

  delete(version: number): void {
    if (this.#byVersion.delete(version)) this.#unite();
  }

  of(collection: string): readonly string[] {
    return this.#all.get(collection) ?? NONE;
  }

  list(): { readonly collection: string; readonly index: string }[] {
    return [...this.#all].flatMap(([collection, indexes]) => indexes.map((index) => ({ collection, index })));
  }

  /** @throws StoreError INDEX_MISSING */
  mustHave(collection: string, index: string): void {
    if (this.of(collection).includes(index)) return;
    const written = `collections: { ${JSON.stringify(collection)}: { indexes: [${JSON.stringify(index)}] } }`;
    throw new StoreError(
      "INDEX_MISSING",
      `the collection ${collection} has no index ${JSON.stringify(index)}. Declare it in the module's definition: ${written}`,
    );
  }

  #unite(): void {
    const all = new Map<string, Set<string>>();
    for (const { name, indexes } of [...this.#byVersion.values()].flat()) {
      const known = all.get(name) ?? new Set();
      for (const index of indexes) known.add(index);
      all.set(name, known);
    }
    this.#all = new Map([...all].map(([name, indexes]) => [name, [...indexes]]));
  }
}

const NONE: readonly string[] = [];

/** Makes the indexes of one open database complete, in steps between the commits of others. */
export class IndexBuilder {
  readonly #backend: Pick<Backend, "buildIndex" | "dropIndex">;
  readonly #writer: Pick<Writer, "between">;
  readonly #complete = new Set<string>();
  readonly #building = new Map<string, Promise<void>>();

  constructor(backend: Pick<Backend, "buildIndex" | "dropIndex">, writer: Pick<Writer, "between">) {
    this.#backend = backend;
    this.#writer = writer;
  }

  isComplete(collection: string, index: string): boolean {
    return this.#complete.has(idOf(collection, index));
  }

  /** Others may be dropped from now on: they are built again when they are declared again. */
  keep(declared: DeclaredIndexes): void {
    const kept = new Set(declared.list().map(({ collection, index }) => idOf(collection, index)));
    for (const id of this.#complete) if (!kept.has(id)) this.#complete.delete(id);
  }

  /** @throws StoreError, as the backend. Then a later call tries it again */
  build(collection: string, index: string): Awaitable<void> {
    const id = idOf(collection, index);
    if (this.#complete.has(id)) return undefined;
    const under = this.#building.get(id);
    if (under !== undefined) return under;
    const work = this.#build(collection, index).finally(() => this.#building.delete(id));
    this.#building.set(id, work);
    return work;
  }

  async #build(collection: string, index: string): Promise<void> {
    while (!(await this.#writer.between(() => this.#backend.buildIndex(collection, index)))) await nextTurn();
    this.#complete.add(idOf(collection, index));
  }

  /** @throws StoreError, as the backend */
  async drop(collection: string, index: string): Promise<void> {
    this.#complete.delete(idOf(collection, index));
    while (!(await this.#writer.between(() => this.#backend.dropIndex(collection, index)))) await nextTurn();
  }
}

function idOf(collection: string, index: string): string {
  return `${collection}\0${index}`;
}
