/** Checks a module's `collections`: the indexes that it declares in the store. */
import type { CollectionSpec } from "../store/port";
import { isObject, kindOf, refuseUnknown, shapeError, shown, type Wrong } from "./errors";
import { isCollection } from "../store/names";

const MAX_INDEXES = 32;
const MAX_INDEX_LETTERS = 128;
const EXAMPLE = 'collections: { scores: { indexes: ["user"] } }';

export function readCollections(name: string, collections: unknown): CollectionSpec[] {
  if (collections === undefined) return [];
  if (!isObject(collections) || Array.isArray(collections))
    throw shapeError(name, `"collections" is ${kindOf(collections)}. Write ${EXAMPLE}`);
  return Object.entries(collections).map(([key, options]) => readCollection(name, key, options));
}

function readCollection(module: string, name: string, options: unknown): CollectionSpec {
  const wrong: Wrong = (problem) => shapeError(module, `collection ${shown(name)}${problem}`);
  if (!isCollection(name)) throw wrong(' cannot have that name. Take 1 to 64 letters, digits, "_", "-" and "."');
  if (!isObject(options) || Array.isArray(options)) throw wrong(` is ${kindOf(options)}. Write ${EXAMPLE}`);
  refuseUnknown(wrong, options, ["indexes"]);
  const { indexes = [] } = options;
  if (!Array.isArray(indexes))
    throw wrong(`: "indexes" is ${kindOf(indexes)}, and must be a list of fields: ${EXAMPLE}`);
  for (const index of indexes as unknown[])
    if (!isField(index)) throw wrong(`: "indexes" holds ${fieldProblem(index)}`);
  const names = [...new Set(indexes as string[])];
  if (names.length > MAX_INDEXES)
    throw wrong(` has ${names.length} indexes; at most ${MAX_INDEXES} are possible, since each write keeps them all`);
  return { name, indexes: names };
}

function isField(index: unknown): boolean {
  if (typeof index !== "string" || index.length > MAX_INDEX_LETTERS || !index.isWellFormed()) return false;
  return index.split(".").every((part) => part !== "");
}

function fieldProblem(index: unknown): string {
  const example = 'Name a field, such as "user" or "address.city"';
  if (typeof index !== "string") return `${shown(index)}. ${example}`;
  if (index.length <= MAX_INDEX_LETTERS) return `${shown(index)}. ${example}`;
  return `a name of ${index.length} letters; at most ${MAX_INDEX_LETTERS} are possible`;
}
