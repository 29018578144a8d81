/** The state of this process, as plain data for `observe/report.ts` and other processes. */
import type { Hosts } from "../host/hosts";
import type { QuarantineFacts } from "../host/quarantine";
import type { PlaceStatus } from "../host/remote/place";
import type { Watchdog } from "../host/watchdog/watchdog";
import type { Generation } from "../module/generation";
import type { EventBus } from "../hub/events/bus";
import { SocketHub } from "../protocol/websocket/hub";
import type { Schedule } from "../hub/schedule/schedule";
import type { CallTotals } from "../hub/totals";
import type { ModuleEntry } from "../reload/entry";
import type { Registry } from "../reload/registry";
import type { BoundRoute } from "../module/route";
import type {
  GenerationSnapshot,
  LifeSnapshot,
  ModuleSnapshot,
  ModuleState,
  ProcessSnapshot,
  StoreSnapshot,
  TaskSnapshot,
} from "../observe/snapshot";
import type { Dispatch } from "../protocol/wire";
import { countDescriptors } from "../system/descriptors";

interface SnapshotSources {
  /** 0 for a server alone, 1 to N for one process of many. */
  readonly slot: number;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
  readonly uptimeMs: number;
  readonly dispatch: Dispatch;
  readonly admission: { readonly open: number; readonly accepted: number; readonly refused: number };
  readonly registry: Registry;
  readonly hosts: Hosts;
  readonly services: CallTotals;
  readonly events: EventBus;
  readonly schedule: Pick<Schedule, "snapshot">;
  readonly store: StoreSnapshot;
  readonly watchdog: Watchdog;
  readonly isBackground: boolean;
}

export function takeSnapshot(sources: SnapshotSources): ProcessSnapshot {
  const { dispatch, admission, registry, hosts } = sources;
  const { open, messages, httpRequests, errors, datagramsDropped, datagramsIgnored } = dispatch.counters;
  const { accepted, refused } = admission;
  const { user, system } = process.cpuUsage();
  const { pool } = hosts;
  const workers = pool.places.map(({ index, facts: _facts, ...place }) => ({ worker: index, ...place }));
  return {
    slot: sources.slot,
    pid: process.pid,
    startedAtMs: sources.startedAtMs,
    uptimeMs: sources.uptimeMs,
    isDraining: dispatch.isDraining,
    isBackground: sources.isBackground,
    connections: { open: admission.open, accepted, refused, byProtocol: { ...open } },
    counters: { messages, httpRequests, errors, datagramsDropped, datagramsIgnored },
    memoryBytes: process.memoryUsage.rss(),
    cpuSeconds: (user + system) / 1e6,
    openDescriptors: countDescriptors(),
    pool: {
      threads: workers.length,
      busy: workers.filter(({ inFlight }) => inFlight > 0).length,
      queued: pool.queue.size,
      workers,
    },
    modules: [...registry.entries.values()].map((entry) => ({
      ...moduleSnapshot(entry, hosts, registry.lives.facts(entry.name)),
      ...tasksOf(sources.schedule.snapshot(entry.name)),
    })),
    services: sources.services.snapshot(),
    events: sources.events.snapshot(),
    store: sources.store,
    socketsDropped: SocketHub.of(dispatch).drops.snapshot(),
    reloads: registry.totals.snapshot(),
    blocked: sources.watchdog.snapshot(),
    leaked: registry.leaks(),
    shared: registry.shared.snapshot(),
  };
}

function tasksOf(tasks: readonly TaskSnapshot[]): Pick<ModuleSnapshot, "tasks"> {
  return tasks.length === 0 ? {} : { tasks };
}

const NOT_SERVING = { quarantine: null, process: null };

function moduleSnapshot(entry: ModuleEntry, hosts: Hosts, life: LifeSnapshot | null): ModuleSnapshot {
  const { live } = entry;
  const { quarantine, process } = live === null ? NOT_SERVING : hosts.status(live.id);
  const routes = live?.routes ?? entry.unavailable;
  return {
    name: entry.name,
    source: entry.source,
    state: quarantine === null ? stateOf(entry, life) : "quarantined",
    live: live === null ? null : generationSnapshot(live),
    old: [...entry.old].map(generationSnapshot),
    ...(entry.former === null ? null : { former: formerSnapshot(entry.former) }),
    gone: entry.gone.snapshot(),
    routes: routes.map(({ key, kind, run }: BoundRoute) => ({ key, kind, run })),
    error: entry.error,
    process: process === null ? null : processSnapshot(process),
    quarantine: quarantine === null ? null : quarantineSnapshot(quarantine),
    ...(life === null ? null : { life }),
  };
}

function processSnapshot({ facts, restarts, state }: PlaceStatus): ModuleSnapshot["process"] {
  return { pid: facts?.pid ?? 0, memoryBytes: facts?.memoryBytes ?? 0, restarts, state };
}

function quarantineSnapshot({ reason, nextTryAtMs }: QuarantineFacts): ModuleSnapshot["quarantine"] {
  return { reason, nextTryAt: nextTryAtMs === null ? null : new Date(nextTryAtMs).toISOString() };
}

type Former = NonNullable<ModuleEntry["former"]>;

function formerSnapshot({ number, figures }: Former): NonNullable<ModuleSnapshot["former"]> {
  const { calls, errors } = figures.snapshot();
  return { number, calls, errors };
}

function stateOf({ live, unavailable, error }: ModuleEntry, life: LifeSnapshot | null): ModuleState {
  if (live === null) return unavailable.length > 0 ? "unavailable" : "failed";
  return error === null && life?.state !== "failed" ? "serving" : "degraded";
}

function generationSnapshot(generation: Generation): GenerationSnapshot {
  const { number, hash, loadedAt, inFlight, pinnedBy, figures } = generation;
  return { number, hash, loadedAt: loadedAt.toISOString(), inFlight, pinnedBy, figures: figures.snapshot() };
}
