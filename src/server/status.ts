/**
 * What STATUS and HELP tell.
 */
import type { ModuleEntry } from "../module/module-set";
import type { Registry } from "../module/registry";
import type { BoundRoute } from "../module/route";
import type { Dispatch } from "../protocol/wire";
import { escapeBytes } from "../router/escape";

export interface StatusSources {
  readonly version: string;
  readonly startedAt: number;
  readonly listening: readonly string[];
  readonly openConnections: number;
  readonly dispatch: Dispatch;
  readonly registry: Registry;
  readonly pool: { readonly threads: number; readonly queued: number; readonly status: unknown[] };
}

/** @returns STATUS's answer: JSON, one object, indented, with a line end */
export function statusText(sources: StatusSources): string {
  const { registry, dispatch, pool } = sources;
  const last = registry.lastVerdict;
  const status = {
    version: sources.version,
    pid: process.pid,
    uptimeSeconds: Math.floor((performance.now() - sources.startedAt) / 1000),
    isDraining: dispatch.isDraining,
    listening: sources.listening,
    openConnections: sources.openConnections,
    ...dispatch.counters,
    memoryBytes: process.memoryUsage.rss(),
    pool: { threads: pool.threads, queued: pool.queued, workers: pool.status },
    modules: [...registry.entries.values()].map(moduleStatus),
    lastReload:
      last === null
        ? null
        : {
            at: last.at.toISOString(),
            ok: last.verdict.ok,
            elapsedMs: Math.round(last.verdict.elapsedMs * 10) / 10,
            dropped: last.verdict.dropped,
          },
  };
  return `${JSON.stringify(status, null, 2)}\n`;
}

function moduleStatus(entry: ModuleEntry): object {
  const { live } = entry;
  return {
    name: entry.name,
    source: entry.source,
    state:
      live === null
        ? entry.unavailable.length > 0
          ? "unavailable"
          : "failed"
        : entry.error === null
          ? "serving"
          : "serving, newest version failed",
    generation: live?.number ?? null,
    hash: live?.hash ?? null,
    loadedAt: live?.loadedAt.toISOString() ?? null,
    routes: live?.routes.map((route) => route.key) ?? [],
    inFlight: live?.inFlight ?? 0,
    draining: [...entry.old].map((old) => ({ generation: old.number, inFlight: old.inFlight })),
    error: entry.error,
  };
}

/** @returns HELP's answer: a line a route, with its module and description */
export function helpText(dispatch: Dispatch): string {
  // Commands that are off have no description, and are none of the client's business.
  const entries = dispatch.table.entries.filter(({ value }) => value.kind !== "command" || value.description !== "");
  const rows = entries.map(({ value }) => [shownKey(value), value.module, value.description]);
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  const lines = rows.map(([key, module, text]) =>
    `${(key as string).padEnd(widths[0] as number)}  ${(module as string).padEnd(widths[1] as number)}  ${text}`.trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

function shownKey(route: BoundRoute): string {
  return `"${escapeBytes(Buffer.from(route.key), 64)}"`;
}
