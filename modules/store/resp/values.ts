/**
 * The strings of Redis, which are bytes, as JSON and back: text that is UTF-8 is a JSON string, other bytes are
 * `{"$bytes": "base64"}`. A list is an array, a hash an object; `{"$set": [...]}` and `{"$zset": {member: score}}` are sets,
 * so that no document is of two types. Any other JSON is a string: its JSON text. Pure.
 */
import { isUtf8 } from "node:buffer";
import type { Command } from "./reader";
import { fail } from "./errors";

/** Text if it is UTF-8, else bytes. */
export type Bytes = string | Buffer;

export type RedisType = "string" | "list" | "hash" | "set" | "zset";

const BYTES = "$bytes";
const SET = "$set";
const ZSET = "$zset";
/** Stands for bytes that are not UTF-8. */
const REPLACEMENT = "\u{FFFD}";

/** @returns an argument: as text where its bytes are UTF-8 */
export function bytesAt(args: Command, index: number): Bytes {
  const text = args.utf8(index);
  return text.includes(REPLACEMENT) && !isUtf8(args.bytes(index)) ? Buffer.from(args.bytes(index)) : text;
}

/** @param what  for the error: "key". @throws ReplyError if the argument is not UTF-8 */
export function textAt(args: Command, index: number, what: string): string {
  const text = args.utf8(index);
  if (text.includes(REPLACEMENT) && !isUtf8(args.bytes(index))) fail(`INVALID_KEY the ${what} is not UTF-8`);
  return text;
}

export function keyAt(args: Command, index: number): string {
  return textAt(args, index, "key");
}

/** @param step 2: every other one. @returns keys from an argument on */
export function keysFrom(args: Command, from: number, step = 1): string[] {
  const keys: string[] = [];
  for (let at = from; at < args.length; at += step) keys.push(keyAt(args, at));
  return keys;
}

export function jsonOf(value: Bytes): unknown {
  return typeof value === "string" ? value : { [BYTES]: value.toString("base64") };
}

/** @returns a JSON value as a string of Redis: its JSON text, if it is none */
export function bytesOf(json: unknown): Bytes {
  if (typeof json === "string") return json;
  const encoded = soleEntry(json, BYTES);
  if (typeof encoded !== "string") return JSON.stringify(json);
  const bytes = Buffer.from(encoded, "base64");
  return isUtf8(bytes) ? bytes.toString() : bytes;
}

/** The same for JSON text. */
export function bytesOfText(text: string): Bytes {
  // Most are short strings without escapes.
  if (text.charCodeAt(0) === QUOTE && !text.includes("\\")) return text.slice(1, -1);
  return bytesOf(JSON.parse(text));
}

const QUOTE = 0x22;

export function bufferOf(value: Bytes): Buffer {
  return typeof value === "string" ? Buffer.from(value) : value;
}

/** @param bytes of any kind. @returns text if they are UTF-8 */
export function fromBuffer(bytes: Buffer): Bytes {
  return isUtf8(bytes) ? bytes.toString() : bytes;
}

/** The same text for the same bytes. */
export function identityOf(value: Bytes): string {
  return typeof value === "string" ? `s${value}` : `b${value.toString("base64")}`;
}

export function typeOf(json: unknown): RedisType {
  if (typeof json !== "object" || json === null) return "string";
  if (Array.isArray(json)) return "list";
  if (typeof soleEntry(json, BYTES) === "string") return "string";
  if (Array.isArray(soleEntry(json, SET))) return "set";
  return isZset(soleEntry(json, ZSET)) ? "zset" : "hash";
}

function isZset(value: unknown): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((score) => typeof score === "number" || score === "inf" || score === "-inf");
}

/** @returns the value of an object with this one name; undefined: it is another value */
function soleEntry(json: unknown, name: string): unknown {
  if (typeof json !== "object" || json === null || !Object.hasOwn(json, name)) return undefined;
  return Object.keys(json).length === 1 ? (json as Record<string, unknown>)[name] : undefined;
}

/** Members by their identity. */
export type Members = Map<string, Bytes>;

export function membersOf(json: unknown): Members {
  const items = (soleEntry(json, SET) as unknown[]).map(bytesOf);
  return new Map(items.map((item) => [identityOf(item), item]));
}

export function jsonOfMembers(members: Members): unknown {
  return { [SET]: [...members.values()].map(jsonOf) };
}

/** Scores by member. */
export type Scores = Map<string, number>;

export function scoresOf(json: unknown): Scores {
  const scores = soleEntry(json, ZSET) as Record<string, number | string>;
  return new Map(
    Object.entries(scores).map(([member, score]) => [
      member,
      typeof score === "number" ? score : score === "inf" ? Infinity : -Infinity,
    ]),
  );
}

export function jsonOfScores(scores: Scores): unknown {
  const entries = [...scores].map(([member, score]) => [
    member,
    Number.isFinite(score) ? score : score > 0 ? "inf" : "-inf",
  ]);
  return { [ZSET]: Object.fromEntries(entries) };
}
