/**
 * Side effects of modules, over all processes: blocked event loops, versions that stay in memory, shared
 * resources. Pure.
 */
import type {
  BlockedSnapshot,
  EmitterSnapshot,
  EventsSnapshot,
  SocketDropSnapshot,
  SubscriberSnapshot,
  LeakSnapshot,
  ProcessSnapshot,
  ServiceCallSnapshot,
  SharedSnapshot,
} from "./snapshot";
import { sumEach, sumOf } from "./sums";

/** The modules that blocked an event loop of any process. */
export function mergeBlocked(processes: readonly ProcessSnapshot[]): BlockedSnapshot[] {
  const byModule = Map.groupBy(
    processes.flatMap(({ blocked = [] }) => blocked),
    ({ module }) => module,
  );
  return [...byModule].map(([module, same]) => ({
    module,
    count: sumOf(same, ({ count }) => count),
    longestMs: Math.max(...same.map(({ longestMs }) => longestMs)),
    totalMs: sumOf(same, ({ totalMs }) => totalMs),
  }));
}

/** Each version once, however many processes have it in memory. The first process's facts count. */
export function mergeLeaked(processes: readonly ProcessSnapshot[]): LeakSnapshot[] {
  return firstOfEach(
    processes.flatMap(({ leaked = [] }) => leaked),
    ({ module, generation }) => `${module} v${generation}`,
  );
}

/** Each name once, although every process has its own resource of that name. */
export function mergeShared(processes: readonly ProcessSnapshot[]): SharedSnapshot[] {
  return firstOfEach(
    processes.flatMap(({ shared = [] }) => shared),
    ({ module, name }) => `${module ?? ""}\0${name}`,
  );
}

/** Each pair of caller and callee once, with the sums of all processes; the most frequent first. */
export function mergeServices(processes: readonly ProcessSnapshot[]): ServiceCallSnapshot[] {
  const byPair = Map.groupBy(
    processes.flatMap(({ services = [] }) => services),
    ({ caller, callee }) => `${caller}\0${callee}`,
  );
  const merged = [...byPair.values()].map((same) => {
    const { caller, callee } = same[0] as ServiceCallSnapshot;
    const sums = sumEach(same.map(({ calls, errors, totalSeconds }) => ({ calls, errors, totalSeconds })));
    return { caller, callee, ...sums };
  });
  return merged.sort((a, b) => b.calls - a.calls);
}

/** The sums of all processes, the most frequent first. */
export function mergeEvents(processes: readonly ProcessSnapshot[]): EventsSnapshot {
  const all = processes.flatMap(({ events }) => events ?? []);
  const emitters = Map.groupBy(
    all.flatMap((each) => each.emitters),
    ({ module }) => module,
  );
  const subscribers = Map.groupBy(
    all.flatMap((each) => each.subscribers),
    ({ module, topic }) => `${module}\0${topic}`,
  );
  return {
    missed: sumOf(all, ({ missed }) => missed),
    emitters: [...emitters]
      .map(([module, same]) => ({ module, emitted: sumOf(same, ({ emitted }) => emitted) }) satisfies EmitterSnapshot)
      .sort((a, b) => b.emitted - a.emitted),
    subscribers: [...subscribers.values()]
      .map((same) => {
        const { module, topic } = same[0] as SubscriberSnapshot;
        return { module, topic, ...sumEach(same.map(({ module: _module, topic: _topic, ...counts }) => counts)) };
      })
      .sort((a, b) => b.delivered - a.delivered),
  };
}

/** The sums of all processes, the most frequent first. */
export function mergeDrops(processes: readonly ProcessSnapshot[]): SocketDropSnapshot[] {
  const all = processes.flatMap(({ socketsDropped }) => socketsDropped ?? []);
  return [...Map.groupBy(all, ({ module, topic }) => `${module}\0${topic}`).values()]
    .map((same) => {
      const { module, topic } = same[0] as SocketDropSnapshot;
      const clients = same.flatMap((each) => each.clients);
      return { module, topic, dropped: sumOf(same, ({ dropped }) => dropped), clients };
    })
    .sort((a, b) => b.dropped - a.dropped);
}

function firstOfEach<T>(all: readonly T[], keyOf: (each: T) => string): T[] {
  const first = new Map<string, T>();
  for (const each of all) if (!first.has(keyOf(each))) first.set(keyOf(each), each);
  return [...first.values()];
}
