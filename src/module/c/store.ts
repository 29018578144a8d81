/** The store as C uses it: an order as JSON, and an outcome for `hrmr_stored`. */
import { messageOf } from "../../config/user-error";
import type { BatchWrite, SetOptions } from "../contract";
import { currentFrame } from "../service/frame";
import { mutationOf } from "../store/collection";
import { StoreError } from "../store/error";
import { mustBeCollection, mustBeKey } from "../store/names";
import type { Check, Mutated, Mutation, StoreNow } from "../store/port";
import { keyRange } from "../store/ranges";

type StoredOutcome =
  | { readonly json: string | null; readonly version: number; readonly expiresAt: number | null }
  | { readonly code: string; readonly message: string };

/** The values of `what` in `hrmr_write`. */
const WHAT = { check: 1, set: 2, delete: 3, increment: 4, patch: 5 } as const;
const KEEP_TTL = -1;
const MAX_WRITES = 1000;

/** As bridge.c writes it. All numbers but the first are texts. */
type Write = readonly [
  what: number,
  collection: string | null,
  key: string | null,
  json: string | null,
  ttlMs: string,
  version: string,
  by: string,
  field: string | null,
];
type Order =
  | readonly ["get", collection: string | null, key: string | null]
  | readonly ["list", collection: string | null, prefix: string | null, after: string | null, limit: string]
  /** The last one is a write, and the outcome is its own. */
  | readonly ["write", ...Write[]]
  | readonly ["commit", ...Write[]];

/** @param bytes the order. null: the store cannot be used now, since `hrmr_module` runs. Never throws */
export function askStore(store: StoreNow, bytes: Uint8Array | null): StoredOutcome {
  try {
    if (bytes !== null) return outcomeOf(store, readOrder(bytes));
    throw new StoreError(
      "UNAVAILABLE",
      "the store has no effect in hrmr_module. Use it in a handler, in start or in live",
    );
  } catch (error) {
    return error instanceof StoreError
      ? { code: error.code, message: error.message }
      : { code: "FAILED", message: messageOf(error) };
  }
}

function readOrder(bytes: Uint8Array): Order {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new StoreError("INVALID_VALUE", "a key or a document is not UTF-8");
  }
  return JSON.parse(text) as Order;
}

function outcomeOf(store: StoreNow, order: Order): StoredOutcome {
  const [what] = order;
  if (what === "get") {
    const [, collection, key] = order;
    const [found = null] = store.get(mustBeCollection(collection), [mustBeKey(key)], currentFrame());
    if (found === null) return { json: null, version: 0, expiresAt: null };
    return { json: found.text, version: found.version, expiresAt: found.expiresAt };
  }
  if (what === "list") {
    const [, collection, prefix, after, limit] = order;
    const range = keyRange({ prefix: prefix ?? "", limit: Number(limit), ...(after === null ? null : { after }) });
    const { entries, at } = store.list(mustBeCollection(collection), range, currentFrame());
    const documents = entries.map(
      ({ key, text, version, expiresAt }) =>
        `{"key":${JSON.stringify(key)},"value":${text},"version":${version},"expiresAt":${expiresAt}}`,
    );
    return { json: `[${documents.join(",")}]`, version: at, expiresAt: null };
  }
  const [, ...writes] = order;
  const mutated = commit(store, writes);
  if (what === "commit") return outcomeOfAll(writes, mutated);
  const { version, text, expiresAt } = mutated.at(-1) as Mutated;
  const [kind, , , json] = writes.at(-1) as Write;
  return { json: kind === WHAT.set ? json : text, version, expiresAt };
}

function commit(store: StoreNow, writes: readonly Write[]): readonly Mutated[] {
  if (writes.length > MAX_WRITES)
    throw new StoreError("INVALID_VALUE", `a commit has ${writes.length} writes; at most ${MAX_WRITES} are possible`);
  const isCheck = ([what]: Write): boolean => what === WHAT.check;
  const order = {
    checks: writes.filter(isCheck).map(checkOf),
    mutations: writes.filter((write) => !isCheck(write)).map(readMutation),
  };
  const result = store.commit(order, currentFrame());
  if (result.ok) return result.mutated;
  throw new StoreError(result.code, result.message);
}

function outcomeOfAll(writes: readonly Write[], mutated: readonly Mutated[]): StoredOutcome {
  const left = [...mutated];
  const parts = writes.map(([what]) => {
    if (what === WHAT.check) return "null";
    const { version, text } = left.shift() as Mutated;
    return text === null ? `{"version":${version}}` : `{"version":${version},"value":${text}}`;
  });
  const version = Math.max(0, ...mutated.map((each) => each.version));
  return { json: `[${parts.join(",")}]`, version, expiresAt: null };
}

function checkOf([, collection, key, , , version]: Write): Check {
  return { kind: "key", collection: mustBeCollection(collection), key: mustBeKey(key), version: versionOf(version) };
}

function versionOf(text: string): number {
  const version = Number(text);
  if (Number.isSafeInteger(version) && version >= 0) return version;
  throw new StoreError("INVALID_VALUE", `the version ${text} is none: it is that of a document, or 0`);
}

function readMutation([what, collection, key, json, ttlMs, , by, field]: Write): Mutation {
  return mutationOf(mustBeCollection(collection), writeOf(what, key as string, { json, ttlMs, by, field }));
}

function writeOf(
  what: number,
  key: string,
  { json, ttlMs, by, field }: Record<"json" | "field", string | null> & Record<"ttlMs" | "by", string>,
): BatchWrite {
  switch (what) {
    case WHAT.set:
      return { set: key, value: valueOf(key, json), ...lifeOf(Number(ttlMs)) };
    case WHAT.delete:
      return { delete: key };
    case WHAT.increment:
      return { increment: key, by: Number(by), ...(field === null ? null : { field }) };
    case WHAT.patch:
      return { patch: key, value: valueOf(key, json) };
    default:
      throw new StoreError("INVALID_VALUE", `"what" of a write is ${what}, and none of those that hrmr.h names`);
  }
}

function lifeOf(ttlMs: number): SetOptions {
  return ttlMs === 0 ? {} : { ttlMs: ttlMs === KEEP_TTL ? "keep" : ttlMs };
}

function valueOf(key: string, json: string | null): unknown {
  try {
    if (json !== null) return JSON.parse(json);
  } catch (error) {
    throw new StoreError("INVALID_VALUE", `the value of ${JSON.stringify(key)} is not JSON: ${messageOf(error)}`);
  }
  throw new StoreError("INVALID_VALUE", `the value of ${JSON.stringify(key)} is NULL: write "null" for null`);
}
