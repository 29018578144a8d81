/**
 * What modules do beside answering, over all processes: who blocks the event loop, which versions stay in memory, what
 * is kept open. Pure.
 */
import type { Exposition } from "./exposition";
import type { BlockedSnapshot, LeakSnapshot, ProcessSnapshot, SharedSnapshot } from "./snapshot";

/** Who blocked the event loop of some process, by module. */
export function mergeBlocked(processes: readonly ProcessSnapshot[]): BlockedSnapshot[] {
  const byModule = Map.groupBy(
    processes.flatMap(({ blocked = [] }) => blocked),
    ({ module }) => module,
  );
  return [...byModule].map(([module, same]) => ({
    module,
    count: same.reduce((sum, { count }) => sum + count, 0),
    longestMs: Math.max(...same.map(({ longestMs }) => longestMs)),
    totalMs: same.reduce((sum, { totalMs }) => sum + totalMs, 0),
  }));
}

/** Each version once, however many processes have it in memory: as the first of them tells it. */
export function mergeLeaked(processes: readonly ProcessSnapshot[]): LeakSnapshot[] {
  return firstOfEach(
    processes.flatMap(({ leaked = [] }) => leaked),
    ({ module, generation }) => `${module} v${generation}`,
  );
}

/** Each name once. Every process has its own of it. */
export function mergeShared(processes: readonly ProcessSnapshot[]): SharedSnapshot[] {
  return firstOfEach(
    processes.flatMap(({ shared = [] }) => shared),
    ({ module, name }) => `${module ?? ""}\0${name}`,
  );
}

/** Of the processes that there are: one that is replaced begins anew. */
export function writeBlocked(out: Exposition, inSlots: Iterable<ProcessSnapshot>): void {
  const name = "hrmr_event_loop_blocked_seconds_total";
  out.begin(name, "counter", "Time that the event loop stood still for longer than timeouts.blockedMs.");
  for (const { slot, blocked = [] } of inSlots) {
    for (const { module, totalMs } of blocked) out.sample(name, { module: module ?? "", slot }, totalMs / 1000);
  }
}

function firstOfEach<T>(all: readonly T[], keyOf: (each: T) => string): T[] {
  const first = new Map<string, T>();
  for (const each of all) if (!first.has(keyOf(each))) first.set(keyOf(each), each);
  return [...first.values()];
}
