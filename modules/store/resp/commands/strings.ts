/** Commands on strings and numbers. */
import type { StoreDocument } from "hrmr";
import {
  ALL_KEYS,
  type Call,
  type CommandSpec,
  findString,
  integerAt,
  keep,
  type KeyPlaces,
  ONE_KEY,
  optionsFrom,
  placesOf,
  type Run,
  type Together,
  typed,
} from "../call";
import { fail, NOT_FLOAT, NOT_INTEGER, SYNTAX, WOULD_OVERFLOW, wrongArity } from "../errors";
import { addLongDoubles, type LongDouble, longDoubleText, readDouble, readInteger, readLongDouble } from "../numbers";
import type { Command } from "../reader";
import { bufferOf, bytesAt, bytesOf, bytesOfText, fromBuffer, jsonOf, keyAt, keysFrom } from "../values";
import { type Expiry, EXPIRY_UNITS, expireAt, positiveExpiryAt, setUntil } from "./expiry";

/** Redis has the same. In bytes. */
/** As of a whole command. A few bytes of SETRANGE must not cost the server's memory. */
const MAX_STRING_BYTES = 16_777_216;
const TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

async function get({ args, documents, out }: Call): Promise<void> {
  tell(out, await documents.get(keyAt(args, 1)));
}

/** Documents that are read at once: each may be large. */
const READ_TOGETHER = 64;

function getTogether({ all, out, texts }: Together): Promise<number> {
  const count = Math.min(all.length, READ_TOGETHER);
  const keys: string[] = [];
  for (let at = 0; at < count; at++) keys.push(keyAt(all[at] as Command, 1));
  return texts.getMany(keys).then((found) => {
    for (const document of found) {
      if (document === null) out.null();
      else out.bulk(bytesOfText(document.value));
    }
    return found.length;
  });
}

function setTogether(call: Together): Promise<number> | null {
  // More arguments are options.
  return call.all.every(({ length }) => length === 3) ? writeTogether(call) : null;
}

function setManyTogether(call: Together): Promise<number> | null {
  const { all } = call;
  const writes = all.reduce((sum, { length }) => sum + (length - 1) / 2, 0);
  return writes <= MANY && all.every(({ length }) => length % 2 === 1) ? writeTogether(call) : null;
}

/** Commands whose arguments are keys and values in turn. */
function writeTogether({ all, out, documents }: Together): Promise<number> {
  const writes: { set: string; value: unknown }[] = [];
  for (const args of all)
    for (let at = 1; at < args.length; at += 2)
      writes.push({ set: keyAt(args, at), value: jsonOf(bytesAt(args, at + 1)) });
  return documents.batch(writes).then(() => {
    for (const _ of all) out.ok();
    return all.length;
  });
}

function tell(out: Call["out"], document: StoreDocument | null): void {
  if (document === null) out.null();
  else out.bulk(bytesOf(document.value));
}

const SET_OPTIONS = { NX: 0, XX: 0, GET: 0, KEEPTTL: 0, EX: 1, PX: 1, EXAT: 1, PXAT: 1 };

async function set(call: Call): Promise<void> {
  const { args, documents, out } = call;
  const options = optionsFrom(call, 3, SET_OPTIONS);
  if (options.has("NX") && options.has("XX")) fail(SYNTAX);
  const expiry = expiryFrom(call, options) ?? null;
  const key = keyAt(args, 1);
  const mustLook = options.has("NX") || options.has("XX") || options.has("GET");
  const before = mustLook ? await documents.get(key) : null;
  const isAllowed = !(options.has("NX") && before !== null) && !(options.has("XX") && before === null);
  if (isAllowed) await setUntil(call, key, jsonOf(bytesAt(args, 2)), expiry);
  if (options.has("GET")) tell(out, before);
  else if (isAllowed) out.ok();
  else out.null();
}

/** @returns undefined: no option says when */
function expiryFrom(call: Call, options: ReadonlyMap<string, number>): Expiry | undefined {
  const units = Object.keys(EXPIRY_UNITS).filter((name) => options.has(name));
  if (units.length + (options.has("KEEPTTL") ? 1 : 0) + (options.has("PERSIST") ? 1 : 0) > 1) fail(SYNTAX);
  if (options.has("KEEPTTL")) return "keep";
  if (options.has("PERSIST")) return null;
  const [name] = units;
  if (name === undefined) return undefined;
  return positiveExpiryAt(call, options.get(name) as number, EXPIRY_UNITS[name] as { ms: number; isAbsolute: boolean });
}

/** SETEX and PSETEX. */
const setFor =
  (unit: string): Run =>
  async (call) => {
    const expiry = positiveExpiryAt(call, 2, EXPIRY_UNITS[unit] as { ms: number; isAbsolute: boolean });
    await setUntil(call, keyAt(call.args, 1), jsonOf(bytesAt(call.args, 3)), expiry);
    call.out.ok();
  };

async function setIfMissing({ args, documents, out }: Call): Promise<void> {
  const key = keyAt(args, 1);
  const isMissing = (await documents.get(key)) === null;
  if (isMissing) await documents.set(key, jsonOf(bytesAt(args, 2)));
  out.integer(isMissing ? 1 : 0);
}

async function getSet({ args, documents, out }: Call): Promise<void> {
  const key = keyAt(args, 1);
  const before = await documents.get(key);
  await documents.set(key, jsonOf(bytesAt(args, 2)));
  tell(out, before);
}

async function getDelete({ args, documents, out }: Call): Promise<void> {
  const key = keyAt(args, 1);
  const before = await documents.get(key);
  if (before !== null) await documents.delete(key);
  tell(out, before);
}

async function getAndExpire(call: Call): Promise<void> {
  const options = optionsFrom(call, 2, { EX: 1, PX: 1, EXAT: 1, PXAT: 1, PERSIST: 0 });
  const expiry = expiryFrom(call, options);
  const key = keyAt(call.args, 1);
  const document = await call.documents.get(key);
  if (document !== null && expiry !== undefined && expiry !== "keep")
    await expireAt(call, { key, value: document.value }, expiry);
  tell(call.out, document);
}

async function getMany({ args, documents, out }: Call): Promise<void> {
  const found: (StoreDocument | null)[] = [];
  const keys = keysFrom(args, 1);
  for (let at = 0; at < keys.length; at += MANY) found.push(...(await documents.getMany(keys.slice(at, at + MANY))));
  out.array(found.length);
  for (const document of found) tell(out, document);
}

/** The most keys of one `getMany`, and the most writes of one `batch`. */
const MANY = 1000;

function pairs({ args }: Call): [key: string, value: unknown][] {
  if (args.length % 2 === 0) fail(wrongArity(args.latin1(0).toLowerCase()));
  return keysFrom(args, 1, 2).map((key, at) => [key, jsonOf(bytesAt(args, at * 2 + 2))]);
}

async function setMany(call: Call): Promise<void> {
  for (const [key, value] of pairs(call)) await call.documents.set(key, value);
  call.out.ok();
}

async function setManyIfMissing(call: Call): Promise<void> {
  const all = pairs(call);
  for (const [key] of all) if ((await call.documents.get(key)) !== null) return call.out.integer(0);
  for (const [key, value] of all) await call.documents.set(key, value);
  call.out.integer(1);
}

async function append(call: Call): Promise<void> {
  const before = await findString(call, 1);
  const bytes = Buffer.concat([before === null ? Buffer.alloc(0) : bufferOf(before), call.args.bytes(2)]);
  if (bytes.length > MAX_STRING_BYTES) fail(TOO_LONG);
  await keep(call, keyAt(call.args, 1), jsonOf(fromBuffer(bytes)));
  call.out.integer(bytes.length);
}

async function length(call: Call): Promise<void> {
  const value = await findString(call, 1);
  call.out.integer(value === null ? 0 : bufferOf(value).length);
}

async function getRange(call: Call): Promise<void> {
  const [start, end] = [integerAt(call, 2), integerAt(call, 3)];
  const bytes = bufferOf((await findString(call, 1)) ?? "");
  if (start < 0 && end < 0 && start > end) return call.out.bulk("");
  const { from, to } = placesOf(start, end, bytes.length);
  call.out.bulk(from > to ? "" : bytes.subarray(from, Math.max(0, to) + 1));
}

async function setRange(call: Call): Promise<void> {
  const offset = integerAt(call, 2);
  if (offset < 0) fail("ERR offset is out of range");
  const part = call.args.bytes(3);
  const before = bufferOf((await findString(call, 1)) ?? "");
  if (part.length === 0) return call.out.integer(before.length);
  if (offset + part.length > MAX_STRING_BYTES) fail(TOO_LONG);
  const bytes = Buffer.alloc(Math.max(before.length, offset + part.length));
  bytes.set(before);
  bytes.set(part, offset);
  await keep(call, keyAt(call.args, 1), jsonOf(fromBuffer(bytes)));
  call.out.integer(bytes.length);
}

async function addTo(call: Call, by: number): Promise<void> {
  const key = keyAt(call.args, 1);
  const document = await call.documents.get(key);
  const before = document === null ? 0 : integerOf(typed(document, "string").value);
  const value = exactSum(before, by);
  await keep(call, key, value);
  call.out.integer(value);
}

/** @throws ReplyError */
export function integerOf(json: unknown, error = NOT_INTEGER): number {
  if (typeof json === "number") return Number.isSafeInteger(json) ? json : fail(error);
  return typeof json === "string" ? (readInteger(json) ?? fail(error)) : fail(error);
}

/** @throws ReplyError: it would not be exact in JSON */
export function exactSum(before: number, by: number): number {
  const sum = before + by;
  return [before, by, sum].every(Number.isSafeInteger) ? sum : fail(WOULD_OVERFLOW);
}

async function addFloat(call: Call): Promise<void> {
  const by = readLongDouble(call.args.latin1(2)) ?? fail(isInfinite(call.args.latin1(2)) ? NO_FLOAT_RESULT : NOT_FLOAT);
  const text = sumText((await findString(call, 1)) ?? "0", by, NOT_FLOAT);
  await keep(call, keyAt(call.args, 1), numberOrText(text));
  call.out.bulk(text);
}

/** @throws ReplyError */
export function sumText(before: string | Buffer, by: LongDouble, error: string): string {
  const value = typeof before === "string" ? readLongDouble(before) : null;
  return longDoubleText(addLongDoubles(value ?? fail(error), by));
}

const NO_FLOAT_RESULT = "ERR increment would produce NaN or Infinity";

function isInfinite(text: string): boolean {
  return Math.abs(readDouble(text) ?? 0) === Infinity;
}

/** A JSON number where it says the same. */
export function numberOrText(text: string): number | string {
  return String(Number(text)) === text ? Number(text) : text;
}

const command = (
  name: string,
  arity: number,
  use: CommandSpec["use"],
  keys: KeyPlaces,
  since: string,
  summary: string,
  run: Run,
): CommandSpec => ({ name, arity, use, keys, group: "string", since, summary, run });

export const STRINGS: readonly CommandSpec[] = [
  {
    ...command("get", 2, "read", ONE_KEY, "1.0.0", "Returns the string value of a key.", get),
    runMany: getTogether,
  },
  {
    ...command("set", -3, "write", ONE_KEY, "1.0.0", "Sets the string value of a key, whatever its type was.", set),
    runMany: setTogether,
  },
  command("getset", 3, "write", ONE_KEY, "1.0.0", "Sets a value and returns the one before.", getSet),
  command("getdel", 2, "write", ONE_KEY, "6.2.0", "Returns a value and deletes the key.", getDelete),
  command("getex", -2, "write", ONE_KEY, "6.2.0", "Returns a value and sets when it is gone.", getAndExpire),
  command("mget", -2, "read", ALL_KEYS, "1.0.0", "Returns the values of several keys.", getMany),
  {
    ...command("mset", -3, "write", [1, -1, 2], "1.0.1", "Sets several keys.", setMany),
    runMany: setManyTogether,
  },
  command("msetnx", -3, "write", [1, -1, 2], "1.0.1", "Sets several keys if there is none of them.", setManyIfMissing),
  command("setnx", 3, "write", ONE_KEY, "1.0.0", "Sets a key if there is none.", setIfMissing),
  command("setex", 4, "write", ONE_KEY, "2.0.0", "Sets a key for some seconds.", setFor("EX")),
  command("psetex", 4, "write", ONE_KEY, "2.6.0", "Sets a key for some milliseconds.", setFor("PX")),
  command("append", 3, "write", ONE_KEY, "2.0.0", "Appends to a string.", append),
  command("strlen", 2, "read", ONE_KEY, "2.2.0", "Returns the length of a string in bytes.", length),
  command("getrange", 4, "read", ONE_KEY, "2.4.0", "Returns a part of a string.", getRange),
  command("substr", 4, "read", ONE_KEY, "1.0.0", "Returns a part of a string.", getRange),
  command("setrange", 4, "write", ONE_KEY, "2.2.0", "Overwrites a part of a string.", setRange),
  command("incr", 2, "write", ONE_KEY, "1.0.0", "Adds 1 to an integer.", (call) => addTo(call, 1)),
  command("decr", 2, "write", ONE_KEY, "1.0.0", "Takes 1 from an integer.", (call) => addTo(call, -1)),
  command("incrby", 3, "write", ONE_KEY, "1.0.0", "Adds to an integer.", (call) => addTo(call, integerAt(call, 2))),
  command("decrby", 3, "write", ONE_KEY, "1.0.0", "Takes from an integer.", (call) => addTo(call, -integerAt(call, 2))),
  command("incrbyfloat", 3, "write", ONE_KEY, "2.6.0", "Adds to a number.", addFloat),
];
