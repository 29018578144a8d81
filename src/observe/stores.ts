/** The store of a server, over all processes. Pure. */
import { addCalls } from "./figures";
import type { ProcessSnapshot, StoreSnapshot, StoreState } from "./snapshot";
import { sumEach, sumOf } from "./sums";

/** From what is told last to what is told first. */
const STATES: readonly StoreState[] = ["unused", "opening", "open", "failing"];
const NONE: StoreSnapshot = {
  state: "unused",
  backend: "",
  url: "",
  durability: "",
  isLeading: false,
  size: null,
  counts: { commits: 0, conflicts: 0, transactions: 0, retries: 0, watchesLost: 0 },
  groups: addCalls([]),
  largestGroup: 0,
  waiting: 0,
  watches: 0,
  lastError: null,
};

/** All processes share one database, so that its size is that of the first process that tells it. */
export function mergeStores(processes: readonly ProcessSnapshot[]): StoreSnapshot {
  const all = processes.flatMap(({ store }) => store ?? []);
  const state = STATES[Math.max(0, ...all.map((each) => STATES.indexOf(each.state)))] ?? "unused";
  const { backend, url, durability } = all.find((each) => each.state === state) ?? NONE;
  const errors = all.flatMap(({ lastError }) => lastError ?? []);
  return {
    state,
    backend,
    url,
    durability,
    isLeading: all.some((each) => each.isLeading),
    size: all.find(({ size }) => size !== null)?.size ?? null,
    counts: sumEach([NONE.counts, ...all.map(({ counts }) => counts)]),
    groups: addCalls(all.map(({ groups }) => groups)),
    largestGroup: Math.max(0, ...all.map(({ largestGroup }) => largestGroup)),
    waiting: sumOf(all, ({ waiting }) => waiting),
    watches: sumOf(all, ({ watches }) => watches),
    lastError: errors.toSorted((a, b) => a.at.localeCompare(b.at)).at(-1) ?? null,
  };
}
