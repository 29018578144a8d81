/**
 * Combines the snapshots of all processes for an operator: the state of the whole server, and whether it is ready.
 * Pure.
 */
import { mergeBlocked, mergeLeaked, mergeDrops, mergeEvents, mergeServices, mergeShared } from "./conduct";
import { addCalls, callsOf, generationsOf, percentileMs } from "./figures";
import type {
  BlockedSnapshot,
  CallSnapshot,
  DepartedCounts,
  LifeSnapshot,
  ModuleProcessSnapshot,
  ModuleSnapshot,
  ModuleState,
  ModuleStatus,
  ProcessSnapshot,
  QuarantineSnapshot,
  Readiness,
  ReloadSnapshot,
  ServerInfo,
  ServerStatus,
  StoreStatus,
  TaskSnapshot,
} from "./snapshot";
import { mergeStores } from "./stores";
import { sumEach, sumOf } from "./sums";

/** From best to worst. The server's state of a module is the worst of its processes. */
const STATES: readonly ModuleState[] = ["serving", "degraded", "unavailable", "quarantined", "failed"];
/** From best to worst. */
const LIFE_STATES: readonly LifeSnapshot["state"][] = ["started", "stopping", "starting", "waiting", "failed"];
const NO_COUNTS = { messages: 0, httpRequests: 0, errors: 0, datagramsDropped: 0, datagramsIgnored: 0 };
/** How many characters of a failure's first line /ready shows. */
const MAX_REASON = 200;

/** @param processes those that answered, in order of their slots */
export function statusOf(info: ServerInfo, processes: readonly ProcessSnapshot[]): ServerStatus {
  const blocked = mergeBlocked(processes);
  const modules = mergeModules(processes, info.departed).map((module) => {
    return moduleStatus(module, blocked, own(info.versionNotes, module.name) ?? [], own(info.nextTries, module.name));
  });
  const { messages, httpRequests, errors, datagramsDropped, datagramsIgnored } = addCounters(info, processes);
  const isWhole = processes.length >= info.wantedProcesses && modules.every(({ state }) => state === "serving");
  return {
    version: info.version,
    pid: info.pid,
    state: isDraining(processes) ? "draining" : isWhole ? "serving" : "degraded",
    uptimeSeconds: wholeSeconds(info.uptimeMs),
    listening: info.listening,
    processes: processes.map((each) => ({
      slot: each.slot,
      pid: each.pid,
      uptimeSeconds: wholeSeconds(each.uptimeMs),
      connections: each.connections.open,
      requests: each.counters.messages + each.counters.httpRequests,
      memoryBytes: each.memoryBytes,
      isDraining: each.isDraining,
      isBackground: each.isBackground === true,
    })),
    wantedProcesses: info.wantedProcesses,
    restarts: info.restarts,
    ...(info.rollbacks === undefined ? null : { rollbacks: info.rollbacks }),
    connections: addConnections(info, processes),
    requests: messages + httpRequests,
    messages,
    httpRequests,
    errors,
    datagrams: { dropped: datagramsDropped, ignored: datagramsIgnored },
    memoryBytes: sumOf(processes, ({ memoryBytes }) => memoryBytes),
    pool: addPools(processes),
    modules,
    services: mergeServices(processes),
    events: mergeEvents(processes),
    store: storeStatus(processes),
    sockets: { dropped: mergeDrops(processes) },
    reloads: mergeReloads(processes),
    blocked,
    leaked: mergeLeaked(processes),
    shared: mergeShared(processes),
  };
}

function storeStatus(processes: readonly ProcessSnapshot[]): StoreStatus {
  const { counts, groups, isLeading: _, ...store } = mergeStores(processes);
  return {
    ...store,
    leadingPid: processes.find((each) => each.store?.isLeading)?.pid ?? null,
    ...counts,
    groups: groups.calls,
    errors: groups.errors,
    p50Ms: rounded(percentileMs(groups, 0.5)),
    p99Ms: rounded(percentileMs(groups, 0.99)),
  };
}

/** Looks up a name of a client or an author, which may be "constructor". */
function own<T>(record: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;
}

/** Modules that at least one process has no serving version of, each with the first line of the reason. */
export function failingModules(processes: readonly ProcessSnapshot[]): Map<string, string> {
  const failing = mergeModules(processes).filter(({ state }) => state === "failed");
  return new Map(failing.map(({ name, error }) => [name, (error ?? "").split("\n", 1)[0] ?? ""]));
}

/**
 * @param processes those that answered
 * @param nextTries the next try of each module that failed at the start, ISO 8601, by module
 */
export function readinessOf(
  processes: readonly ProcessSnapshot[],
  nextTries: Readonly<Record<string, string>> = {},
): Readiness {
  const merged = mergeModules(processes);
  const reasons = merged
    .filter(({ state }) => state !== "serving" && state !== "degraded")
    .map((module) => {
      const nextTryAt = own(nextTries, module.name);
      return nextTryAt === undefined ? reasonOf(module) : `${reasonOf(module)} (the next try is at ${nextTryAt})`;
    });
  if (processes.length === 0) reasons.unshift("no server process answers");
  else if (isDraining(processes)) reasons.unshift("draining");
  const modules = merged.map(({ name, state, live }) => {
    const nextTryAt = own(nextTries, name);
    return { name, state, generation: live?.number ?? null, ...(nextTryAt === undefined ? null : { nextTryAt }) };
  });
  const notes = merged.flatMap(({ name, life }) => (life?.state === "failed" ? [startFails(name, life)] : []));
  return { isReady: reasons.length === 0, reasons, ...(notes.length === 0 ? null : { notes }), modules };
}

/** One module over all processes. A value that is the same everywhere is the first process's. */
export interface MergedModule {
  readonly name: string;
  readonly source: string;
  readonly state: ModuleState;
  readonly live: ModuleSnapshot["live"];
  readonly old: ModuleSnapshot["old"];
  readonly gone: CallSnapshot;
  /** The sum over the processes whose `former` is the same version. */
  readonly former: ModuleSnapshot["former"] | null;
  readonly routes: ModuleSnapshot["routes"];
  readonly error: string | null;
  readonly processes: readonly ModuleProcessSnapshot[];
  readonly life: LifeSnapshot | undefined;
  readonly quarantine: QuarantineSnapshot | null;
  /** Of the background process. */
  readonly tasks: readonly TaskSnapshot[];
}

/**
 * @param departed calls to add to those of retired versions
 * @returns the modules of all processes, each once, in the order of the first process that has them
 */
export function mergeModules(processes: readonly ProcessSnapshot[], departed?: DepartedCounts): MergedModule[] {
  const byName = Map.groupBy(
    processes.flatMap(({ modules }) => modules),
    ({ name }) => name,
  );
  return [...byName.values()].map((same) => {
    const module = mergeModule(same);
    const calls = own(departed?.calls, module.name);
    return calls === undefined ? module : { ...module, gone: addCalls([module.gone, calls]) };
  });
}

function mergeModule(same: readonly ModuleSnapshot[]): MergedModule {
  const first = same[0] as ModuleSnapshot;
  // While a reload goes from process to process, the newest version is the one that will serve.
  const newest = Math.max(...same.map(({ live }) => live?.number ?? 0));
  const generations = mergeGenerations(same.flatMap(generationsOf));
  return {
    name: first.name,
    source: first.source,
    state: STATES[Math.max(...same.map(({ state }) => STATES.indexOf(state)))] ?? "failed",
    live: generations.find(({ number }) => number === newest) ?? null,
    old: generations.filter(({ number }) => number !== newest),
    gone: addCalls(same.map(({ gone }) => gone)),
    former: mergeFormer(same),
    routes: first.routes,
    error: same.find(({ error }) => error !== null)?.error ?? null,
    processes: same.flatMap((module) => module.process ?? []),
    life: worstLife(same.flatMap(({ life }) => life ?? [])),
    quarantine: same.find((module) => module.quarantine)?.quarantine ?? null,
    tasks: same.find(({ tasks }) => tasks !== undefined)?.tasks ?? [],
  };
}

function worstLife(lives: readonly LifeSnapshot[]): LifeSnapshot | undefined {
  const ranks = lives.map(({ state }) => LIFE_STATES.indexOf(state));
  return lives[ranks.indexOf(Math.max(...ranks))];
}

function mergeFormer(same: readonly ModuleSnapshot[]): MergedModule["former"] {
  const all = same.flatMap(({ former }) => (former === undefined ? [] : [former]));
  const number = Math.max(...all.map((each) => each.number));
  const alike = all.filter((each) => each.number === number);
  return all.length === 0
    ? null
    : { number, calls: sumOf(alike, ({ calls }) => calls), errors: sumOf(alike, ({ errors }) => errors) };
}

type Generations = ModuleSnapshot["old"];

/** Merges generations of the same number. Oldest first. */
function mergeGenerations(all: Generations): Generations {
  const byNumber = Map.groupBy(all, ({ number }) => number);
  return [...byNumber.values()]
    .map((same) => ({
      ...(same[0] as Generations[number]),
      inFlight: sumOf(same, ({ inFlight }) => inFlight),
      pinnedBy: sumEach(same.map(({ pinnedBy }) => pinnedBy)),
      figures: addCalls(same.map(({ figures }) => figures)),
    }))
    .sort((a, b) => a.number - b.number);
}

function moduleStatus(
  { live, old, gone, ...module }: MergedModule,
  blocked: readonly BlockedSnapshot[],
  notes: readonly string[],
  nextTryAt: string | undefined,
): ModuleStatus {
  const block = blocked.find((each) => each.module === module.name);
  const all = callsOf({ live, old, gone });
  return {
    name: module.name,
    source: module.source,
    state: module.state,
    generation: live?.number ?? null,
    hash: live?.hash ?? null,
    loadedAt: live?.loadedAt ?? null,
    routes: module.routes.map(({ key }) => key),
    inFlight: live?.inFlight ?? 0,
    blockedCount: block?.count ?? 0,
    longestBlockedMs: block?.longestMs ?? 0,
    calls: all.calls,
    errors: all.errors,
    p50Ms: live === null ? null : rounded(percentileMs(live.figures, 0.5)),
    p99Ms: live === null ? null : rounded(percentileMs(live.figures, 0.99)),
    old: old.map(({ number, inFlight, pinnedBy }) => ({ generation: number, inFlight, pinnedBy })),
    error: module.error,
    processes: module.processes,
    quarantine: module.quarantine,
    ...(module.life === undefined ? null : { life: module.life }),
    ...(nextTryAt === undefined ? null : { nextTryAt }),
    ...(notes.length === 0 ? null : { notes }),
    ...(module.tasks.length === 0 ? null : { tasks: module.tasks }),
  };
}

/** A reload runs in all processes. The process that has seen the most counts for all. */
export function mergeReloads(processes: readonly ProcessSnapshot[]): ReloadSnapshot {
  const none: ReloadSnapshot = { ok: 0, failed: 0, last: null, lastSuccessAt: null, phaseSeconds: {} };
  return processes
    .map(({ reloads }) => reloads)
    .reduce((most, each) => (each.ok + each.failed > most.ok + most.failed ? each : most), none);
}

export function addCounters(
  { departed }: ServerInfo,
  processes: readonly ProcessSnapshot[],
): ProcessSnapshot["counters"] {
  return sumEach([NO_COUNTS, ...processes.map(({ counters }) => counters), departed?.counters ?? NO_COUNTS]);
}

export function addConnections(
  { departed }: ServerInfo,
  processes: readonly ProcessSnapshot[],
): ProcessSnapshot["connections"] {
  const total = (name: "open" | "accepted" | "refused") => sumOf(processes, ({ connections }) => connections[name]);
  return {
    open: total("open"),
    accepted: total("accepted") + (departed?.accepted ?? 0),
    refused: total("refused") + (departed?.refused ?? 0),
    byProtocol: sumEach(processes.map(({ connections }) => connections.byProtocol)),
  };
}

export function addPools(processes: readonly ProcessSnapshot[]): ProcessSnapshot["pool"] {
  return {
    threads: sumOf(processes, ({ pool }) => pool.threads),
    busy: sumOf(processes, ({ pool }) => pool.busy),
    queued: sumOf(processes, ({ pool }) => pool.queued),
    workers: processes.flatMap(({ pool }) => pool.workers),
  };
}

/** A process that drains while others serve is being replaced: the server goes on. */
function isDraining(processes: readonly ProcessSnapshot[]): boolean {
  return processes.length > 0 && processes.every((each) => each.isDraining);
}

function reasonOf({ name, state, error, quarantine }: MergedModule): string {
  if (state === "quarantined")
    return `module "${name}" is in quarantine: ${(quarantine?.reason ?? "").slice(0, MAX_REASON)}`;
  const [first = ""] = (error ?? "").split("\n");
  if (state === "unavailable")
    return `module "${name}" is unavailable${first === "" ? "" : `: ${first.slice(0, MAX_REASON)}`}`;
  return `module "${name}" failed to load: ${first === "" ? "nothing of it serves" : first.slice(0, MAX_REASON)}`;
}

function startFails(name: string, { error, nextTryAt }: LifeSnapshot): string {
  const reason = (error ?? "").split("\n", 1)[0]?.slice(0, MAX_REASON);
  return `module "${name}" serves, but its start fails: ${reason} (the next try is at ${nextTryAt})`;
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000);
}

function rounded(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 1000) / 1000;
}
