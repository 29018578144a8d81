/** The order of a sorted set: by score, then by the bytes of the member. Ranges of it. */
import { type Call, placesOf } from "../call";
import { fail } from "../errors";
import { readDouble } from "../numbers";
import { type Scores, textAt } from "../values";

export type Ranked = readonly (readonly [member: string, score: number])[];

export interface RankRange {
  readonly start: number;
  readonly stop: number;
}

/** A test for each member: the range is one piece of the order. */
export type Between = (member: string, score: number) => boolean;

export function rankedOf(scores: Scores): Ranked {
  return [...scores].sort(([a, one], [b, other]) =>
    one === other ? compareBytes(a, b) : one - other || sign(one, other),
  );
}

/** Two infinities have no difference. */
function sign(one: number, other: number): number {
  return one < other ? -1 : 1;
}

export function allBetween(ranked: Ranked, range: RankRange | Between, isReverse: boolean): Ranked {
  if (typeof range === "function") {
    const found = ranked.filter(([member, score]) => range(member, score));
    return isReverse ? found.toReversed() : found;
  }
  const { from, to } = placesOf(range.start, range.stop, ranked.length);
  return from > to ? [] : (isReverse ? ranked.toReversed() : ranked).slice(from, to + 1);
}

/** "5", "(5", "-inf". @throws ReplyError */
export function scoreRangeAt(call: Call, low: number, high: number): Between {
  const [min, max] = [scoreBound(call, low), scoreBound(call, high)];
  return (_, score) =>
    (min.isOpen ? score > min.value : score >= min.value) && (max.isOpen ? score < max.value : score <= max.value);
}

function scoreBound({ args }: Call, index: number): { value: number; isOpen: boolean } {
  const text = args.latin1(index);
  const isOpen = text.startsWith("(");
  return { value: readDouble(isOpen ? text.slice(1) : text) ?? fail("ERR min or max is not a float"), isOpen };
}

/** "[a", "(a", "-", "+". @throws ReplyError */
export function lexRangeAt(call: Call, low: number, high: number): Between {
  const [min, max] = [lexBound(call, low), lexBound(call, high)];
  return (member) => min(member, -1) && max(member, 1);
}

/** @returns whether a member lies on a side of the bound: 1: before it; -1: behind it */
function lexBound({ args }: Call, index: number): (member: string, side: 1 | -1) => boolean {
  const text = textAt(args, index, "member");
  if (text === "-") return (_, side) => side === -1;
  if (text === "+") return (_, side) => side === 1;
  if (!/^[[(]/.test(text)) fail("ERR min or max not valid string range item");
  const value = text.slice(1);
  const isOpen = text.startsWith("(");
  return (member, side) => {
    const order = compareBytes(member, value);
    return order === 0 ? !isOpen : order < 0 === (side === 1);
  };
}

/** By UTF-8 bytes. @returns below 0: `a` is first */
function compareBytes(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const [left, right] = [a.charCodeAt(at), b.charCodeAt(at)];
    if (left !== right) return weight(left) - weight(right);
  }
  return a.length - b.length;
}

/** Halves of surrogate pairs stand for characters behind all others. */
function weight(unit: number): number {
  return unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit;
}
