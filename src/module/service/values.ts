/**
 * Values that cross from one module to another: structured clones, wherever the other one runs. Plain data is copied or
 * written as JSON, since that is several times as fast; everything else goes through the structured clone algorithm.
 */
import { deserialize, serialize } from "bun:jsc";

/** The first letter of an encoded value: how the rest is read. */
const JSON_TEXT = "J";
const CLONED = "S";
const NOTHING = "U";

/** Data of more levels or parts than these goes the slow way, which also keeps repeated references and cycles. */
const MAX_LEVELS = 64;
const MAX_PARTS = 10_000;

/** Thrown inside `copyPlain` and `isJson` for data that is not plain. */
const NOT_PLAIN = Symbol("not plain");

/** A value on its way, as its sender's own or encoded. */
export class Carried {
  readonly #value: unknown;
  readonly #text: string | null;
  readonly #isGiven: boolean;

  private constructor(value: unknown, text: string | null, isGiven: boolean) {
    this.#value = value;
    this.#text = text;
    this.#isGiven = isGiven;
  }

  /** @param value stays the sender's: it is never handed on */
  static of(value: unknown): Carried {
    return new Carried(value, null, false);
  }

  /** @param value that its sender does not keep, such as one that was just parsed: it is handed on without a copy */
  static given(value: unknown): Carried {
    return new Carried(value, null, true);
  }

  /** @param text of `Carried.text`, in this process or another one of this server */
  static encoded(text: string): Carried {
    return new Carried(undefined, text, false);
  }

  /** @returns a copy of its own. @throws DataCloneError for functions and the like; an Error for a damaged text */
  copy(): unknown {
    if (this.#isGiven) return this.#value;
    return this.#text === null ? cloneValue(this.#value) : decodeValue(this.#text);
  }

  /**
   * As JSON.stringify writes a copy of it; "null" for undefined.
   *
   * @throws DataCloneError as `copy`; TypeError for a value that cannot be written as JSON, such as a BigInt
   */
  get json(): string {
    if (this.#text?.startsWith(JSON_TEXT) === true) return asText(this.#text.slice(1));
    const isPlain = this.#text === null && isJson(this.#value, 0, { parts: 0 });
    return JSON.stringify(isPlain ? this.#value : this.copy()) ?? "null";
  }

  /** @returns one character for each byte. @throws DataCloneError */
  get text(): string {
    return this.#text ?? encodeValue(this.#value);
  }
}

/** As `structuredClone`, but an object that is referred to twice may become two. @throws DataCloneError */
function cloneValue(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return clonePrimitive(value);
  try {
    return copyPlain(value, 0, { parts: 0 });
  } catch (error) {
    if (error !== NOT_PLAIN) throw error;
    return structuredClone(value);
  }
}

function clonePrimitive(value: unknown): unknown {
  return typeof value === "function" || typeof value === "symbol" ? structuredClone(value) : value;
}

function copyPlain(value: unknown, level: number, seen: { parts: number }): unknown {
  if (typeof value !== "object" || value === null) {
    if (typeof value === "function" || typeof value === "symbol") throw NOT_PLAIN;
    return value;
  }
  if (level > MAX_LEVELS || ++seen.parts > MAX_PARTS) throw NOT_PLAIN;
  if (Array.isArray(value)) return copyArray(value, level, seen);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) throw NOT_PLAIN;
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    if (key === "__proto__") throw NOT_PLAIN;
    copy[key] = copyPlain((value as Record<string, unknown>)[key], level + 1, seen);
  }
  return copy;
}

function copyArray(value: unknown[], level: number, seen: { parts: number }): unknown[] {
  seen.parts += value.length;
  if (seen.parts > MAX_PARTS || Object.getPrototypeOf(value) !== Array.prototype) throw NOT_PLAIN;
  const copy: unknown[] = [];
  for (let at = 0; at < value.length; at++) {
    // A hole stays a hole, and an array may have other properties.
    if (!(at in value)) throw NOT_PLAIN;
    copy.push(copyPlain(value[at], level + 1, seen));
  }
  return copy;
}

/** @returns one character for each byte. @throws DataCloneError */
export function encodeValue(value: unknown): string {
  if (value === undefined) return NOTHING;
  if (isJson(value, 0, { parts: 0 })) return JSON_TEXT + asBytes(JSON.stringify(value));
  const bytes = Buffer.from(serialize(value));
  return CLONED + bytes.latin1Slice(0, bytes.length);
}

/** @param text of `encodeValue`. @throws Error: it is damaged */
export function decodeValue(text: string): unknown {
  const rest = text.slice(1);
  if (text[0] === NOTHING) return undefined;
  if (text[0] === JSON_TEXT) return JSON.parse(asText(rest));
  if (text[0] === CLONED) return deserialize(Buffer.from(rest, "latin1"));
  throw new Error(`A value between modules begins with ${JSON.stringify(text[0])}, which hrmr never writes.`);
}

/** Whether JSON gives the same value back. */
function isJson(value: unknown, level: number, seen: { parts: number }): boolean {
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value) && !Object.is(value, -0);
  if (typeof value !== "object" || level > MAX_LEVELS || ++seen.parts > MAX_PARTS) return false;
  if ("toJSON" in value) return false;
  if (Array.isArray(value)) return isJsonArray(value, level, seen);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  for (const key of Object.keys(value)) {
    if (key === "__proto__" || !isJson((value as Record<string, unknown>)[key], level + 1, seen)) return false;
  }
  return true;
}

function isJsonArray(value: unknown[], level: number, seen: { parts: number }): boolean {
  seen.parts += value.length;
  if (seen.parts > MAX_PARTS || Object.keys(value).length !== value.length) return false;
  return value.every((part) => isJson(part, level + 1, seen));
}

const NOT_ASCII = /[\u0080-\uffff]/;

/** UTF-8, one character for each byte. ASCII is the same in both, and most text is ASCII. */
function asBytes(text: string): string {
  return NOT_ASCII.test(text) ? Buffer.from(text).latin1Slice() : text;
}

function asText(bytes: string): string {
  return NOT_ASCII.test(bytes) ? Buffer.from(bytes, "latin1").utf8Slice() : bytes;
}
