/** Batches of clients: writes and checks, as JSON. */
import type { StoreCheck, StoreWrite } from "hrmr";
import { Refusal } from "./refusal";
import { issuesOf, type JsonSchema, objectOf } from "./schema";

export const MAX_WRITES = 1000;

export const COLLECTION: JsonSchema = { type: "string", minLength: 1, description: "The name of a collection" };
export const KEY: JsonSchema = { type: "string", description: "The key of a document" };
export const VERSION: JsonSchema = { type: "integer", minimum: 0, description: "A version; 0: there is no document" };
export const TTL: JsonSchema = {
  anyOf: [{ type: "number", minimum: 1 }, { const: "keep" }],
  description: 'The document is gone after so many milliseconds; "keep": as the document before had it',
};
export const BY: JsonSchema = { type: "number", description: "Default 1" };
export const FIELD: JsonSchema = { type: "string", minLength: 1, description: "Of an object: wins, or total.wins" };
const ANY: JsonSchema = { description: "Any JSON" };

/** @param place the properties that all have besides: none, or the collection */
export function writesOf(place: Record<string, JsonSchema>): JsonSchema {
  const form = (properties: Record<string, JsonSchema>, required: readonly string[]): JsonSchema =>
    objectOf({ ...place, ...properties, ifVersion: VERSION }, [...Object.keys(place), ...required]);
  return {
    type: "array",
    maxItems: MAX_WRITES,
    items: {
      anyOf: [
        form({ set: KEY, value: ANY, ttlMs: TTL }, ["set", "value"]),
        form({ patch: KEY, value: ANY, ttlMs: TTL }, ["patch", "value"]),
        form({ increment: KEY, by: BY, field: FIELD, ttlMs: TTL }, ["increment"]),
        form({ delete: KEY }, ["delete"]),
      ],
    },
  };
}

/** Of a batch over several collections. */
export const BATCH = objectOf(
  {
    writes: writesOf({ collection: COLLECTION }),
    checks: {
      type: "array",
      maxItems: MAX_WRITES,
      items: objectOf({ collection: COLLECTION, key: KEY, version: VERSION }, ["collection", "key", "version"]),
      description: "Nothing is written unless each of these documents has its version",
    },
  },
  ["writes"],
);

export interface Batch {
  readonly writes: readonly StoreWrite[];
  readonly checks?: readonly StoreCheck[];
}

/** @throws Refusal */
export function batchOf(body: unknown): Required<Batch> {
  const [issue] = issuesOf(BATCH, body, []);
  if (issue !== undefined) {
    const where = issue.path.length === 0 ? "the body" : issue.path.join(".");
    throw new Refusal(400, "INVALID_VALUE", `${where}: ${issue.message}`);
  }
  const { writes, checks = [] } = body as Batch;
  return { writes, checks };
}

/** The collections, each once. */
export function namesIn(places: readonly { readonly collection: string }[]): ReadonlySet<string> {
  return new Set(places.map(({ collection }) => collection));
}
