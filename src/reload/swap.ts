/** The end of a reload: the swap, and the verdict. */
import { pruneBundles } from "../module/build/build";
import { holdText } from "./versions/hold";
import { approvedModule, type ModuleEntry } from "./entry";
import type { StopReason } from "../module/contract";
import type { Generation } from "../module/generation";
import { serveRouting } from "./plan";
import { isAsked, planOf, type Failure, type Run } from "./state";
import { takesHttpText } from "../module/route";
import type { ModuleVerdict, Outcome, Verdict } from "./verdict/verdict";

/** Swaps the routing in one assignment, then does the bookkeeping. Synchronous, so that no message comes in between. */
export function commit(run: Run): void {
  const { registry, candidates, removed, failures, wanted } = run;
  registry.lives.leave(leaving(run));
  serveRouting(registry.options.routing, planOf(run));
  registry.current = wanted;
  for (const entry of removed) {
    run.farewells.set(entry.name, farewellOf(run, entry));
    registry.entries.delete(entry.name);
    // If the file comes back, somebody wanted it: no hold remains.
    registry.remembered.set(entry.name, { ...approvedModule(entry), hold: null });
    if (entry.live !== null) void registry.retire(entry, entry.live);
    entry.live = null;
  }
  for (const [name, { entry, generation, replaced, hold }] of candidates) {
    const previous = entry.live;
    const former = previous ?? replaced?.generation ?? null;
    entry.live = generation;
    entry.hold = hold;
    entry.former = former === null ? null : { number: former.number, figures: former.figures };
    entry.unavailable = [];
    entry.lastNumber = generation.number;
    entry.error = null;
    entry.lacks = null;
    if (previous !== null) void registry.retire(entry, previous);
    failures.delete(name);
  }
  for (const [name, { text, lacks = null }] of failures) {
    const entry = registry.entries.get(name);
    if (entry !== undefined) Object.assign(entry, { error: text, lacks });
  }
  registry.options.events?.follow(registry.entries.values());
  registry.options.store?.follow(registry.entries.values());
  run.retriedStarts = registry.lives.swapped((name) => isAsked(run, name));
  registry.options.schedule?.swapped();
  registry.options.routing.tools.swapped();
}

/** The versions that this reload takes out of service. */
function leaving({ removed, candidates }: Run): Map<Generation, StopReason> {
  const gone = [...removed].map(({ live }) => [live, "removed"] as const);
  const replaced = [...candidates.values()].map(({ entry }) => [entry.live, "replaced"] as const);
  return new Map([...gone, ...replaced].flatMap(([live, reason]) => (live === null ? [] : [[live, reason]])));
}

function farewellOf({ registry, candidates }: Run, { name, live, old }: ModuleEntry): string[] {
  const left = [...registry.entries.values()].map((entry) => candidates.get(entry.name)?.generation ?? entry.live);
  const needing = left.filter((each) => each !== live && each?.needs.includes(name) === true);
  const { own, global } = registry.shared.openOf(name);
  const isBusy = old.size > 0 || (live?.inFlight ?? 0) > 0;
  const listed = (names: readonly string[]): string => names.map((each) => JSON.stringify(each)).join(", ");
  return [
    ...(own.length === 0
      ? []
      : [`context.shared ${listed(own)} ${isBusy ? "closes when its calls are done" : "is closed"}`]),
    ...(global.length === 0
      ? []
      : [`context.shared.global ${listed(global)} stays open, since other modules may use it`]),
    ...(needing.length === 0 ? [] : [`needed by ${needing.map((each) => each?.name).join(", ")}`]),
  ];
}

/**
 * Makes the verdict a turn of the loop after the swap: by then, a version without open work is freed. It waits a second
 * at most for the stops and starts of the modules that have changed, or whose start was tried again; their time does not count as the reload's.
 */
export async function settle(run: Run): Promise<Verdict> {
  await new Promise((resolve) => setImmediate(resolve));
  const elapsedMs = performance.now() - run.startedMs;
  const gone = [...run.removed].map(({ name }) => name);
  await run.registry.lives.settle([...run.candidates.keys(), ...gone, ...run.retriedStarts]);
  pruneAll(run);
  return {
    elapsedMs,
    ok: run.failures.size === 0,
    modules: verdicts(run),
    dropped: run.registry.cutCount - run.cutBefore,
    phases: run.phases,
    processes: 1,
  };
}

function verdicts(run: Run): ModuleVerdict[] {
  const { registry, candidates, failures, before, heldBack } = run;
  // A module that never served goes silently.
  const served = [...run.removed].filter(({ name }) => (before.get(name) ?? null) !== null);
  const gone = served.map((entry) => verdictOf(entry, "unloaded", run, run.farewells.get(entry.name) ?? []));
  const there = [...registry.entries].flatMap(([name, entry]) => {
    const failed = failures.get(name);
    if (failed !== undefined) return [failedVerdict(verdictOf(entry, "failed", run, []), failed)];
    const candidate = candidates.get(name);
    const notes = heldBack.has(name) && entry.hold !== null ? [holdText(name, entry.hold)] : [];
    if (candidate !== undefined) {
      const taken = takesHttpText(candidate.generation.routes);
      const said = [...candidate.notes, ...notes, ...(taken === "" ? [] : [taken]), ...lifeNotes(run, name)];
      return [verdictOf(entry, (before.get(name) ?? null) === null ? "loaded" : "swapped", run, said)];
    }
    const said = run.retriedStarts.includes(name) ? [...notes, ...lifeNotes(run, name)] : notes;
    return isAsked(run, name) ? [verdictOf(entry, "unchanged", run, said)] : [];
  });
  const unknown = [...failures]
    .filter(([name]) => !registry.entries.has(name))
    .map(([name, failed]) => unknownVerdict(name, failed));
  return [...gone, ...there, ...unknown];
}

/** What became of the start of a version that serves from here on. */
function lifeNotes({ registry }: Run, name: string): string[] {
  const life = registry.lives.facts(name);
  switch (life?.state) {
    case "failed":
      return [`its start is tried again: ${(life.error ?? "").split("\n", 1)[0]}`];
    case "starting":
      return ["its start is under way"];
    case "stopping":
      return ["the stop of the version before is under way"];
    case "waiting":
      return ["its start waits for the start of a module that it needs"];
    case "started":
    case undefined:
      return [];
  }
}

function verdictOf(
  entry: ModuleEntry,
  outcome: Outcome,
  { before, registry }: Run,
  notes: readonly string[],
): ModuleVerdict {
  const { live, name } = entry;
  const hasChanged = outcome !== "unchanged" && outcome !== "failed";
  return {
    name,
    outcome,
    version: live?.number ?? null,
    previous: before.get(name) ?? null,
    servingSince: live?.loadedAt ?? null,
    notes: [...notes, ...registry.takeLeftBehind(name)],
    draining: hasChanged ? drainingOf(entry) : [],
    error: null,
    code: null,
  };
}

function failedVerdict(verdict: ModuleVerdict, { text, code }: Failure): ModuleVerdict {
  return { ...verdict, error: text, code };
}

function unknownVerdict(name: string, { text, code }: Failure): ModuleVerdict {
  const nothing = { version: null, previous: null, servingSince: null, notes: [], draining: [] };
  return { name, outcome: "failed", ...nothing, error: text, code };
}

function drainingOf({ old }: ModuleEntry): ModuleVerdict["draining"] {
  return [...old].filter(({ inFlight }) => inFlight > 0).map(({ number, inFlight }) => ({ version: number, inFlight }));
}

/** In the background: nobody waits for it. */
function pruneAll({ registry: { options }, candidates }: Run): void {
  for (const [name, { entry }] of candidates) {
    const keep = [...entry.old, ...(entry.live === null ? [] : [entry.live])].map(({ hash }) => hash);
    void pruneBundles(options.stateDir, name, new Set(keep)).catch((cause: Error) => options.log.warn(cause.message));
  }
}
