/**
 * What a commit does to the documents: decided without a database, a socket or a clock, so that every backend has the
 * same semantics. A backend reads the documents that a commit names, asks here, and writes what it is told. Pure.
 */
import { added, NotANumber } from "../module/store/addition";
import { indexEntry } from "../module/store/index-key";
import { depthOf, mergePatch } from "../module/store/json";
import type {
  Check,
  Commit,
  CommitResult,
  Mutated,
  Mutation,
  NewExpiry,
  StoredChange,
  StoredDocument,
} from "../module/store/port";

/** The store as a commit finds it. */
export interface Found {
  /** As it lies there, whether its time is over or not. */
  read(collection: string, key: string): StoredDocument | null;
  /** Whether no key of the range has changed since its version. */
  isUnchanged(check: Extract<Check, { kind: "range" }>): boolean;
  /** The indexes of a collection. */
  indexesOf(collection: string): readonly string[];
  /** By the store's clock, in milliseconds since 1970. */
  readonly now: number;
  /** Of the newest change. */
  readonly lastVersion: number;
  readonly limits: PlanLimits;
}

export interface PlanLimits {
  /** Of one document's JSON, in UTF-8 bytes. */
  readonly maxValueBytes: number;
  /** Objects and lists within each other. */
  readonly maxDepth: number;
}

/** One document that changes, at most once in a commit. */
export interface DocumentWrite {
  readonly collection: string;
  readonly key: string;
  /** null: delete it. */
  readonly after: StoredDocument | null;
  /** The row is there already: update it. */
  readonly isThere: boolean;
  /** Entries of its indexes to remove and to add. */
  readonly removed: readonly IndexEntry[];
  readonly added: readonly IndexEntry[];
}

interface IndexEntry {
  readonly index: string;
  readonly value: string;
}

type Plan =
  | {
      readonly result: Extract<CommitResult, { ok: true }>;
      readonly writes: readonly DocumentWrite[];
      /** In the order of their versions. */
      readonly changes: readonly StoredChange[];
      readonly lastVersion: number;
    }
  | { readonly result: Extract<CommitResult, { ok: false }> };

/** A document during the commit. */
interface Draft {
  readonly collection: string;
  readonly key: string;
  /** As it lies in the store. */
  readonly row: StoredDocument | null;
  /** As the next mutation sees it. */
  now: StoredDocument | null;
  isChanged: boolean;
  /** How it has ended, if it has. */
  ending: "delete" | "expire";
}

/** A mutation that cannot be done, so that the whole commit is not. */
class Refused extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export function planCommit(commit: Commit, found: Found): Plan {
  const broken = commit.checks.find((check) => !holds(check, found));
  if (broken !== undefined) return refusal("CONFLICT", conflictText(broken), -1);
  const drafts = new Drafts();
  const mutated: Mutated[] = [];
  let version = found.lastVersion;
  try {
    for (const mutation of commit.mutations) {
      const done = mutate(drafts.of(mutation, found), mutation, version + 1, found);
      version = Math.max(version, done.version);
      mutated.push(done);
    }
  } catch (error) {
    if (error instanceof Refused) return refusal(error.code, error.message, mutated.length);
    throw error;
  }
  const writes: DocumentWrite[] = [];
  const changes: StoredChange[] = [];
  for (const draft of drafts.all) {
    if (!draft.isChanged) continue;
    changes.push(changeOf(draft));
    if (draft.row !== null || draft.now !== null) writes.push(writeOf(draft, found));
  }
  if (!areInOrder(changes)) changes.sort((a, b) => a.version - b.version);
  return { result: { ok: true, mutated }, writes, changes, lastVersion: version };
}

/** A document that changes twice has the version of its last change. */
function areInOrder(changes: readonly StoredChange[]): boolean {
  let last = 0;
  for (const { version } of changes) {
    if (version < last) return false;
    last = version;
  }
  return true;
}

function refusal(code: string, message: string, at: number): Plan {
  return { result: { ok: false, code, message, at } };
}

function holds(check: Check, found: Found): boolean {
  if (check.kind === "range") return found.isUnchanged(check);
  return (liveAt(found.read(check.collection, check.key), found.now)?.version ?? 0) === check.version;
}

/** @returns null: there is none, or its time is over */
export function liveAt(document: StoredDocument | null, now: number): StoredDocument | null {
  return document === null || (document.expiresAt !== null && document.expiresAt <= now) ? null : document;
}

function conflictText(check: Check): string {
  return check.kind === "key"
    ? `"${check.key}" of ${check.collection} has changed since it was read`
    : `documents of ${check.collection} have changed since they were read`;
}

/** So few are compared one by one: most commits have one or two. */
const FEW = 8;

class Drafts {
  readonly all: Draft[] = [];
  /** null: there are few. */
  #byId: Map<string, Draft> | null = null;

  of({ collection, key }: Mutation, found: Found): Draft {
    const known = this.#find(collection, key);
    if (known !== undefined) return known;
    const row = found.read(collection, key);
    const now = row === null || row.expiresAt === null ? row : liveAt(row, found.now);
    const draft: Draft = { collection, key, row, now, isChanged: false, ending: "delete" };
    this.all.push(draft);
    if (this.#byId !== null) this.#byId.set(idOf(draft), draft);
    else if (this.all.length > FEW) this.#byId = new Map(this.all.map((each) => [idOf(each), each]));
    return draft;
  }

  #find(collection: string, key: string): Draft | undefined {
    if (this.#byId !== null) return this.#byId.get(idOf({ collection, key }));
    for (const draft of this.all) if (draft.key === key && draft.collection === collection) return draft;
    return undefined;
  }
}

function idOf({ collection, key }: Pick<Draft, "collection" | "key">): string {
  // No name of a collection has a NUL.
  return `${collection}\0${key}`;
}

function mutate(draft: Draft, mutation: Mutation, version: number, found: Found): Mutated {
  mustHaveVersion(draft, mutation.ifVersion);
  switch (mutation.kind) {
    case "set":
      return write(draft, mutation.text, expiryOf(draft, mutation.expiresAt, found), version, found, null);
    case "patch":
      return patched(draft, mutation, version, found);
    case "increment":
      return incremented(draft, mutation, version, found);
    case "expire":
      if (draft.now === null) return UNCHANGED;
      return write(draft, draft.now.text, expiryOf(draft, mutation.expiresAt, found), version, found, null);
    case "delete":
      return draft.now === null ? UNCHANGED : end(draft, "delete", version);
    case "sweep":
      // Deleted by this commit, or never there, or there: then its time is not over.
      if (draft.row === null || draft.isChanged || draft.now !== null) return UNCHANGED;
      return end(draft, "expire", version);
  }
}

function end(draft: Draft, ending: Draft["ending"], version: number): Mutated {
  draft.now = null;
  draft.isChanged = true;
  draft.ending = ending;
  endedAt.set(draft, version);
  return { version, text: null, number: null, expiresAt: null };
}

const UNCHANGED: Mutated = { version: 0, text: null, number: null, expiresAt: null };
/** The versions of endings, which no document carries. */
const endedAt = new WeakMap<Draft, number>();

function mustHaveVersion({ collection, key, now }: Draft, ifVersion: number | null): void {
  const version = now?.version ?? 0;
  if (ifVersion === null || ifVersion === version) return;
  throw new Refused(
    "CONFLICT",
    version === 0
      ? `there is no "${key}" in ${collection}; version ${ifVersion} was expected`
      : `"${key}" of ${collection} has version ${version}; ${ifVersion === 0 ? "no document" : `version ${ifVersion}`} was expected`,
  );
}

function expiryOf({ now }: Draft, expiresAt: NewExpiry, found: Found): number | null {
  if (expiresAt === "keep") return now?.expiresAt ?? null;
  return expiresAt === null || typeof expiresAt === "number" ? expiresAt : found.now + expiresAt.inMs;
}

function write(
  draft: Draft,
  text: string,
  expiresAt: number | null,
  version: number,
  { limits }: Found,
  number: number | null,
): Mutated {
  mustFit(draft, text, limits);
  draft.now = { text, version, expiresAt };
  draft.isChanged = true;
  return { version, text: null, number, expiresAt };
}

function patched(
  draft: Draft,
  { text, expiresAt }: Extract<Mutation, { kind: "patch" }>,
  version: number,
  found: Found,
): Mutated {
  // What is parsed must be bounded before, not after.
  mustFit(draft, text, found.limits);
  const merged = JSON.stringify(mergePatch(draft.now === null ? {} : JSON.parse(draft.now.text), JSON.parse(text)));
  const done = write(draft, merged, expiryOf(draft, expiresAt, found), version, found, null);
  return { ...done, text: merged };
}

function incremented(
  draft: Draft,
  { by, field, expiresAt }: Extract<Mutation, { kind: "increment" }>,
  version: number,
  found: Found,
): Mutated {
  const before: unknown = draft.now === null ? undefined : JSON.parse(draft.now.text);
  const { value, number } = addedTo(draft, before, field, by);
  const text = JSON.stringify(value);
  return { ...write(draft, text, expiryOf(draft, expiresAt, found), version, found, number), text };
}

function addedTo({ collection, key }: Draft, before: unknown, field: string | null, by: number) {
  try {
    return added(before, { collection, key, field, by });
  } catch (error) {
    if (error instanceof NotANumber) throw new Refused("NOT_A_NUMBER", error.message);
    throw error;
  }
}

function mustFit({ collection, key }: Draft, text: string, { maxValueBytes, maxDepth }: PlanLimits): void {
  // Each letter has 1 to 3 bytes.
  if (text.length * 3 > maxValueBytes) {
    const bytes = Buffer.byteLength(text);
    if (bytes > maxValueBytes)
      throw new Refused(
        "TOO_LARGE",
        `the document "${key}" of ${collection} has ${bytes} bytes; at most ${maxValueBytes} are possible`,
      );
  }
  if (text.length > maxDepth && depthOf(text) > maxDepth)
    throw new Refused("TOO_LARGE", `the document "${key}" of ${collection} is nested more than ${maxDepth} deep`);
}

function changeOf(draft: Draft): StoredChange {
  const { collection, key, now, ending } = draft;
  if (now === null) return { version: endedAt.get(draft) ?? 0, collection, key, kind: ending, text: null };
  return { version: now.version, collection, key, kind: "set", text: now.text };
}

function writeOf({ collection, key, row, now }: Draft, found: Found): DocumentWrite {
  const indexes = found.indexesOf(collection);
  if (indexes.length === 0)
    return { collection, key, after: now, isThere: row !== null, removed: NO_ENTRIES, added: NO_ENTRIES };
  const before = entriesOf(row, indexes);
  const after = entriesOf(now, indexes);
  const same = new Set(before.filter((entry) => after.some((other) => isSame(entry, other))).map(({ index }) => index));
  return {
    collection,
    key,
    after: now,
    isThere: row !== null,
    removed: before.filter(({ index }) => !same.has(index)),
    added: after.filter(({ index }) => !same.has(index)),
  };
}

function isSame(a: IndexEntry, b: IndexEntry): boolean {
  return a.index === b.index && a.value === b.value;
}

const NO_ENTRIES: readonly IndexEntry[] = [];

/** The entries of a document in the indexes of its collection. */
export function entriesOf(document: StoredDocument | null, indexes: readonly string[]): readonly IndexEntry[] {
  if (document === null || indexes.length === 0) return NO_ENTRIES;
  const value: unknown = JSON.parse(document.text);
  return indexes.flatMap((index) => {
    const entry = indexEntry(value, index);
    return entry === null ? [] : [{ index, value: entry }];
  });
}
