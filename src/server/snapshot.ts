/**
 * What this process knows about itself, as plain data for `observe/report.ts` and the processes beside it.
 */
import { readdirSync, statSync } from "node:fs";
import type { Pool } from "../host/pool";
import type { Generation } from "../module/generation";
import type { ModuleEntry } from "../module/module-set";
import type { Registry } from "../module/registry";
import type { BoundRoute } from "../module/route";
import type { GenerationSnapshot, ModuleSnapshot, ModuleState, ProcessSnapshot } from "../observe/snapshot";
import type { Dispatch } from "../protocol/wire";

export interface SnapshotSources {
  /** 0 for a server alone, 1 to N for one process of many. */
  readonly slot: number;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
  readonly dispatch: Dispatch;
  readonly admission: { readonly open: number; readonly accepted: number; readonly refused: number };
  readonly registry: Registry;
  readonly pool: Pool;
}

export function takeSnapshot({ slot, startedAtMs, dispatch, admission, registry, pool }: SnapshotSources): ProcessSnapshot {
  const { open, messages, httpRequests, errors } = dispatch.counters;
  const { user, system } = process.cpuUsage();
  const workers = pool.status;
  return {
    slot,
    pid: process.pid,
    startedAtMs,
    isDraining: dispatch.isDraining,
    connections: { open: admission.open, accepted: admission.accepted, refused: admission.refused, byProtocol: { ...open } },
    counters: { messages, httpRequests, errors },
    memoryBytes: process.memoryUsage.rss(),
    cpuSeconds: (user + system) / 1e6,
    openDescriptors: countDescriptors(),
    pool: { threads: pool.threads, busy: workers.filter(({ inFlight }) => inFlight > 0).length, queued: pool.queued, workers },
    modules: [...registry.entries.values()].map(moduleSnapshot),
    reloads: registry.totals.snapshot(),
  };
}

function moduleSnapshot(entry: ModuleEntry): ModuleSnapshot {
  const { live } = entry;
  const routes = live?.routes ?? entry.unavailable;
  return {
    name: entry.name,
    source: entry.source,
    state: stateOf(entry),
    live: live === null ? null : generationSnapshot(live),
    old: [...entry.old].map(generationSnapshot),
    gone: entry.gone.snapshot(),
    routes: routes.map(({ key, kind, run }: BoundRoute) => ({ key, kind, run })),
    error: entry.error,
  };
}

function stateOf({ live, unavailable, error }: ModuleEntry): ModuleState {
  if (live === null) return unavailable.length > 0 ? "unavailable" : "failed";
  return error === null ? "serving" : "degraded";
}

function generationSnapshot(generation: Generation): GenerationSnapshot {
  const { number, hash, loadedAt, inFlight, pinnedBy, figures } = generation;
  return { number, hash, loadedAt: loadedAt.toISOString(), inFlight, pinnedBy, figures: figures.snapshot() };
}

/** @returns 0 where there is no /proc */
function countDescriptors(): number {
  try {
    // Since Linux 6.2 the folder's size is their number; listing ten thousand of them would stop the loop for milliseconds.
    return statSync("/proc/self/fd").size || readdirSync("/proc/self/fd").length;
  } catch {
    return 0;
  }
}
