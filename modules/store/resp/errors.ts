/** The errors of commands, in the words of Redis where it has them. */
import { StoreError } from "hrmr";

/** An error that is the reply. It begins with a code: "ERR syntax error". */
export class ReplyError extends Error {}

export const SYNTAX = "ERR syntax error";
export const NOT_INTEGER = "ERR value is not an integer or out of range";
export const NOT_FLOAT = "ERR value is not a valid float";
export const OUT_OF_RANGE = "ERR index out of range";
export const NO_KEY = "ERR no such key";
export const WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
export const WOULD_OVERFLOW = "ERR increment or decrement would overflow";

export function fail(text: string): never {
  throw new ReplyError(text);
}

export function wrongArity(name: string): string {
  return `ERR wrong number of arguments for '${name}' command`;
}

/** Codes of the store that clients of Redis know under another name. */
const KNOWN: Readonly<Record<string, string>> = { READ_ONLY: "READONLY", FULL: "OOM", CONFLICT: "TRYAGAIN" };

/** @returns the text of the reply; null: the error is neither a reply nor one of the store */
export function errorText(error: unknown): string | null {
  if (error instanceof ReplyError) return error.message;
  if (!isStoreError(error)) return null;
  return `${KNOWN[error.code] ?? error.code} ${error.message}`;
}

export function isStoreError(error: unknown): error is StoreError {
  return error instanceof StoreError || (error instanceof Error && error.name === "StoreError");
}
