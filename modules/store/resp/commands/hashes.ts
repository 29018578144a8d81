/** Commands on hashes: documents that are JSON objects. */
import {
  type Call,
  type CommandSpec,
  doubleAt,
  type Fields,
  findHash,
  integerAt,
  keepHash,
  ONE_KEY,
  optionsFrom,
  type Run,
} from "../call";
import { fail, NOT_FLOAT, SYNTAX, wrongArity } from "../errors";
import { globMatcher } from "../glob";
import { readLongDouble } from "../numbers";
import { bufferOf, bytesAt, bytesOf, jsonOf, keyAt, textAt } from "../values";
import { sample } from "./sample";
import { exactSum, integerOf, numberOrText, sumText } from "./strings";

const fieldAt = (call: Call, index: number): string => textAt(call.args, index, "field");
const hasField = (fields: Fields | null, field: string): fields is Fields => fields !== null && fields.has(field);

function tell({ out }: Call, fields: Fields | null, field: string): void {
  if (hasField(fields, field)) out.bulk(bytesOf(fields.get(field)));
  else out.null();
}

/** @returns how many are new */
async function setFields(call: Call): Promise<number> {
  const { args } = call;
  if (args.length % 2 !== 0) fail(wrongArity(args.latin1(0).toLowerCase()));
  const fields = (await findHash(call, 1)) ?? new Map<string, unknown>();
  const before = fields.size;
  for (let at = 2; at < args.length; at += 2) fields.set(fieldAt(call, at), jsonOf(bytesAt(args, at + 1)));
  await keepHash(call, keyAt(args, 1), fields);
  return fields.size - before;
}

async function setIfMissing(call: Call): Promise<void> {
  const fields = (await findHash(call, 1)) ?? new Map<string, unknown>();
  const field = fieldAt(call, 2);
  if (fields.has(field)) return call.out.integer(0);
  fields.set(field, jsonOf(bytesAt(call.args, 3)));
  await keepHash(call, keyAt(call.args, 1), fields);
  call.out.integer(1);
}

async function getMany(call: Call): Promise<void> {
  const fields = await findHash(call, 1);
  call.out.array(call.args.length - 2);
  for (let at = 2; at < call.args.length; at++) tell(call, fields, fieldAt(call, at));
}

async function getAll(call: Call): Promise<void> {
  const fields = (await findHash(call, 1)) ?? new Map<string, unknown>();
  call.out.map(fields.size);
  for (const [field, value] of fields) {
    call.out.bulk(field);
    call.out.bulk(bytesOf(value));
  }
}

async function remove(call: Call): Promise<void> {
  const fields = await findHash(call, 1);
  let removed = 0;
  for (let at = 2; at < call.args.length; at++) if (fields?.delete(fieldAt(call, at)) === true) removed++;
  if (fields !== null && removed > 0) await keepHash(call, keyAt(call.args, 1), fields);
  call.out.integer(removed);
}

async function tellKeys(call: Call): Promise<void> {
  const fields = [...((await findHash(call, 1)) ?? new Map<string, unknown>()).keys()];
  call.out.array(fields.length);
  for (const field of fields) call.out.bulk(field);
}

async function tellValues(call: Call): Promise<void> {
  const values = [...((await findHash(call, 1)) ?? new Map<string, unknown>()).values()];
  call.out.array(values.length);
  for (const value of values) call.out.bulk(bytesOf(value));
}

async function add(call: Call): Promise<void> {
  const by = integerAt(call, 3);
  const fields = (await findHash(call, 1)) ?? new Map<string, unknown>();
  const field = fieldAt(call, 2);
  const value = exactSum(integerOf(fields.get(field) ?? 0, "ERR hash value is not an integer"), by);
  fields.set(field, value);
  await keepHash(call, keyAt(call.args, 1), fields);
  call.out.integer(value);
}

async function addFloat(call: Call): Promise<void> {
  if (Math.abs(doubleAt(call, 3)) === Infinity) fail("ERR value is NaN or Infinity");
  const by = readLongDouble(call.args.latin1(3)) ?? fail(NOT_FLOAT);
  const fields = (await findHash(call, 1)) ?? new Map<string, unknown>();
  const field = fieldAt(call, 2);
  const text = sumText(fields.has(field) ? bytesOf(fields.get(field)) : "0", by, "ERR hash value is not a float");
  fields.set(field, numberOrText(text));
  await keepHash(call, keyAt(call.args, 1), fields);
  call.out.bulk(text);
}

async function scan(call: Call): Promise<void> {
  const options = optionsFrom(call, 3, { MATCH: 1, COUNT: 1 });
  if (!/^\d{1,20}$/.test(call.args.latin1(2))) fail("ERR invalid cursor");
  const match = options.has("MATCH") ? globMatcher(call.args.utf8(options.get("MATCH") as number)) : () => true;
  if (options.has("COUNT") && integerAt(call, options.get("COUNT") as number) < 1) fail(SYNTAX);
  const found = [...((await findHash(call, 1)) ?? new Map<string, unknown>())].filter(([field]) => match(field));
  call.out.array(2);
  // All at once: a hash is one document.
  call.out.bulk("0");
  call.out.array(found.length * 2);
  for (const [field, value] of found) {
    call.out.bulk(field);
    call.out.bulk(bytesOf(value));
  }
}

async function random(call: Call): Promise<void> {
  const { args, out } = call;
  if (args.length > 4) fail(SYNTAX);
  const withValues = args.length === 4 && (args.latin1(3).toUpperCase() === "WITHVALUES" || fail(SYNTAX));
  const count = args.length > 2 ? integerAt(call, 2) : null;
  const fields = await findHash(call, 1);
  if (count === null)
    return out.bulkOrNull(fields === null ? null : ((sample([...fields.keys()], 1)[0] as string) ?? null));
  const chosen = sample([...(fields ?? new Map<string, unknown>())], count);
  out.array(chosen.length * (withValues && out.version === 2 ? 2 : 1));
  for (const [field, value] of chosen) {
    if (withValues && out.version === 3) out.array(2);
    out.bulk(field);
    if (withValues) out.bulk(bytesOf(value));
  }
}

const command = (
  name: string,
  arity: number,
  use: CommandSpec["use"],
  since: string,
  summary: string,
  run: Run,
): CommandSpec => ({ name, arity, use, keys: ONE_KEY, group: "hash", since, summary, run });

export const HASHES: readonly CommandSpec[] = [
  command("hset", -4, "write", "2.0.0", "Sets fields of a hash.", async (call) =>
    call.out.integer(await setFields(call)),
  ),
  command("hmset", -4, "write", "2.0.0", "Sets fields of a hash.", async (call) => {
    await setFields(call);
    call.out.ok();
  }),
  command("hsetnx", 4, "write", "2.0.0", "Sets a field of a hash if there is none.", setIfMissing),
  command("hget", 3, "read", "2.0.0", "Returns a field of a hash.", async (call) =>
    tell(call, await findHash(call, 1), fieldAt(call, 2)),
  ),
  command("hmget", -3, "read", "2.0.0", "Returns fields of a hash.", getMany),
  command("hgetall", 2, "read", "2.0.0", "Returns all fields and values of a hash.", getAll),
  command("hdel", -3, "write", "2.0.0", "Removes fields of a hash.", remove),
  command("hexists", 3, "read", "2.0.0", "Tells whether a hash has a field.", async (call) =>
    call.out.integer(hasField(await findHash(call, 1), fieldAt(call, 2)) ? 1 : 0),
  ),
  command("hlen", 2, "read", "2.0.0", "Returns the number of fields of a hash.", async (call) =>
    call.out.integer((await findHash(call, 1))?.size ?? 0),
  ),
  command("hstrlen", 3, "read", "3.2.0", "Returns the length of a field's value in bytes.", async (call) => {
    const fields = await findHash(call, 1);
    const field = fieldAt(call, 2);
    call.out.integer(hasField(fields, field) ? bufferOf(bytesOf(fields.get(field))).length : 0);
  }),
  command("hkeys", 2, "read", "2.0.0", "Returns all fields of a hash.", tellKeys),
  command("hvals", 2, "read", "2.0.0", "Returns all values of a hash.", tellValues),
  command("hincrby", 4, "write", "2.0.0", "Adds to an integer in a hash.", add),
  command("hincrbyfloat", 4, "write", "2.6.0", "Adds to a number in a hash.", addFloat),
  command("hscan", -3, "read", "2.8.0", "Returns fields and values of a hash.", scan),
  command("hrandfield", -2, "read", "6.2.0", "Returns random fields of a hash.", random),
];
