/** Adds to a number in a document. Pure. */
import { mergePatch } from "./json";

export class NotANumber extends Error {}

interface Addition {
  readonly collection: string;
  readonly key: string;
  /** "wins", "total.wins". null: the document is the number. */
  readonly field: string | null;
  readonly by: number;
}

/**
 * @param before undefined: there is no document
 * @returns the document after it, and the number in it. @throws NotANumber
 */
export function added(before: unknown, addition: Addition): { value: unknown; number: number } {
  const { field } = addition;
  if (field === null) {
    const number = sum(before, addition);
    return { value: number, number };
  }
  const names = field.split(".");
  const number = sum(
    names.reduce<unknown>((value, name) => valueOf(value, name, addition), before ?? {}),
    addition,
  );
  const patch = names.reduceRight<unknown>((value, name) => Object.fromEntries([[name, value]]), number);
  return { value: mergePatch(before ?? {}, patch), number };
}

function valueOf(value: unknown, name: string, addition: Addition): unknown {
  if (value === undefined) return undefined;
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw noNumber(addition);
  return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function sum(value: unknown, addition: Addition): number {
  if (value !== undefined && typeof value !== "number") throw noNumber(addition);
  const number = (value ?? 0) + addition.by;
  if (Number.isFinite(number)) return number;
  throw new NotANumber(`${nameOf(addition)} plus ${addition.by} is too large for a number`);
}

function noNumber(addition: Addition): NotANumber {
  return new NotANumber(`${nameOf(addition)} is not a number`);
}

function nameOf({ collection, key, field }: Addition): string {
  return field === null ? `"${key}" of ${collection}` : `"${field}" in "${key}" of ${collection}`;
}
