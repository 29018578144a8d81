/** A store's backend under test: how to open it, and short ways to use it. */
import type { Commit, Mutated, Mutation, StoredChange, StoredEntry } from "../../../src/module/store/port";
import type { Backend, BackendOptions, Committed } from "../../../src/store/backend";

/** A database of one test. */
export interface Subject {
  /** Makes a backend on the database. On SQL, several may be open at once. */
  readonly make: (options: BackendOptions) => Backend;
  /** Removes the database. */
  readonly remove: () => Promise<void> | void;
}

export type SubjectOptions = Partial<Omit<BackendOptions, "indexesOf">> & {
  /** By collection. */
  readonly indexes?: Record<string, readonly string[]>;
};

export const COLLECTION = "scores";
/** Noon of a day. */
export const START_MS = 1_767_268_800_000;

export function backendOptions({ indexes = {}, ...rest }: SubjectOptions = {}): BackendOptions {
  return {
    limits: { maxValueBytes: 1 << 20, maxDepth: 100 },
    durability: "full",
    now: () => START_MS,
    raiseClock: () => {},
    keptChanges: 1000,
    indexesOf: (collection) => indexes[collection] ?? [],
    onForeignChanges: () => {},
    ...rest,
  };
}

export async function openBackend(subject: Subject, options: SubjectOptions = {}): Promise<Backend> {
  const backend = subject.make(backendOptions(options));
  await backend.open();
  for (const [collection, names] of Object.entries(options.indexes ?? {}))
    for (const name of names) while (!(await backend.buildIndex(collection, name)));
  return backend;
}

export function set(key: string, value: unknown, rest: Partial<Mutation & { kind: "set" }> = {}): Mutation {
  const text = JSON.stringify(value);
  return { kind: "set", collection: COLLECTION, key, text, ifVersion: null, expiresAt: null, ...rest };
}

export function remove(key: string, ifVersion: number | null = null): Mutation {
  return { kind: "delete", collection: COLLECTION, key, ifVersion };
}

export function patch(key: string, value: unknown): Mutation {
  const text = JSON.stringify(value);
  return { kind: "patch", collection: COLLECTION, key, text, ifVersion: null, expiresAt: "keep" };
}

export function increment(key: string, by = 1, field: string | null = null): Mutation {
  return { kind: "increment", collection: COLLECTION, key, by, field, ifVersion: null, expiresAt: "keep" };
}

export function commitOf(...mutations: Mutation[]): Commit {
  return { checks: [], mutations };
}

/** Runs one commit. */
export async function commit(backend: Backend, ...mutations: Mutation[]): Promise<Committed> {
  return (await backend.commit([commitOf(...mutations)]))[0] as Committed;
}

/** @throws Error if it is refused */
export async function write(backend: Backend, ...mutations: Mutation[]): Promise<readonly Mutated[]> {
  const { result } = await commit(backend, ...mutations);
  if (result.ok) return result.mutated;
  throw new Error(`${result.code}: ${result.message}`);
}

/** @returns "ok", or the code of the refusal */
export async function outcome(backend: Backend, commits: readonly Commit[]): Promise<string[]> {
  return (await backend.commit(commits)).map(({ result }) => (result.ok ? "ok" : result.code));
}

/** @returns the value; undefined: there is none */
export async function valueOf(backend: Backend, key: string, collection = COLLECTION): Promise<unknown> {
  const [document] = await backend.get(collection, [key]);
  return document == null ? undefined : JSON.parse(document.text);
}

export interface ListRange {
  readonly prefix?: string;
  readonly after?: string | null;
  readonly limit?: number;
  readonly reverse?: boolean;
}

export async function keysIn(backend: Backend, range: ListRange = {}): Promise<string[]> {
  const page = await backend.list(COLLECTION, { prefix: "", after: null, limit: 1000, reverse: false, ...range });
  return page.entries.map(({ key }) => key);
}

export interface FindRange {
  readonly from?: string | null;
  readonly to?: string | null;
  readonly after?: { readonly value: string; readonly key: string } | null;
  readonly limit?: number;
  readonly reverse?: boolean;
}

export async function found(backend: Backend, index: string, range: FindRange = {}): Promise<readonly StoredEntry[]> {
  const whole = { index, from: null, to: null, after: null, limit: 1000, reverse: false, ...range };
  return (await backend.find(COLLECTION, whole)).entries;
}

export async function foundKeys(backend: Backend, index: string, range: FindRange = {}): Promise<string[]> {
  return (await found(backend, index, range)).map(({ key }) => key);
}

/** @throws Error if some are not kept any more */
export async function changesAfter(backend: Backend, version: number): Promise<readonly StoredChange[]> {
  const changes = await backend.changesAfter(version, 100_000);
  if (changes === null) throw new Error(`Changes behind ${version} are not kept`);
  return changes;
}
