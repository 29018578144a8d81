/** Shared by the checks of a module's shape: tests of values, and the words of errors. */

import { nearest } from "../../config/nearest";

export type Fields = Record<string, unknown>;

/** Makes the error of a part of a module. `problem` goes on behind the part's name: `: "run" is 3`, ` is empty`. */
export type Wrong = (problem: string) => Error;

/** @throws Error for a field that is not in `known`, with the most similar name */
export function refuseUnknown(wrong: Wrong, fields: Fields, known: readonly string[]): void {
  const unknown = Object.keys(fields).find((field) => !known.includes(field));
  if (unknown === undefined) return;
  const similar = nearest(unknown, known);
  const hint = similar === null ? `Known are ${known.join(", ")}` : `Did you mean "${similar}"?`;
  throw wrong(` has the unknown option "${unknown}". ${hint}`);
}

/** The error for a module of a wrong shape. @param problem  without a full stop at its end */
export function shapeError(name: string, problem: string): Error {
  return new Error(`Module "${name}": ${problem}.`.replace(/([?)])\.$/, "$1"));
}

export function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null;
}

/** Whether it is an object literal, and no instance of a class. */
export function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** The kind of a value in words: "a number", "missing". */
export function kindOf(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return /^[aeiou]/.test(typeof value) ? `an ${typeof value}` : `a ${typeof value}`;
}

/** A value as messages show it. */
export function shown(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : Bun.inspect(value, { depth: 1 });
}
