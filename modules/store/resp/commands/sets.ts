/** Commands on sets: documents of the form `{"$set": [...]}`. */
import {
  ALL_KEYS,
  type Call,
  type CommandSpec,
  findSet,
  integerAt,
  keepSet,
  type KeyPlaces,
  ONE_KEY,
  optionsFrom,
  replace,
  type Run,
} from "../call";
import { fail, SYNTAX } from "../errors";
import { globMatcher } from "../glob";
import { type Bytes, bufferOf, bytesAt, identityOf, jsonOfMembers, keyAt, type Members } from "../values";
import { sample } from "./sample";

const NOT_POSITIVE = "ERR value is out of range, must be positive";

async function add(call: Call): Promise<void> {
  const members = (await findSet(call, 1)) ?? (new Map() as Members);
  const before = members.size;
  for (let at = 2; at < call.args.length; at++) {
    const member = bytesAt(call.args, at);
    members.set(identityOf(member), member);
  }
  if (members.size > before) await keepSet(call, keyAt(call.args, 1), members);
  call.out.integer(members.size - before);
}

async function remove(call: Call): Promise<void> {
  const members = await findSet(call, 1);
  let removed = 0;
  for (let at = 2; at < call.args.length; at++)
    if (members?.delete(identityOf(bytesAt(call.args, at))) === true) removed++;
  if (members !== null && removed > 0) await keepSet(call, keyAt(call.args, 1), members);
  call.out.integer(removed);
}

async function tellMany(call: Call): Promise<void> {
  const members = await findSet(call, 1);
  call.out.array(call.args.length - 2);
  for (let at = 2; at < call.args.length; at++)
    call.out.integer(members?.has(identityOf(bytesAt(call.args, at))) === true ? 1 : 0);
}

function tellAll({ out }: Call, members: readonly Bytes[]): void {
  out.set(members.length);
  for (const member of members) out.bulk(member);
}

async function pop(call: Call): Promise<void> {
  const { args, out } = call;
  if (args.length > 3) fail(SYNTAX);
  const count = args.length === 3 ? integerAt(call, 2, NOT_POSITIVE) : null;
  if (count !== null && count < 0) fail(NOT_POSITIVE);
  const members = await findSet(call, 1);
  const chosen = sample([...(members ?? [])], count ?? 1);
  for (const [id] of chosen) members?.delete(id);
  if (members !== null && chosen.length > 0) await keepSet(call, keyAt(args, 1), members);
  if (count === null) return out.bulkOrNull(chosen[0]?.[1] ?? null);
  tellAll(
    call,
    chosen.map(([, member]) => member),
  );
}

async function random(call: Call): Promise<void> {
  if (call.args.length > 3) fail(SYNTAX);
  const count = call.args.length === 3 ? integerAt(call, 2) : null;
  const members = [...((await findSet(call, 1)) ?? (new Map() as Members)).values()];
  if (count === null) return call.out.bulkOrNull(sample(members, 1)[0] ?? null);
  const chosen = sample(members, count);
  call.out.array(chosen.length);
  for (const member of chosen) call.out.bulk(member);
}

async function move(call: Call): Promise<void> {
  const source = await findSet(call, 1);
  if (source === null) return call.out.integer(0);
  const target = await findSet(call, 2);
  const member = bytesAt(call.args, 3);
  const id = identityOf(member);
  if (!source.has(id)) return call.out.integer(0);
  const [from, to] = [keyAt(call.args, 1), keyAt(call.args, 2)];
  if (from !== to) {
    source.delete(id);
    await keepSet(call, from, source);
    await keepSet(call, to, (target ?? (new Map() as Members)).set(id, member));
  }
  call.out.integer(1);
}

type Combine = (first: Members, others: readonly Members[]) => Members;

const inter: Combine = (first, others) => new Map([...first].filter(([id]) => others.every((other) => other.has(id))));
const union: Combine = (first, others) => new Map([first, ...others].flatMap((members) => [...members]));
const diff: Combine = (first, others) => new Map([...first].filter(([id]) => !others.some((other) => other.has(id))));

async function combined(call: Call, from: number, to: number, combine: Combine): Promise<Members> {
  const sets: Members[] = [];
  for (let at = from; at < to; at++) sets.push((await findSet(call, at)) ?? new Map());
  return combine(sets[0] as Members, sets.slice(1));
}

const tellCombined =
  (combine: Combine): Run =>
  async (call) =>
    tellAll(call, [...(await combined(call, 1, call.args.length, combine)).values()]);

const storeCombined =
  (combine: Combine): Run =>
  async (call) => {
    const members = await combined(call, 2, call.args.length, combine);
    await replace(call, keyAt(call.args, 1), members.size, () => jsonOfMembers(members));
    call.out.integer(members.size);
  };

async function interCount(call: Call): Promise<void> {
  const count = integerAt(call, 1, "ERR numkeys should be greater than 0");
  if (count <= 0) fail("ERR numkeys should be greater than 0");
  if (count > call.args.length - 2) fail("ERR Number of keys can't be greater than number of args");
  const options = optionsFrom(call, 2 + count, { LIMIT: 1 });
  const limit = options.has("LIMIT")
    ? integerAt(call, options.get("LIMIT") as number, "ERR LIMIT can't be negative")
    : 0;
  if (limit < 0) fail("ERR LIMIT can't be negative");
  const { size } = await combined(call, 2, 2 + count, inter);
  call.out.integer(limit === 0 ? size : Math.min(limit, size));
}

async function scan(call: Call): Promise<void> {
  const options = optionsFrom(call, 3, { MATCH: 1, COUNT: 1 });
  if (!/^\d{1,20}$/.test(call.args.latin1(2))) fail("ERR invalid cursor");
  if (options.has("COUNT") && integerAt(call, options.get("COUNT") as number) < 1) fail(SYNTAX);
  const match = options.has("MATCH") ? globMatcher(call.args.utf8(options.get("MATCH") as number)) : () => true;
  const members = [...((await findSet(call, 1)) ?? (new Map() as Members)).values()];
  const found = members.filter((member) => match(typeof member === "string" ? member : bufferOf(member).toString()));
  call.out.array(2);
  call.out.bulk("0");
  call.out.array(found.length);
  for (const member of found) call.out.bulk(member);
}

const command = (
  name: string,
  arity: number,
  use: CommandSpec["use"],
  since: string,
  summary: string,
  run: Run,
  keys: KeyPlaces = ONE_KEY,
): CommandSpec => ({ name, arity, use, keys, group: "set", since, summary, run });

export const SETS: readonly CommandSpec[] = [
  command("sadd", -3, "write", "1.0.0", "Adds members to a set.", add),
  command("srem", -3, "write", "1.0.0", "Removes members of a set.", remove),
  command("sismember", 3, "read", "1.0.0", "Tells whether a set has a member.", async (call) =>
    call.out.integer((await findSet(call, 1))?.has(identityOf(bytesAt(call.args, 2))) === true ? 1 : 0),
  ),
  command("smismember", -3, "read", "6.2.0", "Tells which of several members a set has.", tellMany),
  command("smembers", 2, "read", "1.0.0", "Returns all members of a set.", async (call) =>
    tellAll(call, [...((await findSet(call, 1)) ?? (new Map() as Members)).values()]),
  ),
  command("scard", 2, "read", "1.0.0", "Returns the number of members of a set.", async (call) =>
    call.out.integer((await findSet(call, 1))?.size ?? 0),
  ),
  command("spop", -2, "write", "1.0.0", "Takes random members from a set.", pop),
  command("srandmember", -2, "read", "1.0.0", "Returns random members of a set.", random),
  command("smove", 4, "write", "1.0.0", "Moves a member to another set.", move, [1, 2, 1]),
  command("sinter", -2, "read", "1.0.0", "Returns the members that all sets have.", tellCombined(inter), ALL_KEYS),
  command("sunion", -2, "read", "1.0.0", "Returns the members of all sets.", tellCombined(union), ALL_KEYS),
  command(
    "sdiff",
    -2,
    "read",
    "1.0.0",
    "Returns the members that only the first set has.",
    tellCombined(diff),
    ALL_KEYS,
  ),
  command("sinterstore", -3, "write", "1.0.0", "Stores what SINTER returns.", storeCombined(inter), ALL_KEYS),
  command("sunionstore", -3, "write", "1.0.0", "Stores what SUNION returns.", storeCombined(union), ALL_KEYS),
  command("sdiffstore", -3, "write", "1.0.0", "Stores what SDIFF returns.", storeCombined(diff), ALL_KEYS),
  command(
    "sintercard",
    -3,
    "read",
    "7.0.0",
    "Returns the number of members that all sets have.",
    interCount,
    [0, 0, 0],
  ),
  command("sscan", -3, "read", "2.8.0", "Returns the members of a set.", scan),
];
