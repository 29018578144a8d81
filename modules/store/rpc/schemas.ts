/** Inputs and results of the procedures, as JSON Schema. */
import { BATCH, BY, COLLECTION, FIELD, KEY, TTL, VERSION, writesOf } from "../batch";
import { type JsonSchema, objectOf } from "../schema";

const LIMIT: JsonSchema = { type: "integer", minimum: 1, maximum: 1000, description: "Default 100" };
const PREFIX: JsonSchema = { type: "string", description: "Only keys that begin with it" };
const REVERSE: JsonSchema = { type: "boolean", description: "Default false" };
const NEXT: JsonSchema = { type: "string", description: "The `next` of the page before" };
const BOUND: JsonSchema = {
  anyOf: [{ type: "null" }, { type: "boolean" }, { type: "number" }, { type: "string" }],
};
const ANY: JsonSchema = { description: "Any JSON" };
const PLACE = { collection: COLLECTION, key: KEY };
const WRITE = { ttlMs: TTL, ifVersion: VERSION };

const DOCUMENT = {
  value: ANY,
  version: { type: "integer" },
  expiresAt: { anyOf: [{ type: "number" }, { type: "null" }], description: "In milliseconds since 1970" },
} satisfies Record<string, JsonSchema>;
const PAGE: JsonSchema = objectOf(
  {
    entries: {
      type: "array",
      items: objectOf({ key: { type: "string" }, ...DOCUMENT }, ["key", "value", "version", "expiresAt"]),
    },
    next: { anyOf: [{ type: "string" }, { type: "null" }], description: "For `after`; null: there are no more" },
  },
  ["entries", "next"],
);
const WHOLE = objectOf(DOCUMENT, ["value", "version", "expiresAt"]);

export const INPUTS = {
  get: objectOf(PLACE, ["collection", "key"]),
  set: objectOf({ ...PLACE, value: ANY, ...WRITE }, ["collection", "key", "value"]),
  patch: objectOf({ ...PLACE, value: ANY, ...WRITE }, ["collection", "key", "value"]),
  delete: objectOf({ ...PLACE, ifVersion: VERSION }, ["collection", "key"]),
  increment: objectOf({ ...PLACE, by: BY, field: FIELD, ...WRITE }, ["collection", "key"]),
  expire: objectOf(
    { ...PLACE, ttlMs: { anyOf: [{ type: "number", minimum: 1 }, { type: "null" }] }, ifVersion: VERSION },
    ["collection", "key", "ttlMs"],
  ),
  list: objectOf({ collection: COLLECTION, prefix: PREFIX, after: NEXT, limit: LIMIT, reverse: REVERSE }, [
    "collection",
  ]),
  find: objectOf(
    {
      collection: COLLECTION,
      index: { type: "string", minLength: 1 },
      equals: BOUND,
      from: BOUND,
      to: BOUND,
      after: NEXT,
      limit: LIMIT,
      reverse: REVERSE,
    },
    ["collection", "index"],
  ),
  batch: objectOf({ collection: COLLECTION, writes: writesOf({}) }, ["collection", "writes"]),
  transaction: BATCH,
  watch: objectOf(
    {
      collection: COLLECTION,
      key: { type: "string", description: "Only this one" },
      prefix: PREFIX,
      after: { type: "integer", minimum: 0, description: "A version: changes behind it first" },
      full: { type: "boolean", description: "The documents as they are first. Default false" },
    },
    ["collection"],
  ),
} satisfies Record<string, JsonSchema>;

export type Name = keyof typeof INPUTS;

export const OUTPUTS: Readonly<Record<Name, JsonSchema>> = {
  get: { anyOf: [WHOLE, { type: "null" }] },
  set: { type: "integer", description: "The version" },
  patch: WHOLE,
  delete: { type: "boolean", description: "Whether there was a document" },
  increment: { type: "number" },
  expire: { type: "boolean", description: "Whether there is a document" },
  list: PAGE,
  find: PAGE,
  batch: { type: "array", items: { type: "integer" }, description: "The versions" },
  transaction: objectOf(
    { results: { type: "array", items: objectOf({ version: { type: "integer" }, value: ANY }, ["version"]) } },
    ["results"],
  ),
  watch: objectOf(
    {
      kind: { enum: ["set", "delete", "expire", "ready", "gone"] },
      key: { type: "string" },
      value: ANY,
      version: { type: "integer" },
    },
    ["kind", "version"],
  ),
};

export const DESCRIPTIONS: Readonly<Record<Name, string>> = {
  get: "A document of the store, or null",
  set: "Writes a document",
  patch: "Merges an object into a document (RFC 7396), and returns it",
  delete: "Deletes a document",
  increment: "Adds to a number, or to a field of an object, and returns the number",
  expire: "Changes only when a document is gone; null: it stays",
  list: "Documents in the order of their keys",
  find: "Documents by an index",
  batch: "Writes to one collection, all or none",
  transaction: "Writes to several collections, all or none, and only if the checks hold",
  watch: "Changes of documents, as they come",
};
