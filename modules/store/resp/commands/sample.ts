/** Random elements, as HRANDFIELD, SRANDMEMBER and ZRANDMEMBER choose them. */
import { fail } from "../errors";

/** A reply with more would be of no use, and cost the memory of all clients. */
const MAX_REPEATED = 1_000_000;

/** @param count  at most so many, each once; below 0: exactly so many, some of them repeatedly */
export function sample<T>(items: readonly T[], count: number): T[] {
  if (items.length === 0) return [];
  if (count < 0) {
    if (-count > MAX_REPEATED) fail("ERR value is out of range");
    return Array.from({ length: -count }, () => items[below(items.length)] as T);
  }
  const left = [...items];
  const chosen = Math.min(count, left.length);
  for (let at = 0; at < chosen; at++) {
    const other = at + below(left.length - at);
    [left[at], left[other]] = [left[other] as T, left[at] as T];
  }
  return left.slice(0, chosen);
}

export function below(limit: number): number {
  return Math.floor(Math.random() * limit);
}
