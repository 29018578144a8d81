/**
 * Values of an index as text whose order by UTF-8 bytes is the order of the values: null, false, true, numbers, strings.
 * So every database sorts them alike. Pure.
 */
import type { IndexValue } from "../contract";

/** Of a string in an index: a longer one is cut there, with a hash behind, and is only ordered by its beginning. */
const MAX_LETTERS = 120;

const bits = new DataView(new ArrayBuffer(8));

export function indexKey(value: IndexValue): string {
  if (value === null) return "0";
  if (typeof value === "boolean") return value ? "2" : "1";
  if (typeof value === "number") return `3${numberKey(value)}`;
  // A lone half of a surrogate pair has no UTF-8.
  if (value.length <= MAX_LETTERS) return `4${value.toWellFormed()}`;
  const cut = value.slice(0, MAX_LETTERS).toWellFormed();
  return `4${cut}\u{10FFFF}${new Bun.CryptoHasher("sha256").update(value).digest("hex").slice(0, 32)}`;
}

/** 16 hexadecimal digits. -0 is 0. */
function numberKey(value: number): string {
  bits.setFloat64(0, value === 0 ? 0 : value);
  const high = bits.getUint32(0);
  const low = bits.getUint32(4);
  // IEEE 754: positive numbers are ordered like their bits, negative ones the other way round.
  const isNegative = high >>> 31 === 1;
  return hex(isNegative ? ~high : high | 0x80000000) + hex(isNegative ? ~low : low);
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}

/**
 * The entry of a document in an index.
 *
 * @param value a parsed document
 * @param index a field: "user", "address.city"
 * @returns null: the document is not in it
 */
export function indexEntry(value: unknown, index: string): string | null {
  let at: unknown = value;
  for (const name of index.split(".")) {
    if (typeof at !== "object" || at === null || Array.isArray(at) || !Object.hasOwn(at, name)) return null;
    at = (at as Record<string, unknown>)[name];
  }
  if (at === null || typeof at === "boolean" || typeof at === "number" || typeof at === "string") return indexKey(at);
  return null;
}
