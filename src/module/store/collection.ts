/** A collection outside of a transaction: each write is a commit of its own. */
import type {
  BatchWrite,
  Collection,
  FindOptions,
  ListOptions,
  SetOptions,
  StoreDocument,
  StoreEntry,
  StoreWatch,
  WatchOptions,
  WriteOptions,
} from "../contract";
import { StoreError } from "./error";
import { mustBeKey } from "./names";
import type { Mutated, Mutation, StorePort, StoreVersion } from "./port";
import { indexRange, keyRange } from "./ranges";
import { documentOf, encode, entryOf, expiryFrom, expiryIn, ifVersionOf } from "./values";
import { openWatch } from "./watch";

const MAX_MANY = 1000;

export class StoreCollection<T> implements Collection<T> {
  readonly name: string;
  readonly #port: StorePort;
  readonly #version: StoreVersion;

  constructor(name: string, port: StorePort, version: StoreVersion) {
    this.name = name;
    this.#port = port;
    this.#version = version;
  }

  async get(key: string): Promise<StoreDocument<T> | null> {
    const [found = null] = await this.#port.get(this.name, [mustBeKey(key)]);
    return documentOf(found);
  }

  async getMany(keys: readonly string[]): Promise<(StoreDocument<T> | null)[]> {
    const found = await this.#port.get(this.name, mustBeKeys(keys));
    return found.map((document) => documentOf<T>(document));
  }

  async list(options?: ListOptions): Promise<StoreEntry<T>[]> {
    const { entries } = await this.#port.list(this.name, keyRange(options));
    return entries.map((entry) => entryOf<T>(entry));
  }

  async find(index: string, options?: FindOptions): Promise<StoreEntry<T>[]> {
    const { entries } = await this.#port.find(this.name, indexRange(index, options));
    return entries.map((entry) => entryOf<T>(entry));
  }

  async set(key: string, value: T, options?: SetOptions): Promise<number> {
    return (await this.#one(setOf(this.name, key, value, options))).version;
  }

  async patch(key: string, patch: unknown, options?: SetOptions): Promise<StoreDocument<T>> {
    const { version, text, expiresAt } = await this.#one(patchOf(this.name, key, patch, options));
    return documentOf<T>({ text: text as string, version, expiresAt }) as StoreDocument<T>;
  }

  async delete(key: string, options?: WriteOptions): Promise<boolean> {
    return (await this.#one(deleteOf(this.name, key, options))).version > 0;
  }

  async increment(key: string, by = 1, options?: SetOptions & { readonly field?: string }): Promise<number> {
    return (await this.#one(incrementOf(this.name, key, by, options))).number as number;
  }

  async expire(key: string, ttlMs: number | null, options?: WriteOptions): Promise<boolean> {
    const target = { collection: this.name, key: mustBeKey(key), ifVersion: ifVersionOf(options) };
    return (await this.#one({ kind: "expire", ...target, expiresAt: expiryIn(ttlMs) })).version > 0;
  }

  async batch(writes: readonly BatchWrite<T>[]): Promise<number[]> {
    if (!Array.isArray(writes) || writes.length > MAX_MANY)
      throw new StoreError("INVALID_VALUE", `a batch is a list of at most ${MAX_MANY} writes`);
    if (writes.length === 0) return [];
    const mutations = writes.map((write: BatchWrite<T>) => mutationOf(this.name, write));
    return (await commit(this.#port, mutations)).map(({ version }) => version);
  }

  watch(options?: WatchOptions): StoreWatch<T> {
    return openWatch<T>(this.#port, this.#version, this.name, options);
  }

  async #one(mutation: Mutation): Promise<Mutated> {
    return (await commit(this.#port, [mutation]))[0] as Mutated;
  }
}

async function commit(port: StorePort, mutations: readonly Mutation[]): Promise<readonly Mutated[]> {
  const result = await port.commit({ checks: [], mutations });
  if (!result.ok) throw new StoreError(result.code, result.message);
  return result.mutated;
}

export function mustBeKeys(keys: readonly string[]): readonly string[] {
  if (!Array.isArray(keys) || keys.length > MAX_MANY)
    throw new StoreError("INVALID_KEY", `getMany takes a list of at most ${MAX_MANY} keys`);
  return keys.map(mustBeKey);
}

// ---- writes to mutations ----

/** @throws StoreError */
export function mutationOf<T>(collection: string, write: BatchWrite<T>): Mutation {
  if ("set" in write) return setOf(collection, write.set, write.value, write);
  if ("patch" in write) return patchOf(collection, write.patch, write.value, write);
  if ("delete" in write) return deleteOf(collection, write.delete, write);
  if ("increment" in write) return incrementOf(collection, write.increment, write.by, write);
  throw new StoreError("INVALID_VALUE", "a write of a batch has none of set, patch, delete and increment");
}

function setOf(collection: string, key: string, value: unknown, options: SetOptions | undefined): Mutation {
  const target = { collection, key: mustBeKey(key), ifVersion: ifVersionOf(options) };
  return { kind: "set", ...target, text: encode(value, key), expiresAt: expiryFrom(options, null) };
}

function patchOf(collection: string, key: string, patch: unknown, options: SetOptions | undefined): Mutation {
  const target = { collection, key: mustBeKey(key), ifVersion: ifVersionOf(options) };
  return { kind: "patch", ...target, text: encode(patch, key), expiresAt: expiryFrom(options, "keep") };
}

function deleteOf(collection: string, key: string, options: WriteOptions | undefined): Mutation {
  return { kind: "delete", collection, key: mustBeKey(key), ifVersion: ifVersionOf(options) };
}

function incrementOf(
  collection: string,
  key: string,
  by = 1,
  options: (SetOptions & { readonly field?: string }) | undefined = undefined,
): Mutation {
  const target = { collection, key: mustBeKey(key), ifVersion: ifVersionOf(options) };
  return {
    kind: "increment",
    ...target,
    by: mustBeNumber(by),
    field: mustBeField(options?.field),
    expiresAt: expiryFrom(options, "keep"),
  };
}

export function mustBeNumber(by: unknown): number {
  if (typeof by === "number" && Number.isFinite(by)) return by;
  throw new StoreError("NOT_A_NUMBER", `increment by ${Bun.inspect(by, { depth: 0 })}: that is not a number`);
}

export function mustBeField(field: unknown): string | null {
  if (field === undefined) return null;
  if (typeof field === "string" && field !== "") return field;
  throw new StoreError("INVALID_VALUE", `"field" is ${Bun.inspect(field, { depth: 0 })}, and must be a name`);
}
