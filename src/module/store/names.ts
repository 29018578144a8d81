/** Names of collections, and keys of documents. Pure. */
import { StoreError } from "./error";

const COLLECTION = /^[A-Za-z0-9_.-]{1,64}$/;
const MAX_KEY_BYTES = 1024;
/** Most letters have at most 3 bytes of UTF-8, and those of 4 bytes count as two. */
const SURELY_SHORT = Math.floor(MAX_KEY_BYTES / 3);

export function isCollection(name: unknown): name is string {
  return typeof name === "string" && COLLECTION.test(name);
}

export function mustBeCollection(name: unknown): string {
  if (isCollection(name)) return name;
  throw new StoreError(
    "INVALID_NAME",
    `${shown(name)} is not a name of a collection: 1 to 64 letters, digits, "_", "-" and "." are possible`,
  );
}

export function mustBeKey(key: unknown): string {
  if (typeof key !== "string") throw new StoreError("INVALID_KEY", `the key ${shown(key)} is not a string`);
  if (key.length > SURELY_SHORT && Buffer.byteLength(key) > MAX_KEY_BYTES)
    throw new StoreError(
      "INVALID_KEY",
      `the key has ${Buffer.byteLength(key)} bytes; at most ${MAX_KEY_BYTES} are possible: ${shown(key.slice(0, 60))}...`,
    );
  if (!key.isWellFormed())
    throw new StoreError("INVALID_KEY", `the key ${shown(key)} has half a surrogate pair, which has no UTF-8`);
  return key;
}

function shown(value: unknown): string {
  return typeof value === "string"
    ? JSON.stringify(value.slice(0, 100))
    : Bun.inspect(value, { depth: 0 }).slice(0, 100);
}

/**
 * Compares keys by their UTF-8 bytes.
 *
 * @returns below 0: `a` is before `b`
 */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const [left, right] = [a.charCodeAt(at), b.charCodeAt(at)];
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

/** UTF-16 puts characters above U+FFFF, whose halves begin with U+D800, before U+E000. UTF-8 does not. */
function rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000;
}

/** The first text behind all that begin with a prefix. @returns null: there is none */
export function behindPrefix(prefix: string): string | null {
  const points = [...prefix];
  while (points.length > 0) {
    const last = (points.pop() as string).codePointAt(0) as number;
    if (last === 0x10ffff) continue;
    return points.join("") + String.fromCodePoint(last === 0xd7ff ? 0xe000 : last + 1);
  }
  return null;
}
