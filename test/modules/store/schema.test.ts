/** The schemas of the shipped module store: what they refuse, and how they say it. Pure. */
import { describe, expect, test } from "bun:test";
import { BATCH, batchOf } from "../../../modules/store/batch";
import { issuesOf, objectOf, schemaOf } from "../../../modules/store/schema";

const schema = objectOf(
  {
    name: { type: "string", minLength: 1 },
    count: { type: "integer", minimum: 1, maximum: 9 },
    list: { type: "array", maxItems: 2, items: { type: "boolean" } },
    either: { anyOf: [{ type: "null" }, { const: "keep" }, { type: "number", minimum: 0 }] },
    word: { enum: ["a", "b"] },
  },
  ["name"],
);

describe("a schema", () => {
  test.each<[unknown, string, string]>([
    [7, "", "it must be an object"],
    [null, "", "it must be an object"],
    [[], "", "it must be an object"],
    [{}, "name", "it is missing"],
    [{ name: "" }, "name", "it must not be empty"],
    [{ name: "a", nmae: 1 }, "nmae", "it is unknown: use name, count, list, either, word"],
    [{ name: "a", count: 1.5 }, "count", "it must be a whole number"],
    [{ name: "a", count: 10 }, "count", "it must be 1 to 9"],
    [{ name: "a", count: Number.NaN }, "count", "it must be a whole number"],
    [{ name: "a", list: [true, 1] }, "list.1", "it must be true or false"],
    [{ name: "a", list: [true, true, true] }, "list", "it has 3 entries; at most 2 are possible"],
    [{ name: "a", either: "kept" }, "either", 'it must be null or "keep" or a number'],
    [{ name: "a", word: "c" }, "word", 'it must be one of "a", "b"'],
    [JSON.parse('{"name":"a","__proto__":1}'), "__proto__", "it is unknown"],
  ])("refuses %j", (value, path, message) => {
    const [issue] = issuesOf(schema, value, []);
    expect([issue?.path.join("."), issue?.message]).toEqual([path, expect.stringContaining(message)]);
  });

  test("takes what fits, and fills in defaults", () => {
    for (const either of [null, "keep", 0, 1.5]) expect(issuesOf(schema, { name: "a", either }, [])).toEqual([]);
    const withDefault = schemaOf(objectOf({ on: { type: "boolean", default: true }, of: { type: "number" } }));
    expect(withDefault["~standard"].validate({ of: 1 })).toEqual({ value: { on: true, of: 1 } });
    expect(withDefault["~standard"].validate({ on: false })).toEqual({ value: { on: false } });
  });

  test("names the place in a batch, by the form of write that fits best", () => {
    const write = { collection: "a", set: "k", value: 1, ttl: 5 };
    expect(() => batchOf({ writes: [{ collection: "a", delete: "k" }, write] })).toThrow("writes.1.ttl: it is unknown");
    expect(() => batchOf({ writes: [7] })).toThrow("writes.0: it must be an object");
    expect(issuesOf(BATCH, { writes: [{ collection: "a", increment: "k", by: null }] }, [])).toHaveLength(1);
  });
});
