/** Values and options of authors, to JSON and to mutations, and back. */
import { messageOf } from "../../config/user-error";
import type { SetOptions, StoreDocument, StoreEntry, WriteOptions } from "../contract";
import { StoreError } from "./error";
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

export function documentOf<T>(stored: StoredDocument | null): StoreDocument<T> | null {
  if (stored === null) return null;
  return { value: JSON.parse(stored.text) as T, version: stored.version, expiresAt: stored.expiresAt };
}

export function entryOf<T>({ key, text, version, expiresAt }: StoredEntry): StoreEntry<T> {
  return { key, value: JSON.parse(text) as T, version, expiresAt };
}

/** The longest a document may live: until the last moment that a Date has. */
const MAX_TTL_MS = 8.64e15 / 2;

/** @param otherwise without the option */
export function expiryFrom(options: SetOptions | undefined, otherwise: NewExpiry): NewExpiry {
  const ttlMs = options?.ttlMs;
  return ttlMs === undefined ? otherwise : ttlMs === "keep" ? "keep" : expiryIn(ttlMs);
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
