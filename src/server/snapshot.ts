/**
 * What this process knows about itself, as plain data for `observe/report.ts` and the processes beside it.
 */
import type { Hosts } from "../host/host";
import type { ProcessStatus } from "../host/process/processes";
import type { QuarantineFacts } from "../host/quarantine";
import type { Watchdog } from "../host/watchdog/watchdog";
import type { Generation } from "../module/generation";
import type { ModuleEntry } from "../reload/entry";
import type { Registry } from "../reload/registry";
import type { BoundRoute } from "../module/route";
import type { GenerationSnapshot, ModuleSnapshot, ModuleState, ProcessSnapshot } from "../observe/snapshot";
import type { Dispatch } from "../protocol/wire";
import { countDescriptors } from "../system/descriptors";

export interface SnapshotSources {
  /** 0 for a server alone, 1 to N for one process of many. */
  readonly slot: number;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
  readonly uptimeMs: number;
  readonly dispatch: Dispatch;
  readonly admission: { readonly open: number; readonly accepted: number; readonly refused: number };
  readonly registry: Registry;
  readonly hosts: Hosts;
  readonly watchdog: Watchdog;
}

export function takeSnapshot({
  slot,
  startedAtMs,
  uptimeMs,
  dispatch,
  admission,
  registry,
  hosts,
  watchdog,
}: SnapshotSources): ProcessSnapshot {
  const { open, messages, httpRequests, errors, datagramsDropped, datagramsIgnored } = dispatch.counters;
  const { user, system } = process.cpuUsage();
  const { pool } = hosts;
  const workers = pool.status.map(({ facts: _facts, ...worker }) => worker);
  return {
    slot,
    pid: process.pid,
    startedAtMs,
    uptimeMs,
    isDraining: dispatch.isDraining,
    connections: {
      open: admission.open,
      accepted: admission.accepted,
      refused: admission.refused,
      byProtocol: { ...open },
    },
    counters: { messages, httpRequests, errors, datagramsDropped, datagramsIgnored },
    memoryBytes: process.memoryUsage.rss(),
    cpuSeconds: (user + system) / 1e6,
    openDescriptors: countDescriptors(),
    pool: {
      threads: pool.threads,
      busy: workers.filter(({ inFlight }) => inFlight > 0).length,
      queued: pool.queued,
      workers,
    },
    modules: [...registry.entries.values()].map((entry) => moduleSnapshot(entry, hosts)),
    reloads: registry.totals.snapshot(),
    blocked: watchdog.snapshot(),
    leaked: registry.leaks(),
    shared: registry.shared.snapshot(),
  };
}

function moduleSnapshot(entry: ModuleEntry, hosts: Hosts): ModuleSnapshot {
  const { live } = entry;
  const quarantine = live === null ? null : hosts.quarantineOf(live.id);
  const routes = live?.routes ?? entry.unavailable;
  return {
    name: entry.name,
    source: entry.source,
    state: quarantine === null ? stateOf(entry) : "quarantined",
    live: live === null ? null : generationSnapshot(live),
    old: [...entry.old].map(generationSnapshot),
    ...(entry.former === null ? null : { former: formerSnapshot(entry.former) }),
    gone: entry.gone.snapshot(),
    routes: routes.map(({ key, kind, run }: BoundRoute) => ({ key, kind, run })),
    error: entry.error,
    process: live === null ? null : processSnapshot(hosts.processOf(live.id)),
    quarantine: quarantine === null ? null : quarantineSnapshot(quarantine),
  };
}

function processSnapshot(status: ProcessStatus | null): ModuleSnapshot["process"] {
  if (status === null) return null;
  const { pid, memoryBytes, restarts, state } = status;
  return { pid, memoryBytes, restarts, state };
}

function quarantineSnapshot({ reason, nextTryAtMs }: QuarantineFacts): ModuleSnapshot["quarantine"] {
  return { reason, nextTryAt: nextTryAtMs === null ? null : new Date(nextTryAtMs).toISOString() };
}

function formerSnapshot({
  number,
  figures,
}: NonNullable<ModuleEntry["former"]>): NonNullable<ModuleSnapshot["former"]> {
  const { calls, errors } = figures.snapshot();
  return { number, calls, errors };
}

function stateOf({ live, unavailable, error }: ModuleEntry): ModuleState {
  if (live === null) return unavailable.length > 0 ? "unavailable" : "failed";
  return error === null ? "serving" : "degraded";
}

function generationSnapshot(generation: Generation): GenerationSnapshot {
  const { number, hash, loadedAt, inFlight, pinnedBy, figures } = generation;
  return { number, hash, loadedAt: loadedAt.toISOString(), inFlight, pinnedBy, figures: figures.snapshot() };
}
