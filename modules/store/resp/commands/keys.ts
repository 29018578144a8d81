/** Commands on keys of all types. */
import type { StoreEntry } from "hrmr";
import {
  ALL_KEYS,
  type Call,
  type CommandSpec,
  integerAt,
  type KeyPlaces,
  NO_KEYS,
  ONE_KEY,
  optionsFrom,
  type Run,
  wordAt,
} from "../call";
import { fail, NO_KEY, SYNTAX } from "../errors";
import { globMatcher, isLiteral, literalPrefix } from "../glob";
import { keyAt, keysFrom, typeOf } from "../values";
import { below } from "./sample";
import { setUntil } from "./expiry";

/** The most documents of one page. */
const PAGE = 1000;
const SCAN_COUNT = 10;

async function remove(call: Call): Promise<void> {
  let removed = 0;
  for (const key of keysFrom(call.args, 1)) if (await call.documents.delete(key)) removed++;
  call.out.integer(removed);
}

async function count(call: Call): Promise<void> {
  let there = 0;
  const keys = keysFrom(call.args, 1);
  for (let at = 0; at < keys.length; at += PAGE)
    for (const found of await call.documents.getMany(keys.slice(at, at + PAGE))) if (found !== null) there++;
  call.out.integer(there);
}

async function tellType({ args, documents, out }: Call): Promise<void> {
  const document = await documents.get(keyAt(args, 1));
  out.simple(document === null ? "none" : typeOf(document.value));
}

/** Documents page by page. */
async function* pages({ documents }: Call, prefix: string): AsyncGenerator<StoreEntry[]> {
  for (let after: string | undefined; ;) {
    const page: StoreEntry[] = await documents.list({
      prefix,
      limit: PAGE,
      ...(after === undefined ? null : { after }),
    });
    if (page.length > 0) yield page;
    // A page may be shorter than asked for: it also ends behind some bytes.
    if (page.length === 0) return;
    after = (page.at(-1) as StoreEntry).key;
  }
}

async function keys(call: Call): Promise<void> {
  const pattern = keyAt(call.args, 1);
  const matches = globMatcher(pattern);
  const found: string[] = [];
  for await (const page of pages(call, literalPrefix(pattern)))
    for (const { key } of page) if (matches(key)) found.push(key);
  call.out.array(found.length);
  for (const key of found) call.out.bulk(key);
}

async function size(call: Call): Promise<void> {
  const { documents, out } = call;
  // Within a transaction the store does not count.
  if (documents.count !== undefined) return out.integer(await documents.count());
  let count = 0;
  for await (const page of pages(call, "")) count += page.length;
  out.integer(count);
}

async function scan(call: Call): Promise<void> {
  const { args, out, peer } = call;
  if (!/^\d{1,20}$/.test(args.latin1(1))) fail("ERR invalid cursor");
  const options = optionsFrom(call, 2, { MATCH: 1, COUNT: 1, TYPE: 1 });
  const limit = options.has("COUNT") ? integerAt(call, options.get("COUNT") as number) : SCAN_COUNT;
  if (limit < 1) fail(SYNTAX);
  const type = options.has("TYPE") ? wordAt(call, options.get("TYPE") as number).toLowerCase() : null;
  const pattern = options.has("MATCH") ? keyAt(args, options.get("MATCH") as number) : "*";
  const matches = globMatcher(pattern);
  const after = peer.face.cursors.find(args.latin1(1));
  const prefix = literalPrefix(pattern);
  const page = await call.documents.list({
    prefix,
    limit: Math.min(limit, PAGE),
    ...(after === null ? null : { after }),
  });
  const last = page.at(-1)?.key;
  const found = page.filter(({ key, value }) => matches(key) && (type === null || typeOf(value) === type));
  const isOver =
    last === undefined ||
    isLiteral(pattern) ||
    (await call.documents.list({ prefix, after: last, limit: 1 })).length === 0;
  out.array(2);
  out.bulk(isOver ? "0" : peer.face.cursors.make(last));
  out.array(found.length);
  for (const { key } of found) out.bulk(key);
}

/** Goes down from the first letter in which keys differ: quick in a large collection, but not even. */
async function random({ documents, out }: Call): Promise<void> {
  let prefix = "";
  for (let depth = 0; depth < 8; depth++) {
    const [[first], [last]] = [
      await documents.list({ prefix, limit: 1 }),
      await documents.list({ prefix, limit: 1, reverse: true }),
    ];
    if (first === undefined || last === undefined) return out.null();
    if (first.key === last.key) return out.bulk(first.key);
    const page = await documents.list({ prefix, limit: PAGE });
    const isAll = page.at(-1)?.key === last.key;
    if (isAll || depth === 7) return out.bulk((page[below(page.length)] as StoreEntry).key);
    prefix = between(first.key, last.key);
  }
}

/** @returns what both begin with, and a letter between those that follow */
function between(first: string, last: string): string {
  const [low, high] = [[...first], [...last]];
  let same = 0;
  while (same < low.length && low[same] === high[same]) same++;
  const [from, to] = [low[same]?.codePointAt(0) ?? 0, high[same]?.codePointAt(0) ?? 0];
  const point = from + below(to - from + 1);
  // A half of a surrogate pair is no character.
  return low.slice(0, same).join("") + String.fromCodePoint(point >= 0xd800 && point < 0xe000 ? to : point);
}

const rename =
  (mustBeFree: boolean): Run =>
  async (call) => {
    const { args, documents, out } = call;
    const [from, to] = [keyAt(args, 1), keyAt(args, 2)];
    const document = (await documents.get(from)) ?? fail(NO_KEY);
    if (mustBeFree && (await documents.get(to)) !== null) return out.integer(0);
    if (from !== to) {
      await documents.delete(from);
      await setUntil(call, to, document.value, document.expiresAt);
    }
    if (mustBeFree) out.integer(1);
    else out.ok();
  };

async function copy(call: Call): Promise<void> {
  const options = optionsFrom(call, 3, { REPLACE: 0 });
  const [from, to] = [keyAt(call.args, 1), keyAt(call.args, 2)];
  if (from === to) fail("ERR source and destination objects are the same");
  const document = await call.documents.get(from);
  const isFree = options.has("REPLACE") || (await call.documents.get(to)) === null;
  if (document !== null && isFree) await setUntil(call, to, document.value, document.expiresAt);
  call.out.integer(document !== null && isFree ? 1 : 0);
}

const command = (
  name: string,
  arity: number,
  use: CommandSpec["use"],
  keyPlaces: KeyPlaces,
  since: string,
  summary: string,
  run: Run,
): CommandSpec => ({ name, arity, use, keys: keyPlaces, group: "generic", since, summary, run });

export const KEYS: readonly CommandSpec[] = [
  command("del", -2, "write", ALL_KEYS, "1.0.0", "Deletes keys.", remove),
  command("unlink", -2, "write", ALL_KEYS, "4.0.0", "Deletes keys.", remove),
  command("exists", -2, "read", ALL_KEYS, "1.0.0", "Counts the keys that exist.", count),
  command("touch", -2, "read", ALL_KEYS, "3.2.1", "Counts the keys that exist.", count),
  command("type", 2, "read", ONE_KEY, "1.0.0", "Returns the type of a key.", tellType),
  { ...command("keys", 2, "read", NO_KEYS, "1.0.0", "Returns all keys that match a pattern.", keys), isLong: true },
  command("scan", -2, "read", NO_KEYS, "2.8.0", "Returns the keys page by page.", scan),
  { ...command("dbsize", 1, "read", NO_KEYS, "1.0.0", "Returns the number of keys.", size), isLong: true },
  command("randomkey", 1, "read", NO_KEYS, "1.0.0", "Returns a random key.", random),
  command("rename", 3, "write", [1, 2, 1], "1.0.0", "Renames a key.", rename(false)),
  command("renamenx", 3, "write", [1, 2, 1], "1.0.0", "Renames a key if the new name is free.", rename(true)),
  command("copy", -3, "write", [1, 2, 1], "6.2.0", "Copies a key.", copy),
];
