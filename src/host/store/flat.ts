/**
 * The store's data as flat arrays of texts and numbers, on their way between threads and processes: such an array is
 * cloned many times faster than objects.
 */
import type {
  Check,
  Commit,
  CommitResult,
  IndexRange,
  KeyRange,
  Mutated,
  Mutation,
  NewExpiry,
  Page,
  StoredChange,
  StoredDocument,
  StoredEntry,
} from "../../module/store/port";

export type Flat = (string | number | null)[];

/** Reads a flat array in the order in which it was written. @throws TypeError for an array of another form */
export class FlatReader {
  readonly #items: readonly unknown[];
  #at = 0;

  constructor(items: readonly unknown[]) {
    if (!Array.isArray(items)) throw new TypeError("a message of the store is no array");
    this.#items = items;
  }

  /** How many items were read. */
  get at(): number {
    return this.#at;
  }

  /** How much was read since then, as `lettersOf` counts. */
  lettersSince(at: number): number {
    return lettersOf(this.#items as Flat, at, this.#at);
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#items.length;
  }

  /** Whether the next item is a text. */
  get isText(): boolean {
    return typeof this.#items[this.#at] === "string";
  }

  text(): string {
    const item = this.#items[this.#at++];
    if (typeof item !== "string") throw new TypeError("a message of the store has no text where one belongs");
    return item;
  }

  number(): number {
    const item = this.#items[this.#at++];
    if (typeof item !== "number") throw new TypeError("a message of the store has no number where one belongs");
    return item;
  }

  textOrNull(): string | null {
    return this.#skipNull() ? null : this.text();
  }

  numberOrNull(): number | null {
    return this.#skipNull() ? null : this.number();
  }

  /** A count, then as many parts. */
  many<T>(read: (reader: FlatReader) => T): T[] {
    const count = this.number();
    // A broken count must not make a huge array: each part has one item at least.
    if (!(count >= 0 && count <= this.#items.length - this.#at))
      throw new TypeError("a message of the store counts more parts than it has");
    return Array.from({ length: count }, () => read(this));
  }

  #skipNull(): boolean {
    if (this.#items[this.#at] !== null) return false;
    this.#at++;
    return true;
  }
}

const MUTATIONS: readonly Mutation["kind"][] = ["set", "delete", "patch", "increment", "expire", "sweep"];
const CHANGES: readonly StoredChange["kind"][] = ["set", "delete", "expire"];

export function pushTexts(flat: Flat, texts: readonly string[]): void {
  flat.push(texts.length);
  for (const text of texts) flat.push(text);
}

export function readTexts(reader: FlatReader): string[] {
  return reader.many((each) => each.text());
}

export function pushKeyRange(flat: Flat, { prefix, after, limit, reverse }: KeyRange): void {
  flat.push(prefix, after, limit, reverse ? 1 : 0);
}

export function readKeyRange(reader: FlatReader): KeyRange {
  return {
    prefix: reader.text(),
    after: reader.textOrNull(),
    limit: reader.number(),
    reverse: reader.number() === 1,
  };
}

export function pushIndexRange(flat: Flat, { index, from, to, after, limit, reverse }: IndexRange): void {
  flat.push(index, from, to, after?.value ?? null, after?.key ?? "", limit, reverse ? 1 : 0);
}

export function readIndexRange(reader: FlatReader): IndexRange {
  const index = reader.text();
  const from = reader.textOrNull();
  const to = reader.textOrNull();
  const value = reader.textOrNull();
  const key = reader.text();
  const after = value === null ? null : { value, key };
  return { index, from, to, after, limit: reader.number(), reverse: reader.number() === 1 };
}

export function pushDocuments(flat: Flat, documents: readonly (StoredDocument | null)[]): void {
  flat.push(documents.length);
  for (const document of documents)
    if (document === null) flat.push(null);
    else flat.push(document.text, document.version, document.expiresAt);
}

export function readDocuments(reader: FlatReader): (StoredDocument | null)[] {
  return reader.many((each) => {
    const text = each.textOrNull();
    return text === null ? null : { text, version: each.number(), expiresAt: each.numberOrNull() };
  });
}

export function pushPage(flat: Flat, { entries, at }: Page): void {
  flat.push(at, entries.length);
  for (const { key, text, version, expiresAt } of entries) flat.push(key, text, version, expiresAt);
}

export function readPage(reader: FlatReader): Page {
  return { at: reader.number(), entries: reader.many(readEntry) };
}

function readEntry(reader: FlatReader): StoredEntry {
  return { key: reader.text(), text: reader.text(), version: reader.number(), expiresAt: reader.numberOrNull() };
}

export function pushCommit(flat: Flat, { checks, mutations }: Commit): void {
  flat.push(checks.length);
  for (const check of checks) pushCheck(flat, check);
  flat.push(mutations.length);
  for (const mutation of mutations) pushMutation(flat, mutation);
}

export function readCommit(reader: FlatReader): Commit {
  return { checks: reader.many(readCheck), mutations: reader.many(readMutation) };
}

function pushCheck(flat: Flat, check: Check): void {
  if (check.kind === "key") flat.push(0, check.collection, check.key, check.version);
  else flat.push(1, check.collection, check.from, check.to, check.at);
}

function readCheck(reader: FlatReader): Check {
  return reader.number() === 0
    ? { kind: "key", collection: reader.text(), key: reader.text(), version: reader.number() }
    : {
        kind: "range",
        collection: reader.text(),
        from: reader.textOrNull(),
        to: reader.textOrNull(),
        at: reader.number(),
      };
}

function pushMutation(flat: Flat, mutation: Mutation): void {
  const { kind, collection, key, ifVersion } = mutation;
  flat.push(MUTATIONS.indexOf(kind), collection, key, ifVersion);
  if (kind === "set" || kind === "patch") flat.push(mutation.text, flatExpiry(mutation.expiresAt));
  else if (kind === "increment") flat.push(mutation.by, mutation.field, flatExpiry(mutation.expiresAt));
  else if (kind === "expire") flat.push(flatExpiry(mutation.expiresAt));
}

function readMutation(reader: FlatReader): Mutation {
  const kind = MUTATIONS[reader.number()];
  const target = { collection: reader.text(), key: reader.text(), ifVersion: reader.numberOrNull() };
  switch (kind) {
    case "set":
    case "patch":
      return { kind, ...target, text: reader.text(), expiresAt: readExpiry(reader) };
    case "increment":
      return { kind, ...target, by: reader.number(), field: reader.textOrNull(), expiresAt: readExpiry(reader) };
    case "expire":
      return { kind, ...target, expiresAt: readExpiry(reader) };
    case "delete":
    case "sweep":
      return { kind, ...target };
    default:
      throw new TypeError("a message of the store has an unknown mutation");
  }
}

/** A text is "keep", or the milliseconds of `inMs`. */
function flatExpiry(expiry: NewExpiry): Flat[number] {
  return typeof expiry === "object" && expiry !== null ? String(expiry.inMs) : expiry;
}

function readExpiry(reader: FlatReader): NewExpiry {
  if (!reader.isText) return reader.numberOrNull();
  const text = reader.text();
  if (text === "keep") return text;
  const inMs = Number(text);
  if (text === "" || !(inMs > 0 && Number.isFinite(inMs)))
    throw new TypeError("a message of the store has an unknown expiry");
  return { inMs };
}

export function pushResult(flat: Flat, result: CommitResult): void {
  if (!result.ok) return void flat.push(0, result.code, result.message, result.at);
  flat.push(1, result.mutated.length);
  for (const { version, text, number, expiresAt } of result.mutated) flat.push(version, text, number, expiresAt);
}

export function readResult(reader: FlatReader): CommitResult {
  return reader.number() === 1
    ? { ok: true, mutated: reader.many(readMutated) }
    : { ok: false, code: reader.text(), message: reader.text(), at: reader.number() };
}

function readMutated(reader: FlatReader): Mutated {
  return {
    version: reader.number(),
    text: reader.textOrNull(),
    number: reader.numberOrNull(),
    expiresAt: reader.numberOrNull(),
  };
}

export function pushChange(flat: Flat, { version, collection, key, kind, text }: StoredChange): void {
  flat.push(version, collection, key, CHANGES.indexOf(kind), text);
}

export function readChange(reader: FlatReader): StoredChange {
  const version = reader.number();
  const collection = reader.text();
  const key = reader.text();
  const kind = CHANGES[reader.number()];
  if (kind === undefined) throw new TypeError("a message of the store has an unknown change");
  return { version, collection, key, kind, text: reader.textOrNull() };
}

/** How much a flat array holds, in letters; a number counts as eight. */
export function lettersOf(flat: Flat, from = 0, to = flat.length): number {
  let letters = 0;
  for (let at = from; at < to; at++) {
    const item = flat[at];
    letters += typeof item === "string" ? item.length : 8;
  }
  return letters;
}
