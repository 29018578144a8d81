/** What a module may write as its `collections`, and what it is told where it is wrong. */
import { expect, test } from "bun:test";
import { readShape } from "../../src/module/shape/shape";

const run = (): void => undefined;
const collectionsOf = (collections: unknown) => readShape("scores", { routes: { A: run }, collections }).collections;

test("each index is a field, and stands once", () => {
  expect(collectionsOf(undefined)).toEqual([]);
  expect(collectionsOf({ scores: { indexes: ["user", "address.city", "user"] }, "a.b-c_1": {} })).toEqual([
    { name: "scores", indexes: ["user", "address.city"] },
    { name: "a.b-c_1", indexes: [] },
  ]);
});

test.each([
  [3, '"collections" is a number. Write collections: {'],
  [["scores"], '"collections" is an array'],
  [{ "high scores": {} }, 'collection "high scores" cannot have that name'],
  [{ ["a".repeat(65)]: {} }, "cannot have that name"],
  [{ scores: ["user"] }, 'collection "scores" is an array. Write collections: { scores: { indexes: ["user"] } }'],
  [{ scores: "user" }, 'collection "scores" is a string'],
  [{ scores: { index: ["user"] } }, 'collection "scores" has the unknown option "index". Did you mean "indexes"?'],
  [{ scores: { indexes: "user" } }, '"indexes" is a string, and must be a list of fields'],
  [{ scores: { indexes: [3] } }, '"indexes" holds 3. Name a field, such as "user" or "address.city"'],
  [{ scores: { indexes: [""] } }, '"indexes" holds "". Name a field'],
  [{ scores: { indexes: ["a..b"] } }, '"indexes" holds "a..b". Name a field'],
  [{ scores: { indexes: ["a".repeat(129)] } }, "a name of 129 letters; at most 128 are possible"],
  [{ scores: { indexes: Array.from({ length: 33 }, (_, n) => `f${n}`) } }, "has 33 indexes; at most 32 are possible"],
])("%p is refused with what to write", (collections, problem) => {
  expect(() => collectionsOf(collections)).toThrow(problem);
});
