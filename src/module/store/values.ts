/** Values and options of authors, to JSON and to mutations, and back. */
import { messageOf } from "../../config/user-error";
import type { SetOptions, StoreDocument, StoreEntry, WriteOptions } from "../contract";
import { StoreError } from "./error";
import { depthOf } from "./json";
import type { NewExpiry, StoredDocument, StoredEntry } from "./port";

/** @throws StoreError INVALID_VALUE */
export function encode(value: unknown, key: string): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new StoreError("INVALID_VALUE", `the value of ${JSON.stringify(key)} is not JSON: ${messageOf(error)}`);
  }
  if (text !== undefined) return text;
  throw new StoreError("INVALID_VALUE", `the value of ${JSON.stringify(key)} is not JSON: it is ${Bun.inspect(value)}`);
}

/** How a collection hands out documents, and takes them. */
export interface Form {
  /** @param text JSON */
  readonly decode: (text: string) => unknown;
  /** @throws StoreError INVALID_VALUE */
  readonly encode: (value: unknown, key: string) => string;
}

export const AS_VALUES: Form = { decode: (text) => JSON.parse(text), encode };
/** The reader of a text may pass it on, so nobody parses it here. */
export const AS_TEXTS: Form = { decode: (text) => text, encode: normalized };

/** A number that JSON.parse may read as Infinity, which JSON cannot write. */
const LONG_NUMBER = /[0-9][eE]\+?0*[0-9]{3}|[0-9]{309}/;

/** A document that is nested deeper is refused by the store. */
const MAX_LEVELS = 200;

/** @returns the text as JSON.stringify writes it: one line, each name once. @throws StoreError INVALID_VALUE */
function normalized(text: unknown, key: string): string {
  if (typeof text !== "string")
    throw new StoreError("INVALID_VALUE", `the value of ${JSON.stringify(key)} is not a text with JSON`);
  // Before it is parsed: that takes seconds for millions of brackets.
  if (text.length > MAX_LEVELS && depthOf(text) > MAX_LEVELS)
    throw new StoreError("TOO_LARGE", `the value of ${JSON.stringify(key)} is nested more than ${MAX_LEVELS} deep`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const why = messageOf(error).replace(/^JSON Parse error: /, "");
    throw new StoreError("INVALID_VALUE", `the value of ${JSON.stringify(key)} is not JSON: ${why.slice(0, 200)}`);
  }
  if (LONG_NUMBER.test(text) && !isFinite(value))
    throw new StoreError("INVALID_VALUE", `the value of ${JSON.stringify(key)} has a number beyond 1.8e308`);
  return encode(value, key);
}

/** Whether all its numbers are. */
function isFinite(value: unknown): boolean {
  const left = [value];
  while (left.length > 0) {
    const each = left.pop();
    if (typeof each === "number" && !Number.isFinite(each)) return false;
    if (typeof each === "object" && each !== null) for (const part of Object.values(each)) left.push(part);
  }
  return true;
}

export function documentOf<T>(stored: StoredDocument | null, { decode } = AS_VALUES): StoreDocument<T> | null {
  if (stored === null) return null;
  return { value: decode(stored.text) as T, version: stored.version, expiresAt: stored.expiresAt };
}

export function entryOf<T>({ key, text, version, expiresAt }: StoredEntry, { decode } = AS_VALUES): StoreEntry<T> {
  return { key, value: decode(text) as T, version, expiresAt };
}

/** The last moment that a Date has. */
const LAST_MOMENT_MS = 8.64e15;
/** The longest a document may live. */
const MAX_TTL_MS = LAST_MOMENT_MS / 2;

/** @param otherwise without the option */
export function expiryFrom(options: SetOptions | undefined, otherwise: NewExpiry): NewExpiry {
  const { ttlMs, expiresAt } = options ?? {};
  if (expiresAt !== undefined) return momentIn(expiresAt, ttlMs);
  return ttlMs === undefined ? otherwise : ttlMs === "keep" ? "keep" : expiryIn(ttlMs);
}

function momentIn(expiresAt: number, ttlMs: SetOptions["ttlMs"]): number {
  if (ttlMs !== undefined) throw new StoreError("INVALID_VALUE", '"ttlMs" and "expiresAt" are both there: give one');
  if (typeof expiresAt === "number" && expiresAt > 0 && expiresAt <= LAST_MOMENT_MS) return Math.ceil(expiresAt);
  throw new StoreError(
    "INVALID_VALUE",
    `"expiresAt" is ${Bun.inspect(expiresAt)}, and must be a moment in milliseconds since 1970`,
  );
}

/** @param ttlMs null: it stays */
export function expiryIn(ttlMs: number | null): NewExpiry {
  if (ttlMs === null) return null;
  if (typeof ttlMs === "number" && ttlMs > 0) return ttlMs > MAX_TTL_MS ? null : { inMs: Math.ceil(ttlMs) };
  throw new StoreError(
    "INVALID_VALUE",
    `"ttlMs" is ${Bun.inspect(ttlMs)}, and must be a number of milliseconds above 0`,
  );
}

export function ifVersionOf(options: WriteOptions | undefined): number | null {
  const version = options?.ifVersion;
  if (version === undefined) return null;
  if (Number.isSafeInteger(version) && version >= 0) return version;
  throw new StoreError("INVALID_VALUE", `"ifVersion" is ${Bun.inspect(version)}, and must be a version, or 0`);
}
