/** A transaction: recorded reads, and writes that wait for the commit. */
import type {
  FindOptions,
  ListOptions,
  SetOptions,
  StoreDocument,
  StoreEntry,
  StoreTransaction,
  TransactionCollection,
  WriteOptions,
} from "../contract";
import { added, NotANumber } from "./addition";
import { mustBeField, mustBeKeys, mustBeNumber } from "./collection";
import { byKey, type Draft, entryOfDraft, mergedEntries, addMutations } from "./draft";
import { StoreError } from "./error";
import { indexEntry } from "./index-key";
import { mergePatch } from "./json";
import { behindPrefix, compareKeys, mustBeCollection, mustBeKey } from "./names";
import type { Awaitable, Check, KeyRange, Mutation, Page, StoredDocument, StoredEntry, StorePort, Turn } from "./port";
import { indexRange, keyRange } from "./ranges";
import { documentOf, encode, entryOf, expiryFrom, expiryIn, ifVersionOf } from "./values";

/** The most documents that one page reads, own writes included. */
const MAX_PAGE = 1000;

export class Transaction implements StoreTransaction {
  readonly checks: Check[] = [];
  readonly port: StorePort;
  readonly turn: Turn | null;
  readonly #collections: DraftCollection<unknown>[] = [];
  /** Why nothing may be read or written any more. null: it goes on. */
  over: StoreError | string | null = null;

  constructor(port: StorePort, turn: Turn | null) {
    this.port = port;
    this.turn = turn;
  }

  collection<T>(name: string): TransactionCollection<T> {
    const known = this.#collections.find((collection) => collection.name === name);
    if (known !== undefined) return known as DraftCollection<unknown> as TransactionCollection<T>;
    const made = new DraftCollection<unknown>(mustBeCollection(name), this);
    this.#collections.push(made);
    return made as TransactionCollection<T>;
  }

  mutations(): Mutation[] {
    const mutations: Mutation[] = [];
    for (const { name, drafts } of this.#collections) if (drafts !== null) addMutations(mutations, name, drafts);
    return mutations;
  }
}

class DraftCollection<T> implements TransactionCollection<T> {
  readonly name: string;
  readonly #tx: Transaction;
  /** By key. null: nothing was written. */
  drafts: Map<string, Draft> | null = null;

  constructor(name: string, tx: Transaction) {
    this.name = name;
    this.#tx = tx;
  }

  // `get` and `set` are most of what transactions do. An async function costs some objects more.
  get(key: string): Promise<StoreDocument<T> | null> {
    try {
      const found = this.#read(mustBeKey(key));
      if (isPromise(found)) return found.then((document) => documentOf<T>(document));
      return Promise.resolve(documentOf<T>(found));
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  async getMany(keys: readonly string[]): Promise<(StoreDocument<T> | null)[]> {
    const wanted = mustBeKeys(keys);
    const stored = wanted.filter((key) => this.drafts?.has(key) !== true);
    const found = new Map((await this.#readStored(stored)).map((document, at) => [stored[at], document]));
    return wanted.map((key) => documentOf<T>(found.has(key) ? (found.get(key) ?? null) : this.#own(key)));
  }

  async list(options?: ListOptions): Promise<StoreEntry<T>[]> {
    this.#mustGoOn();
    const range = keyRange(options);
    const { turn, port } = this.#tx;
    const wish = { ...range, limit: this.#limitFor(range.limit) };
    const page = turn?.isAlone === true ? turn.list(this.name, wish) : await port.list(this.name, wish);
    const hasMore = page.entries.length >= wish.limit;
    this.#tx.checks.push(this.#checkOf(range, page, hasMore));
    return this.#merged(page.entries, {
      isIn: ({ key }) => isInRange(key, range),
      compare: byKey(range.reverse),
      hasMore,
      limit: range.limit,
    });
  }

  async find(index: string, options?: FindOptions): Promise<StoreEntry<T>[]> {
    this.#mustGoOn();
    const range = indexRange(index, options);
    const { turn, port } = this.#tx;
    const wish = { ...range, limit: this.#limitFor(range.limit) };
    const page = turn?.isAlone === true ? turn.find(this.name, wish) : await port.find(this.name, wish);
    this.#tx.checks.push({ kind: "range", collection: this.name, from: null, to: null, at: page.at });
    const valueOf = ({ text }: StoredEntry): string | null => indexEntry(JSON.parse(text), index);
    const compare = (a: Place, b: Place): number =>
      (range.reverse ? -1 : 1) * (compareKeys(a.value, b.value) || compareKeys(a.key, b.key));
    return this.#merged(page.entries, {
      isIn: (entry) => {
        const value = valueOf(entry);
        if (value === null || (range.from !== null && compareKeys(value, range.from) < 0)) return false;
        if (range.to !== null && compareKeys(value, range.to) > 0) return false;
        return range.after === null || compare({ value, key: entry.key }, range.after) > 0;
      },
      compare: (a, b) => compare({ value: valueOf(a) ?? "", key: a.key }, { value: valueOf(b) ?? "", key: b.key }),
      hasMore: page.entries.length >= wish.limit,
      limit: range.limit,
    });
  }

  set(key: string, value: T, options?: SetOptions): Promise<number> {
    try {
      this.#mustGoOn();
      const text = encode(value, mustBeKey(key));
      if (options !== undefined) return this.#setWith(key, text, options);
      this.#write(key, { text, expiresAt: null });
      return Promise.resolve(0);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  async #setWith(key: string, text: string, options: SetOptions): Promise<number> {
    const before = needsDocument(options) ? await this.#expected(key, options) : null;
    this.#write(key, { text, expiresAt: this.#expiry(expiryFrom(options, null), before) });
    return 0;
  }

  async patch(key: string, patch: unknown, options?: SetOptions): Promise<StoreDocument<T>> {
    const change: unknown = JSON.parse(encode(patch, mustBeKey(key)));
    const before = await this.#expected(key, options);
    const value = mergePatch(before === null ? {} : JSON.parse(before.text), change);
    const expiresAt = this.#expiry(expiryFrom(options, "keep"), before);
    this.#write(key, { text: encode(value, key), expiresAt });
    return documentOf<T>(this.#own(key)) as StoreDocument<T>;
  }

  async delete(key: string, options?: WriteOptions): Promise<boolean> {
    const before = await this.#expected(mustBeKey(key), options);
    if (before !== null) this.#write(key, { text: null, expiresAt: null });
    return before !== null;
  }

  async increment(key: string, by = 1, options?: SetOptions & { readonly field?: string }): Promise<number> {
    const [step, field] = [mustBeNumber(by), mustBeField(options?.field)];
    const before = await this.#expected(mustBeKey(key), options);
    const { value, number } = this.#added(before, { key, field, by: step });
    this.#write(key, { text: encode(value, key), expiresAt: this.#expiry(expiryFrom(options, "keep"), before) });
    return number;
  }

  async expire(key: string, ttlMs: number | null, options?: WriteOptions): Promise<boolean> {
    const expiresAt = expiryIn(ttlMs);
    const before = await this.#expected(mustBeKey(key), options);
    if (before !== null) this.#write(key, { text: before.text, expiresAt });
    return before !== null;
  }

  #added(
    before: StoredDocument | null,
    wish: { readonly key: string; readonly field: string | null; readonly by: number },
  ) {
    try {
      return added(before === null ? undefined : JSON.parse(before.text), { collection: this.name, ...wish });
    } catch (error) {
      if (error instanceof NotANumber) throw new StoreError("NOT_A_NUMBER", error.message);
      throw error;
    }
  }

  /** As it is now, checked against `ifVersion`. */
  async #expected(key: string, options: WriteOptions | undefined): Promise<StoredDocument | null> {
    const ifVersion = ifVersionOf(options);
    const before = await this.#read(key);
    if (ifVersion === null || ifVersion === (before?.version ?? 0)) return before;
    throw new StoreError(
      "CONFLICT",
      `"${key}" of ${this.name} has version ${before?.version ?? 0}; ${ifVersion} was expected`,
    );
  }

  #expiry(wanted: Draft["expiresAt"], before: StoredDocument | null): Draft["expiresAt"] {
    return wanted === "keep" ? (before?.expiresAt ?? null) : wanted;
  }

  #write(key: string, draft: Draft): void {
    this.#mustGoOn();
    this.drafts ??= new Map();
    this.drafts.set(key, draft);
  }

  #read(key: string): Awaitable<StoredDocument | null> {
    this.#mustGoOn();
    if (this.drafts?.has(key) === true) return this.#own(key);
    const { turn } = this.#tx;
    if (turn?.isAlone === true) {
      const [document = null] = turn.get(this.name, [key]);
      this.#recordOne(key, document);
      return document;
    }
    const found = this.#readStored([key]);
    return isPromise(found) ? found.then(([document = null]) => document) : (found[0] ?? null);
  }

  #own(key: string): StoredDocument | null {
    const draft = this.drafts?.get(key);
    return draft === undefined ? null : entryOfDraft(key, draft, Date.now());
  }

  #readStored(keys: readonly string[]): Awaitable<readonly (StoredDocument | null)[]> {
    this.#mustGoOn();
    const { turn, port } = this.#tx;
    const found = turn?.isAlone === true ? turn.get(this.name, keys) : port.get(this.name, keys);
    return isPromise(found) ? found.then((documents) => this.#record(keys, documents)) : this.#record(keys, found);
  }

  #record(keys: readonly string[], found: readonly (StoredDocument | null)[]): readonly (StoredDocument | null)[] {
    for (const [at, key] of keys.entries()) this.#recordOne(key, found[at] ?? null);
    return found;
  }

  #recordOne(key: string, found: StoredDocument | null): void {
    this.#tx.checks.push({ kind: "key", collection: this.name, key, version: found === null ? 0 : found.version });
  }

  #mustGoOn(): void {
    const { over } = this.#tx;
    if (over !== null) throw typeof over === "string" ? new StoreError("FAILED", over) : over;
  }

  /** Own writes may take entries away from the page. */
  #limitFor(limit: number): number {
    return Math.min(MAX_PAGE, limit + (this.drafts?.size ?? 0));
  }

  #checkOf({ prefix, after, reverse }: KeyRange, { entries, at }: Page, hasMore: boolean): Check {
    const first = after !== null && !reverse ? after : prefix === "" ? null : prefix;
    const end = after !== null && reverse ? after : prefix === "" ? null : behindPrefix(prefix);
    const last = hasMore ? (entries.at(-1)?.key ?? null) : null;
    const [from, to] = reverse ? [last ?? first, end] : [first, last ?? end];
    return { kind: "range", collection: this.name, from, to, at };
  }

  #merged(entries: readonly StoredEntry[], merge: Omit<Parameters<typeof mergedEntries>[0], "entries" | "drafts">) {
    const { drafts } = this;
    const all = drafts === null ? entries.slice(0, merge.limit) : mergedEntries({ entries, drafts, ...merge });
    return all.map((entry) => entryOf<T>(entry));
  }
}

interface Place {
  readonly value: string;
  readonly key: string;
}

function needsDocument({ ttlMs, ifVersion }: SetOptions): boolean {
  return ttlMs === "keep" || ifVersion !== undefined;
}

function isInRange(key: string, { prefix, after, reverse }: KeyRange): boolean {
  if (!key.startsWith(prefix)) return false;
  return after === null || (reverse ? compareKeys(key, after) < 0 : compareKeys(key, after) > 0);
}

function isPromise<T>(value: Awaitable<T>): value is Promise<T> {
  return value instanceof Promise;
}
