/** The state of a running reload: its findings, its candidates so far, and the routing if it ended now. */
import type { FoundModule, ModuleEntry } from "./entry";
import type { Generation } from "../module/generation";
import type { Hold } from "./versions/hold";
import { withWaiting } from "./life/needs";
import type { LoadSettings, ModuleSet } from "./module-set";
import { type PlannedModule, planRouting, type RoutePlan, serveRouting } from "./plan";
import { type FailureCode, noTimes, type Phase, type PhaseTimes } from "./verdict/verdict";
import type { ReloadOrder } from "./order";

/** A version that may be swapped in. */
export interface Candidate {
  readonly entry: ModuleEntry;
  readonly generation: Generation;
  /** For a started exclusive one: the version that was ended for it, and its handoff. */
  replaced: { readonly generation: Generation; readonly handoff: unknown } | null;
  /** The versions that the module holds back once this one serves; null: none. */
  readonly hold: Hold | null;
  readonly notes: string[];
  /** Migrations that it has run. They stay, whatever becomes of it. */
  readonly migrated: string[];
}

/** `text`: cause, position and code frame. */
export interface Failure {
  readonly code: FailureCode;
  readonly text: string;
  /** The module that it needs and that does not serve. Default: that is not the reason. */
  readonly lacks?: string | null;
}

export interface Run {
  readonly registry: ModuleSet;
  readonly order: ReloadOrder;
  /** Only these modules are reloaded; null: all. */
  readonly names: ReadonlySet<string> | null;
  /** The settings of the candidates, in force from the swap on. */
  readonly wanted: LoadSettings;
  /** Modules whose files would give a held-back version. */
  readonly heldBack: Set<string>;
  files: readonly FoundModule[];
  readonly candidates: Map<string, Candidate>;
  readonly failures: Map<string, Failure>;
  readonly removed: Set<ModuleEntry>;
  /** Modules whose start has failed and is tried again by this reload. */
  retriedStarts: readonly string[];
  /** The versions serve in other processes already: a need that is missing does not refuse them here. */
  readonly servesElsewhere: boolean;
  /** The last result of `planOf`; null: out of date. */
  plan: RoutePlan | null;
  /** For each removed module, sentences about its shared resources: which close, and which stay open. */
  readonly farewells: Map<string, string[]>;
  /** The versions that served, by module. */
  readonly before: ReadonlyMap<string, number | null>;
  /** Signatures of files that modules share, so that each is read once. */
  readonly seen: Map<string, string>;
  readonly startedMs: number;
  readonly cutBefore: number;
  readonly phases: PhaseTimes;
}

/** @param next the new settings; null: unchanged */
export function beginRun(registry: ModuleSet, order: ReloadOrder, next: LoadSettings | null): Run {
  return {
    registry,
    order,
    names: next !== null || order.names === null ? null : withWaiting(order.names, lackingOf(registry)),
    wanted: next ?? registry.current,
    heldBack: new Set(),
    files: [],
    candidates: new Map(),
    failures: new Map(),
    removed: new Set(),
    retriedStarts: [],
    servesElsewhere: false,
    plan: null,
    farewells: new Map(),
    before: new Map([...registry.entries].map(([name, entry]) => [name, entry.live?.number ?? null])),
    seen: new Map(),
    startedMs: performance.now(),
    cutBefore: registry.cutCount,
    phases: noTimes(),
  };
}

function lackingOf({ entries }: ModuleSet): Map<string, string> {
  return new Map([...entries.values()].flatMap(({ name, lacks }) => (lacks === null ? [] : [[name, lacks]])));
}

/** Whether the reload looks at the module of this name. */
export function isAsked({ names }: Run, name: string): boolean {
  return names === null || names.has(name);
}

export function isUsed({ wanted }: Run, name: string): boolean {
  return wanted.use?.includes(name) === true;
}

export function failure(text: string, code: FailureCode = "broken"): Failure {
  return { code, text };
}

/**
 * The routing if the reload ended now. It is planned once, and again after a candidate was dropped, which has to set
 * `run.plan` to null.
 */
export function planOf(run: Run): RoutePlan {
  const { registry, wanted } = run;
  run.plan ??= planRouting(registry.options.routing, plannedModules(run), wanted.use ?? []);
  return run.plan;
}

type Planned = Pick<Run, "registry" | "candidates" | "removed">;

/**
 * The modules that would serve if the reload ended now. Serving ones come first, so that a conflict refuses the
 * newcomer.
 */
export function plannedModules({ registry, candidates, removed }: Planned): PlannedModule[] {
  // By rank: modules that serve already, newcomers, and modules that are on only by default.
  const planned: [PlannedModule[], PlannedModule[], PlannedModule[]] = [[], [], []];
  for (const entry of registry.entries.values()) {
    if (removed.has(entry)) continue;
    const { name, isImplicit, live } = entry;
    const candidate = candidates.get(name);
    const next = candidate?.generation ?? live;
    const routes = next?.routes ?? entry.unavailable;
    const source = next?.spec.source ?? entry.source;
    const hasProcedures = next?.hasProcedures ?? entry.hadProcedures;
    const hasTools = next?.hasTools ?? entry.hadTools;
    const middleware = next?.middleware ?? null;
    const module = { name, source, isImplicit, routes, middleware, hasProcedures, hasTools };
    planned[isImplicit ? 2 : candidate === undefined ? 0 : 1].push(module);
  }
  return planned.flat();
}

/** Serves the routing without the reload, while a module has no version or after the reload is given up. */
export function serveWithout({ registry }: Run): void {
  const { options, current } = registry;
  const modules = plannedModules({ registry, candidates: new Map(), removed: new Set() });
  serveRouting(options.routing, planRouting(options.routing, modules, current.use ?? []));
}

/** Adds the time of `work` to the phase, even if it fails. */
export async function timed<T>({ phases }: Run, phase: Phase, work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  try {
    return await work();
  } finally {
    phases[phase] += performance.now() - startedMs;
  }
}
