/** Commands on lists: documents that are JSON arrays. */
import {
  type Call,
  type CommandSpec,
  findList,
  integerAt,
  keepList,
  type KeyPlaces,
  ONE_KEY,
  optionsFrom,
  placeOf,
  placesOf,
  type Run,
  wordAt,
} from "../call";
import { fail, NO_KEY, OUT_OF_RANGE, SYNTAX, wrongArity } from "../errors";
import { bytesAt, bytesOf, identityOf, jsonOf, keyAt } from "../values";

const NOT_POSITIVE = "ERR value is out of range, must be positive";

const push =
  (isLeft: boolean, mustExist: boolean): Run =>
  async (call) => {
    const items = await findList(call, 1);
    if (items === null && mustExist) return call.out.integer(0);
    const added: unknown[] = [];
    for (let at = 2; at < call.args.length; at++) added.push(jsonOf(bytesAt(call.args, at)));
    const all = isLeft ? [...added.toReversed(), ...(items ?? [])] : [...(items ?? []), ...added];
    await keepList(call, keyAt(call.args, 1), all);
    call.out.integer(all.length);
  };

const pop =
  (isLeft: boolean): Run =>
  async (call) => {
    const { args, out } = call;
    if (args.length > 3) fail(wrongArity(args.latin1(0).toLowerCase()));
    const count = args.length === 3 ? integerAt(call, 2, NOT_POSITIVE) : null;
    if (count !== null && count < 0) fail(NOT_POSITIVE);
    const items = await findList(call, 1);
    if (items === null || items.length === 0) return count === null ? out.null() : out.nullArray();
    const taken = isLeft
      ? items.splice(0, count ?? 1)
      : items.splice(Math.max(0, items.length - (count ?? 1))).toReversed();
    if (taken.length > 0) await keepList(call, keyAt(args, 1), items);
    if (count === null) out.bulk(bytesOf(taken[0]));
    else tellAll(call, taken);
  };

function tellAll({ out }: Call, items: readonly unknown[]): void {
  out.array(items.length);
  for (const item of items) out.bulk(bytesOf(item));
}

async function index(call: Call): Promise<void> {
  const items = await findList(call, 1);
  if (items === null) return call.out.null();
  const item = items[placeOf(integerAt(call, 2), items.length)];
  call.out.bulkOrNull(item === undefined ? null : bytesOf(item));
}

async function set(call: Call): Promise<void> {
  const items = (await findList(call, 1)) ?? fail(NO_KEY);
  const at = placeOf(integerAt(call, 2), items.length);
  if (!(at in items)) fail(OUT_OF_RANGE);
  items[at] = jsonOf(bytesAt(call.args, 3));
  await keepList(call, keyAt(call.args, 1), items);
  call.out.ok();
}

async function range(call: Call): Promise<void> {
  const [start, stop] = [integerAt(call, 2), integerAt(call, 3)];
  const items = (await findList(call, 1)) ?? [];
  const { from, to } = placesOf(start, stop, items.length);
  tellAll(call, from > to ? [] : items.slice(from, to + 1));
}

async function trim(call: Call): Promise<void> {
  const [start, stop] = [integerAt(call, 2), integerAt(call, 3)];
  const items = await findList(call, 1);
  if (items !== null) {
    const { from, to } = placesOf(start, stop, items.length);
    await keepList(call, keyAt(call.args, 1), from > to ? [] : items.slice(from, to + 1));
  }
  call.out.ok();
}

async function remove(call: Call): Promise<void> {
  const count = integerAt(call, 2);
  const items = (await findList(call, 1)) ?? [];
  const wanted = identityOf(bytesAt(call.args, 3));
  const places = [...items.keys()].filter((at) => identityOf(bytesOf(items[at])) === wanted);
  const gone = new Set(count === 0 ? places : count > 0 ? places.slice(0, count) : places.slice(count));
  if (gone.size > 0)
    await keepList(
      call,
      keyAt(call.args, 1),
      items.filter((_, at) => !gone.has(at)),
    );
  call.out.integer(gone.size);
}

async function insert(call: Call): Promise<void> {
  const where = wordAt(call, 2);
  if (where !== "BEFORE" && where !== "AFTER") fail(SYNTAX);
  const items = await findList(call, 1);
  if (items === null) return call.out.integer(0);
  const pivot = identityOf(bytesAt(call.args, 3));
  const at = items.findIndex((item) => identityOf(bytesOf(item)) === pivot);
  if (at === -1) return call.out.integer(-1);
  items.splice(where === "BEFORE" ? at : at + 1, 0, jsonOf(bytesAt(call.args, 4)));
  await keepList(call, keyAt(call.args, 1), items);
  call.out.integer(items.length);
}

async function position(call: Call): Promise<void> {
  const options = optionsFrom(call, 3, { RANK: 1, COUNT: 1, MAXLEN: 1 });
  const option = (name: string): number | null =>
    options.has(name) ? integerAt(call, options.get(name) as number) : null;
  const rank = option("RANK") ?? 1;
  if (rank === 0)
    fail(
      "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
    );
  const [count, longest] = [option("COUNT"), option("MAXLEN") ?? 0];
  if (count !== null && count < 0) fail("ERR COUNT can't be negative");
  if (longest < 0) fail("ERR MAXLEN can't be negative");
  const items = (await findList(call, 1)) ?? [];
  const wanted = identityOf(bytesAt(call.args, 2));
  const order = rank > 0 ? [...items.keys()] : [...items.keys()].toReversed();
  const found = (longest === 0 ? order : order.slice(0, longest))
    .filter((at) => identityOf(bytesOf(items[at])) === wanted)
    .slice(Math.abs(rank) - 1);
  if (count === null) return found.length === 0 ? call.out.null() : call.out.integer(found[0] as number);
  const all = count === 0 ? found : found.slice(0, count);
  call.out.array(all.length);
  for (const at of all) call.out.integer(at);
}

async function move(call: Call, from: string, to: string): Promise<void> {
  if (![from, to].every((side) => side === "LEFT" || side === "RIGHT")) fail(SYNTAX);
  const source = await findList(call, 1);
  if (source === null || source.length === 0) return call.out.null();
  const isSame = keyAt(call.args, 1) === keyAt(call.args, 2);
  const target = isSame ? source : ((await findList(call, 2)) ?? []);
  const item = from === "LEFT" ? source.shift() : source.pop();
  if (to === "LEFT") target.unshift(item);
  else target.push(item);
  if (!isSame) await keepList(call, keyAt(call.args, 1), source);
  await keepList(call, keyAt(call.args, 2), target);
  call.out.bulk(bytesOf(item));
}

const command = (
  name: string,
  arity: number,
  use: CommandSpec["use"],
  since: string,
  summary: string,
  run: Run,
  keys: KeyPlaces = ONE_KEY,
): CommandSpec => ({ name, arity, use, keys, group: "list", since, summary, run });

export const LISTS: readonly CommandSpec[] = [
  command("lpush", -3, "write", "1.0.0", "Puts elements in front of a list.", push(true, false)),
  command("rpush", -3, "write", "1.0.0", "Appends elements to a list.", push(false, false)),
  command("lpushx", -3, "write", "2.2.0", "Puts elements in front of a list, if there is one.", push(true, true)),
  command("rpushx", -3, "write", "2.2.0", "Appends elements to a list, if there is one.", push(false, true)),
  command("lpop", -2, "write", "1.0.0", "Takes elements from the front of a list.", pop(true)),
  command("rpop", -2, "write", "1.0.0", "Takes elements from the end of a list.", pop(false)),
  command("llen", 2, "read", "1.0.0", "Returns the length of a list.", async (call) =>
    call.out.integer((await findList(call, 1))?.length ?? 0),
  ),
  command("lindex", 3, "read", "1.0.0", "Returns one element of a list.", index),
  command("lset", 4, "write", "1.0.0", "Replaces one element of a list.", set),
  command("lrange", 4, "read", "1.0.0", "Returns a part of a list.", range),
  command("ltrim", 4, "write", "1.0.0", "Keeps a part of a list.", trim),
  command("lrem", 4, "write", "1.0.0", "Removes equal elements of a list.", remove),
  command("linsert", 5, "write", "2.2.0", "Inserts beside an element of a list.", insert),
  command("lpos", -3, "read", "6.0.6", "Returns the places of an element in a list.", position),
  command(
    "lmove",
    5,
    "write",
    "6.2.0",
    "Moves an element between two lists.",
    (call) => move(call, wordAt(call, 3), wordAt(call, 4)),
    [1, 2, 1],
  ),
  command(
    "rpoplpush",
    3,
    "write",
    "1.2.0",
    "Moves the last element to another list.",
    (call) => move(call, "RIGHT", "LEFT"),
    [1, 2, 1],
  ),
];
