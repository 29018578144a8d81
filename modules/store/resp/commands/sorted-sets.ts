/** Commands on sorted sets: documents of the form `{"$zset": {"member": score}}`. */
import {
  type Call,
  type CommandSpec,
  doubleAt,
  findScores,
  integerAt,
  keepScores,
  ONE_KEY,
  optionsFrom,
  type Run,
  wordAt,
} from "../call";
import { fail, SYNTAX, wrongArity } from "../errors";
import { globMatcher } from "../glob";
import { keyAt, type Scores, textAt } from "../values";
import { doubleText } from "../writer";
import { allBetween, lexRangeAt, type Ranked, rankedOf, scoreRangeAt } from "./ranks";
import { below, sample } from "./sample";

const memberAt = (call: Call, index: number): string => textAt(call.args, index, "member");
const scoresAt = async (call: Call): Promise<Scores> => (await findScores(call, 1)) ?? new Map<string, number>();

const FLAGS = new Set(["NX", "XX", "GT", "LT", "CH", "INCR"]);

async function add(call: Call): Promise<void> {
  const { args, out } = call;
  let first = 2;
  const flags = new Set<string>();
  while (first < args.length && FLAGS.has(wordAt(call, first))) flags.add(wordAt(call, first++));
  if (first >= args.length || (args.length - first) % 2 !== 0) fail(SYNTAX);
  mustAgree(flags, (args.length - first) / 2);
  const wanted: [member: string, score: number][] = [];
  for (let at = first; at < args.length; at += 2) wanted.push([memberAt(call, at + 1), doubleAt(call, at)]);
  const scores = await scoresAt(call);
  let [added, changed] = [0, 0];
  let last: number | null = null;
  for (const [member, given] of wanted) {
    const before = scores.get(member);
    const score = flags.has("INCR") ? (before ?? 0) + given : given;
    if (Number.isNaN(score)) fail("ERR resulting score is not a number (NaN)");
    last = applies(flags, before, score) ? score : null;
    if (last === null || before === score) continue;
    scores.set(member, score);
    if (before === undefined) added++;
    else changed++;
  }
  if (added + changed > 0) await keepScores(call, keyAt(args, 1), scores);
  if (!flags.has("INCR")) out.integer(flags.has("CH") ? added + changed : added);
  else if (last === null) out.null();
  else out.double(last);
}

function mustAgree(flags: ReadonlySet<string>, pairs: number): void {
  if (flags.has("NX") && flags.has("XX")) fail("ERR XX and NX options at the same time are not compatible");
  const bounds = [flags.has("GT"), flags.has("LT"), flags.has("NX")].filter(Boolean).length;
  if (bounds > 1) fail("ERR GT, LT, and/or NX options at the same time are not compatible");
  if (flags.has("INCR") && pairs > 1) fail("ERR INCR option supports a single increment-element pair");
}

function applies(flags: ReadonlySet<string>, before: number | undefined, score: number): boolean {
  if (before === undefined) return !flags.has("XX");
  if (flags.has("NX")) return false;
  return !(flags.has("GT") && score <= before) && !(flags.has("LT") && score >= before);
}

async function increment(call: Call): Promise<void> {
  const by = doubleAt(call, 2);
  const member = memberAt(call, 3);
  const scores = await scoresAt(call);
  const score = (scores.get(member) ?? 0) + by;
  if (Number.isNaN(score)) fail("ERR resulting score is not a number (NaN)");
  await keepScores(call, keyAt(call.args, 1), scores.set(member, score));
  call.out.double(score);
}

async function remove(call: Call): Promise<void> {
  const scores = await scoresAt(call);
  let removed = 0;
  for (let at = 2; at < call.args.length; at++) if (scores.delete(memberAt(call, at))) removed++;
  if (removed > 0) await keepScores(call, keyAt(call.args, 1), scores);
  call.out.integer(removed);
}

function tellScore({ out }: Call, score: number | undefined): void {
  if (score === undefined) out.null();
  else out.double(score);
}

async function tellScores(call: Call): Promise<void> {
  const scores = await scoresAt(call);
  call.out.array(call.args.length - 2);
  for (let at = 2; at < call.args.length; at++) tellScore(call, scores.get(memberAt(call, at)));
}

const rank =
  (isReverse: boolean): Run =>
  async (call) => {
    const ranked = rankedOf(await scoresAt(call));
    const at = ranked.findIndex(([member]) => member === memberAt(call, 2));
    if (at === -1) call.out.null();
    else call.out.integer(isReverse ? ranked.length - 1 - at : at);
  };

/** @param isNested in RESP3, members with scores are pairs */
function tellAll({ out }: Call, ranked: Ranked, withScores: boolean, isNested = true): void {
  const isPair = withScores && out.version === 3 && isNested;
  out.array(withScores && !isPair ? ranked.length * 2 : ranked.length);
  for (const [member, score] of ranked) {
    if (isPair) out.array(2);
    out.bulk(member);
    if (withScores) out.double(score);
  }
}

type By = "RANK" | "SCORE" | "LEX";

async function between(call: Call, first: number, by: By, isReverse: boolean): Promise<Ranked> {
  // In reverse the bounds come the other way round, but for ranks.
  const [low, high] = isReverse && by !== "RANK" ? [first + 1, first] : [first, first + 1];
  const range =
    by === "RANK"
      ? { start: integerAt(call, low), stop: integerAt(call, high) }
      : by === "SCORE"
        ? scoreRangeAt(call, low, high)
        : lexRangeAt(call, low, high);
  return allBetween(rankedOf(await scoresAt(call)), range, isReverse);
}

function limited(call: Call, ranked: Ranked, at: number | undefined): Ranked {
  if (at === undefined) return ranked;
  const [offset, count] = [integerAt(call, at), integerAt(call, at + 1)];
  if (offset < 0) return [];
  return ranked.slice(offset, count < 0 ? undefined : offset + count);
}

async function range(call: Call): Promise<void> {
  const options = optionsFrom(call, 4, { BYSCORE: 0, BYLEX: 0, REV: 0, LIMIT: 2, WITHSCORES: 0 });
  if (options.has("BYSCORE") && options.has("BYLEX")) fail(SYNTAX);
  const by = options.has("BYSCORE") ? "SCORE" : options.has("BYLEX") ? "LEX" : "RANK";
  if (options.has("LIMIT") && by === "RANK")
    fail("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
  if (options.has("WITHSCORES") && by === "LEX")
    fail("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
  const found = await between(call, 2, by, options.has("REV"));
  tellAll(call, limited(call, found, options.get("LIMIT")), options.has("WITHSCORES"));
}

const rangeBy =
  (by: By, isReverse: boolean): Run =>
  async (call) => {
    const options = optionsFrom(call, 4, {
      ...(by === "RANK" ? null : { LIMIT: 2 }),
      ...(by === "LEX" ? null : { WITHSCORES: 0 }),
    });
    const found = await between(call, 2, by, isReverse);
    tellAll(call, limited(call, found, options.get("LIMIT")), options.has("WITHSCORES"));
  };

const countBy =
  (by: By): Run =>
  async (call) =>
    call.out.integer((await between(call, 2, by, false)).length);

const removeBy =
  (by: By): Run =>
  async (call) => {
    const found = await between(call, 2, by, false);
    const scores = await scoresAt(call);
    for (const [member] of found) scores.delete(member);
    if (found.length > 0) await keepScores(call, keyAt(call.args, 1), scores);
    call.out.integer(found.length);
  };

const NOT_POSITIVE = "ERR value is out of range, must be positive";

const pop =
  (isMax: boolean): Run =>
  async (call) => {
    if (call.args.length > 3) fail(wrongArity(call.args.latin1(0).toLowerCase()));
    const count = call.args.length === 3 ? integerAt(call, 2, NOT_POSITIVE) : null;
    if (count !== null && count < 0) fail(NOT_POSITIVE);
    const scores = await scoresAt(call);
    const ranked = rankedOf(scores);
    const taken = (isMax ? ranked.toReversed() : ranked).slice(0, count ?? 1);
    for (const [member] of taken) scores.delete(member);
    if (taken.length > 0) await keepScores(call, keyAt(call.args, 1), scores);
    tellAll(call, taken, true, count !== null);
  };

async function random(call: Call): Promise<void> {
  if (call.args.length > 4) fail(SYNTAX);
  const withScores = call.args.length === 4 && (wordAt(call, 3) === "WITHSCORES" || fail(SYNTAX));
  const count = call.args.length > 2 ? integerAt(call, 2) : null;
  const ranked = [...(await scoresAt(call))];
  if (count === null) return call.out.bulkOrNull(ranked[below(ranked.length)]?.[0] ?? null);
  tellAll(call, sample(ranked, count), withScores);
}

async function scan(call: Call): Promise<void> {
  const options = optionsFrom(call, 3, { MATCH: 1, COUNT: 1 });
  if (!/^\d{1,20}$/.test(call.args.latin1(2))) fail("ERR invalid cursor");
  if (options.has("COUNT") && integerAt(call, options.get("COUNT") as number) < 1) fail(SYNTAX);
  const match = options.has("MATCH") ? globMatcher(call.args.utf8(options.get("MATCH") as number)) : () => true;
  const found = rankedOf(await scoresAt(call)).filter(([member]) => match(member));
  call.out.array(2);
  call.out.bulk("0");
  call.out.array(found.length * 2);
  for (const [member, score] of found) {
    call.out.bulk(member);
    call.out.bulk(doubleText(score));
  }
}

const command = (
  name: string,
  arity: number,
  use: CommandSpec["use"],
  since: string,
  summary: string,
  run: Run,
): CommandSpec => ({ name, arity, use, keys: ONE_KEY, group: "sorted-set", since, summary, run });

export const SORTED_SETS: readonly CommandSpec[] = [
  command("zadd", -4, "write", "1.2.0", "Sets scores of members.", add),
  command("zincrby", 4, "write", "1.2.0", "Adds to the score of a member.", increment),
  command("zrem", -3, "write", "1.2.0", "Removes members.", remove),
  command("zscore", 3, "read", "1.2.0", "Returns the score of a member.", async (call) =>
    tellScore(call, (await scoresAt(call)).get(memberAt(call, 2))),
  ),
  command("zmscore", -3, "read", "6.2.0", "Returns the scores of several members.", tellScores),
  command("zcard", 2, "read", "1.2.0", "Returns the number of members.", async (call) =>
    call.out.integer((await scoresAt(call)).size),
  ),
  command("zcount", 4, "read", "2.0.0", "Counts members by their scores.", countBy("SCORE")),
  command("zlexcount", 4, "read", "2.8.9", "Counts members by their names.", countBy("LEX")),
  command("zrank", 3, "read", "2.0.0", "Returns the rank of a member.", rank(false)),
  command("zrevrank", 3, "read", "2.0.0", "Returns the rank of a member, the highest score first.", rank(true)),
  command("zrange", -4, "read", "1.2.0", "Returns members by rank, score or name.", range),
  command("zrevrange", -4, "read", "1.2.0", "Returns members by rank, the highest first.", rangeBy("RANK", true)),
  command("zrangebyscore", -4, "read", "1.0.5", "Returns members by score.", rangeBy("SCORE", false)),
  command(
    "zrevrangebyscore",
    -4,
    "read",
    "2.2.0",
    "Returns members by score, the highest first.",
    rangeBy("SCORE", true),
  ),
  command("zrangebylex", -4, "read", "2.8.9", "Returns members by name.", rangeBy("LEX", false)),
  command("zrevrangebylex", -4, "read", "2.8.9", "Returns members by name, the last first.", rangeBy("LEX", true)),
  command("zremrangebyrank", 4, "write", "2.0.0", "Removes members by rank.", removeBy("RANK")),
  command("zremrangebyscore", 4, "write", "1.2.0", "Removes members by score.", removeBy("SCORE")),
  command("zremrangebylex", 4, "write", "2.8.9", "Removes members by name.", removeBy("LEX")),
  command("zpopmin", -2, "write", "5.0.0", "Takes the members with the lowest scores.", pop(false)),
  command("zpopmax", -2, "write", "5.0.0", "Takes the members with the highest scores.", pop(true)),
  command("zrandmember", -2, "read", "6.2.0", "Returns random members.", random),
  command("zscan", -3, "read", "2.8.0", "Returns members and scores.", scan),
];
