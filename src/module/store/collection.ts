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
import type { Commit, Mutated, Mutation, StorePort, StoreVersion } from "./port";
import { indexRange, keyRange } from "./ranges";
import { AS_VALUES, documentOf, entryOf, expiryFrom, expiryIn, type Form, ifVersionOf } from "./values";
import { openWatch, wishOf } from "./watch";

const MAX_MANY = 1000;

export class StoreCollection<T> implements Collection<T> {
  readonly name: string;
  readonly #port: StorePort;
  readonly #version: StoreVersion;
  readonly #form: Form;

  constructor(name: string, port: StorePort, version: StoreVersion, form = AS_VALUES) {
    this.name = name;
    this.#port = port;
    this.#version = version;
    this.#form = form;
  }

  async get(key: string): Promise<StoreDocument<T> | null> {
    const [found = null] = await this.#port.get(this.name, [mustBeKey(key)]);
    return documentOf(found, this.#form);
  }

  async getMany(keys: readonly string[]): Promise<(StoreDocument<T> | null)[]> {
    const found = await this.#port.get(this.name, mustBeKeys(keys));
    return found.map((document) => documentOf<T>(document, this.#form));
  }

  async list(options?: ListOptions): Promise<StoreEntry<T>[]> {
    const { entries } = await this.#port.list(this.name, keyRange(options));
    return entries.map((entry) => entryOf<T>(entry, this.#form));
  }

  async find(index: string, options?: FindOptions): Promise<StoreEntry<T>[]> {
    const { entries } = await this.#port.find(this.name, indexRange(index, options, this.#form));
    return entries.map((entry) => entryOf<T>(entry, this.#form));
  }

  async count(): Promise<number> {
    return await this.#port.count(this.name);
  }

  async set(key: string, value: T, options?: SetOptions): Promise<number> {
    return (await this.#one(setOf(this.name, { set: key, value, ...options }, this.#form))).version;
  }

  async patch(key: string, patch: unknown, options?: SetOptions): Promise<StoreDocument<T>> {
    const { version, text, expiresAt } = await this.#one(
      patchOf(this.name, { patch: key, value: patch, ...options }, this.#form),
    );
    return documentOf<T>({ text: text as string, version, expiresAt }, this.#form) as StoreDocument<T>;
  }

  async delete(key: string, options?: WriteOptions): Promise<boolean> {
    return (await this.#one(deleteOf(this.name, { delete: key, ...options }))).version > 0;
  }

  async increment(key: string, by = 1, options?: SetOptions & { readonly field?: string }): Promise<number> {
    return (await this.#one(incrementOf(this.name, { increment: key, by, ...options }))).number as number;
  }

  async expire(key: string, ttlMs: number | null, options?: WriteOptions): Promise<boolean> {
    const target = { collection: this.name, key: mustBeKey(key), ifVersion: ifVersionOf(options) };
    return (await this.#one({ kind: "expire", ...target, expiresAt: expiryIn(ttlMs) })).version > 0;
  }

  async batch(writes: readonly BatchWrite<T>[]): Promise<number[]> {
    mustBeBatch(writes);
    if (writes.length === 0) return [];
    const mutations = writes.map((write) => mutationOf(this.name, write, this.#form));
    return (await commit(this.#port, { checks: [], mutations })).map(({ version }) => version);
  }

  watch(options?: WatchOptions): StoreWatch<T> {
    return openWatch<T>(this.#port, this.#version, wishOf(this.name, options), this.#form);
  }

  async #one(mutation: Mutation): Promise<Mutated> {
    return (await commit(this.#port, { checks: [], mutations: [mutation] }))[0] as Mutated;
  }
}

/** @throws StoreError the reason why it was refused */
export async function commit(port: StorePort, commit: Commit): Promise<readonly Mutated[]> {
  const result = await port.commit(commit);
  if (!result.ok) throw new StoreError(result.code, result.message);
  return result.mutated;
}

export function mustBeKeys(keys: readonly string[]): readonly string[] {
  if (!Array.isArray(keys) || keys.length > MAX_MANY)
    throw new StoreError("INVALID_KEY", `getMany takes a list of at most ${MAX_MANY} keys`);
  return keys.map(mustBeKey);
}

/** @throws StoreError INVALID_VALUE */
export function mustBeBatch(list: readonly unknown[]): void {
  if (!Array.isArray(list) || list.length > MAX_MANY || list.some((each) => typeof each !== "object" || each === null))
    throw new StoreError("INVALID_VALUE", `a batch is a list of at most ${MAX_MANY} writes`);
}

// ---- writes to mutations ----

/** @throws StoreError */
export function mutationOf<T>(collection: string, write: BatchWrite<T>, form = AS_VALUES): Mutation {
  if ("set" in write) return setOf(collection, write, form);
  if ("patch" in write) return patchOf(collection, write, form);
  if ("delete" in write) return deleteOf(collection, write);
  if ("increment" in write) return incrementOf(collection, write);
  throw new StoreError("INVALID_VALUE", "a write of a batch has none of set, patch, delete and increment");
}

type WriteOf<Kind extends string> = Extract<BatchWrite<unknown>, Record<Kind, string>>;

function setOf(collection: string, write: WriteOf<"set">, { encode }: Form): Mutation {
  const target = { collection, key: mustBeKey(write.set), ifVersion: ifVersionOf(write) };
  return { kind: "set", ...target, text: encode(write.value, write.set), expiresAt: expiryFrom(write, null) };
}

function patchOf(collection: string, write: WriteOf<"patch">, { encode }: Form): Mutation {
  const target = { collection, key: mustBeKey(write.patch), ifVersion: ifVersionOf(write) };
  return { kind: "patch", ...target, text: encode(write.value, write.patch), expiresAt: expiryFrom(write, "keep") };
}

function deleteOf(collection: string, write: WriteOf<"delete">): Mutation {
  return { kind: "delete", collection, key: mustBeKey(write.delete), ifVersion: ifVersionOf(write) };
}

function incrementOf(collection: string, write: WriteOf<"increment">): Mutation {
  const target = { collection, key: mustBeKey(write.increment), ifVersion: ifVersionOf(write) };
  return {
    kind: "increment",
    ...target,
    by: mustBeNumber(write.by ?? 1),
    field: mustBeField(write.field),
    expiresAt: expiryFrom(write, "keep"),
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
