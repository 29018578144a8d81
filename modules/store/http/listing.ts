/** GET /store/COLLECTION: its documents, page by page, in the order of their keys or of an index. */
import type { Collection, FindOptions, IndexValue, StoreEntry } from "hrmr";
import { jsonResponse } from "./answer";
import { cursorAt, entryAt, indexedValue } from "./cursor";
import { flagOf, invalid, limitOf, type Query, queryOf } from "./query";

const NAMES = ["prefix", "after", "limit", "reverse"];
const INDEX_NAMES = ["index", "equals", "from", "to", "after", "limit", "reverse"];

interface Page {
  readonly entries: readonly StoreEntry<string>[];
  /** For ?after=. null: there are no more. */
  readonly next: string | null;
}

/** @returns `{ "entries": [{ key, value, version, expiresAt }], "next": for ?after=, or null }` */
export async function listDocuments(collection: Collection<string>, request: Request): Promise<Response> {
  const isFind = /[?&]index=/.test(request.url);
  const query = queryOf(request, isFind ? INDEX_NAMES : NAMES);
  const { entries, next } = await (isFind ? pageByIndex(collection, query) : pageByKeys(collection, query));
  return jsonResponse(`{"entries":[${entries.map(entryText).join(",")}],"next":${JSON.stringify(next)}}`);
}

/** The value is JSON as it is. */
function entryText({ key, value, version, expiresAt }: StoreEntry<string>): string {
  return `{"key":${JSON.stringify(key)},"value":${value},"version":${version},"expiresAt":${expiresAt}}`;
}

async function pageByKeys(collection: Collection<string>, query: Query): Promise<Page> {
  const range = { prefix: query.get("prefix") ?? "", limit: limitOf(query), reverse: flagOf(query, "reverse") };
  const after = query.get("after");
  const entries = await collection.list(after === undefined ? range : { ...range, after });
  const last = entries.at(-1)?.key;
  // A page may be shorter than its limit: it also ends behind 4 MB of values.
  const hasMore = last !== undefined && (await collection.list({ ...range, after: last, limit: 1 })).length > 0;
  return { entries, next: hasMore ? last : null };
}

async function pageByIndex(collection: Collection<string>, query: Query): Promise<Page> {
  const index = query.get("index") ?? "";
  const bounds = ["equals", "from", "to"].flatMap((name) => {
    const text = query.get(name);
    return text === undefined ? [] : [[name, valueIn(name, text)] as const];
  });
  const range: FindOptions = {
    ...Object.fromEntries(bounds),
    limit: limitOf(query),
    reverse: flagOf(query, "reverse"),
  };
  const after = query.get("after");
  const entries = await collection.find(
    index,
    after === undefined ? range : { ...range, after: entryAt(index, after) },
  );
  const last = entries.at(-1);
  const hasMore = last !== undefined && (await collection.find(index, { ...range, after: last, limit: 1 })).length > 0;
  return { entries, next: hasMore ? cursorAt(indexedValue(last.value, index), last.key) : null };
}

/** 7 is a number, true a boolean, "7" and ann are strings. @throws Refusal */
function valueIn(name: string, text: string): IndexValue {
  let value: unknown = text;
  try {
    value = JSON.parse(text);
  } catch {
    // A string without quotes.
  }
  if (typeof value === "object" && value !== null) throw invalid(`?${name}= is no object and no list`);
  return value as IndexValue;
}
