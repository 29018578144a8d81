/** GET /store/COLLECTION: its documents, page by page, in the order of their keys or of an index. */
import type { Collection, IndexValue, StoreEntry } from "hrmr";
import { type Page, pageByIndex, pageByKeys } from "../pages";
import { jsonResponse } from "./answer";
import { flagOf, invalid, limitOf, type Query, queryOf } from "./query";

const NAMES = ["prefix", "after", "limit", "reverse"];
const INDEX_NAMES = ["index", "equals", "from", "to", "after", "limit", "reverse"];

/** @returns `{ "entries": [{ key, value, version, expiresAt }], "next": for ?after=, or null }` */
export async function listDocuments(collection: Collection<string>, request: Request): Promise<Response> {
  const isFind = /[?&]index=/.test(request.url);
  const query = queryOf(request, isFind ? INDEX_NAMES : NAMES);
  const { entries, next } = await (isFind ? byIndex(collection, query) : byKeys(collection, query));
  return jsonResponse(`{"entries":[${entries.map(entryText).join(",")}],"next":${JSON.stringify(next)}}`);
}

/** The value is JSON as it is. */
function entryText({ key, value, version, expiresAt }: StoreEntry<string>): string {
  return `{"key":${JSON.stringify(key)},"value":${value},"version":${version},"expiresAt":${expiresAt}}`;
}

function byKeys(collection: Collection<string>, query: Query): Promise<Page> {
  const prefix = query.get("prefix") ?? "";
  return pageByKeys(collection, { prefix, ...partOf(query) });
}

function byIndex(collection: Collection<string>, query: Query): Promise<Page> {
  const bounds = ["equals", "from", "to"].flatMap((name) => {
    const text = query.get(name);
    return text === undefined ? [] : [[name, valueIn(name, text)] as const];
  });
  return pageByIndex(collection, query.get("index") ?? "", { ...Object.fromEntries(bounds), ...partOf(query) });
}

function partOf(query: Query) {
  return { after: query.get("after"), limit: limitOf(query), reverse: flagOf(query, "reverse") };
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
