/** A place in an index, as a text that clients pass back. Pure. */
import type { IndexValue, StoreEntry } from "hrmr";
import { Refusal } from "./refusal";

export function cursorAt(value: IndexValue, key: string): string {
  return Buffer.from(JSON.stringify([value, key])).toString("base64url");
}

/** @returns the entry at a place, with nothing but the value of the index. @throws Refusal */
export function entryAt(index: string, cursor: string): StoreEntry<string> {
  let place: unknown;
  try {
    place = JSON.parse(Buffer.from(cursor, "base64url").toString());
  } catch {
    throw new Refusal(400, "INVALID_VALUE", "after is not the `next` of a page");
  }
  if (!Array.isArray(place) || place.length !== 2 || typeof place[1] !== "string")
    throw new Refusal(400, "INVALID_VALUE", "after is not the `next` of a page");
  const [value, key] = place as [IndexValue, string];
  const document = index.split(".").reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
  return { key, value: JSON.stringify(document), version: 0, expiresAt: null };
}

/** @param text a document that is in the index */
export function indexedValue(text: string, index: string): IndexValue {
  let at: unknown = JSON.parse(text);
  for (const name of index.split(".")) at = (at as Record<string, unknown>)[name];
  return at as IndexValue;
}
