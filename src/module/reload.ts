/**
 * One reload from start to end: build, load everywhere, check the routes, set up, swap, retire. Nothing that serves is
 * touched before the swap, which is one assignment; what fails on the way leaves its old version in place.
 */
import { existsSync } from "node:fs";
import { authorStack } from "./author-stack";
import { buildModule, pruneBundles } from "./build";
import { describeError, ModuleError, wholeFileError } from "./describe-error";
import { discoverModules, type ModuleFile } from "./discover";
import { Generation } from "./generation";
import { hasChanged } from "./inputs";
import { loadModule } from "./load";
import type { ModuleEntry, ModuleSet, PlannedModule } from "./module-set";
import type { ModuleVerdict, Outcome, Verdict } from "./verdict";

/** A version on its way in. */
interface Candidate {
  readonly entry: ModuleEntry;
  readonly generation: Generation;
  isStarted: boolean;
  readonly notes: string[];
}

/** `text`: cause, place and code frame. */
interface Failure {
  readonly text: string;
  readonly isConflict: boolean;
}

interface Run {
  readonly registry: ModuleSet;
  readonly candidates: Map<string, Candidate>;
  readonly failures: Map<string, Failure>;
  readonly removed: ModuleEntry[];
  /** What the modules share, they look at once. */
  readonly seen: Map<string, string>;
}

/** @param names only these modules; null: all that there are */
export async function runReload(registry: ModuleSet, names: Set<string> | null): Promise<Verdict> {
  const startedAt = performance.now();
  const cutBefore = registry.cutCount;
  const run: Run = { registry, candidates: new Map(), failures: new Map(), removed: [], seen: new Map() };
  const before = new Map([...registry.entries].map(([name, entry]) => [name, entry.live?.number ?? null]));
  const files = await findFiles(registry);
  noteRemoved(run, files, names);
  for (const file of files) if (names === null || names.has(file.name)) await prepare(run, file);
  for (const name of names ?? []) {
    if (!registry.entries.has(name) && !run.failures.has(name)) run.failures.set(name, failure(`there is no module "${name}"`));
  }
  refuseConflicts(run);
  // A copy: an exclusive start takes its candidate out and puts it in again.
  for (const candidate of Array.from(run.candidates.values())) await start(run, candidate);
  refuseConflicts(run);
  commit(run);
  const modules = await settle(run, before, names);
  return {
    ok: run.failures.size === 0,
    modules,
    elapsedMs: performance.now() - startedAt,
    dropped: registry.cutCount - cutBefore,
  };
}

type FoundModule = ModuleFile & { isImplicit: boolean };

async function findFiles({ options }: ModuleSet): Promise<FoundModule[]> {
  const own = isAwaited(options) ? [] : await discoverModules(options.modulesDir);
  options.mayLackModulesDir &&= own.length === 0;
  const isOn = (name: string) => options.settings[name]?.enabled !== false;
  const found: FoundModule[] = own.filter(({ name }) => isOn(name)).map((file) => ({ ...file, isImplicit: false }));
  const names = new Set(own.map((file) => file.name));
  return [...found, ...options.shipped.filter(({ name }) => isOn(name) && !names.has(name))];
}

/** The default folder may come later (`hrmr init .`); once it was there, its absence is a mistake and unloads nothing. */
function isAwaited({ modulesDir, mayLackModulesDir }: ModuleSet["options"]): boolean {
  return mayLackModulesDir && !existsSync(modulesDir);
}

function noteRemoved({ registry, removed, failures }: Run, files: FoundModule[], names: Set<string> | null): void {
  const there = new Set(files.map((file) => file.name));
  for (const [name, entry] of registry.entries) {
    if (there.has(name) || (names !== null && !names.has(name))) continue;
    // Taking a guard away by deleting its file would open every door.
    if (isUsed(registry, name))
      failures.set(name, failure(`its file is gone, and http.use names it. Put it back, or take it out of http.use and start again.`));
    else removed.push(entry);
  }
  for (const name of registry.options.use ?? []) {
    if (!there.has(name) && !registry.entries.has(name)) failures.set(name, failure("there is no such module, and http.use names it"));
  }
}

function isUsed({ options }: ModuleSet, name: string): boolean {
  return options.use?.includes(name) === true;
}

/** Build and first load. Leaves a candidate, a failure, or nothing if the module is the same as before. */
async function prepare(run: Run, file: FoundModule): Promise<void> {
  const { registry } = run;
  const entry = entryFor(registry, file);
  const isLive = entry.live !== null && entry.error === null && entry.source === file.file;
  try {
    if (isLive && entry.built !== null && !hasChanged(entry.built.inputs, run.seen)) return;
    const external = registry.options.settings[file.name]?.external ?? [];
    const built = await buildModule(file, { stateDir: registry.options.stateDir, external });
    const isSame = entry.live !== null && entry.live.hash === built.hash && entry.source === file.file;
    entry.built = built;
    if (isSame) {
      // Back to what serves: a failed edit was undone.
      entry.error = null;
      return;
    }
    entry.source = file.file;
    const spec = {
      name: file.name,
      id: registry.nextId(),
      generation: entry.lastNumber + 1,
      hash: built.hash,
      file: built.file,
      source: file.file,
      config: registry.options.settings[file.name] ?? {},
      dataDir: `${registry.options.stateDir}/data/${file.name}`,
    };
    // What ships with hrmr is trusted to come back from its own loading.
    if (!file.isImplicit) await registry.options.probe.check(spec);
    const generation = await loadGeneration(registry, spec);
    if (isUsed(registry, file.name) && generation.middleware === null) {
      await generation.dispose();
      throw wholeFileError(
        file.name,
        file.file,
        "http.use names it, and it has no middleware. Write export const middleware = (request, context, next) => next()",
      );
    }
    run.candidates.set(file.name, { entry, generation, isStarted: false, notes: [] });
  } catch (error) {
    run.failures.set(file.name, failure(describeFailure(error)));
  }
}

function entryFor(registry: ModuleSet, file: FoundModule): ModuleEntry {
  const known = registry.entries.get(file.name);
  if (known !== undefined) {
    known.isImplicit = file.isImplicit;
    return known;
  }
  const entry: ModuleEntry = {
    name: file.name,
    source: file.file,
    isImplicit: file.isImplicit,
    live: null,
    unavailable: [],
    old: new Set(),
    built: null,
    error: null,
    lastNumber: 0,
  };
  registry.entries.set(file.name, entry);
  return entry;
}

async function loadGeneration({ options }: ModuleSet, spec: Generation["spec"]): Promise<Generation> {
  const log = options.log.withFields({ module: spec.name, generation: spec.generation });
  const module = await loadModule(spec, {
    globals: options.globals,
    publish: options.publish,
    host: "main",
    log,
    timeoutMs: options.loadMs,
    onError: (error, kind) => log.withFields({ error }).error(`${kind}: ${authorStack(error)}`),
  });
  return new Generation(spec, module);
}

/** Finds who claims what another has, and leaves it out; what stays in its place may clash in turn, so until none does. */
function refuseConflicts(run: Run): void {
  for (;;) {
    const plan = run.registry.options.plan(plannedModules(run));
    const refused = plan.conflicts.filter(({ module }) => run.candidates.has(module));
    if (refused.length === 0) return;
    for (const { module, text } of refused) {
      const candidate = run.candidates.get(module);
      if (candidate !== undefined) drop(run, candidate, { text, isConflict: true });
    }
  }
}

function drop(run: Run, candidate: Candidate, reason: Failure): void {
  const { generation, entry } = candidate;
  run.candidates.delete(entry.name);
  run.failures.set(entry.name, reason);
  void generation.dispose();
  if (candidate.isStarted && generation.needsPool) void run.registry.options.host.retire(generation.id);
}

/** What would serve if the reload ended now: those that serve already first, so that a newcomer is the one refused. */
function plannedModules({ registry, candidates, removed }: Run): PlannedModule[] {
  const planned = [...registry.entries.values()]
    .filter((entry) => !removed.includes(entry))
    .map((entry) => {
      const candidate = candidates.get(entry.name);
      const routes = candidate?.generation.routes ?? entry.live?.routes ?? entry.unavailable;
      const source = candidate?.generation.spec.source ?? entry.live?.spec.source ?? entry.source;
      const middleware = candidate?.generation.middleware ?? entry.live?.middleware ?? null;
      const rank = entry.isImplicit ? 2 : candidate === undefined ? 0 : 1;
      return { name: entry.name, source, isImplicit: entry.isImplicit, routes, middleware, rank };
    });
  return planned.sort((a, b) => a.rank - b.rank);
}

/** setup and check, in this thread and then on the pool. */
async function start(run: Run, candidate: Candidate): Promise<void> {
  const { entry, generation } = candidate;
  await run.registry.makeRoom(entry);
  const previous = entry.live;
  try {
    if (generation.reload === "exclusive" && previous !== null) await startExclusive(run, candidate, previous);
    else await startBeside(run, candidate, previous);
    candidate.isStarted = true;
  } catch (error) {
    drop(run, candidate, failure(describeFailure(error)));
  }
}

async function startBeside({ registry }: Run, candidate: Candidate, previous: Generation | null): Promise<void> {
  const { generation, notes } = candidate;
  if (generation.needsMain) await generation.start(await handoffOf(previous, notes));
  if (generation.needsPool) {
    const previousId = previous?.needsPool ? previous.id : null;
    notes.push(...(await registry.options.host.prepare(generation.spec, previousId)).notes);
  }
}

/** The old version is gone before the new one's setup; whoever asks meanwhile gets a 503. If the new one fails, the old one comes back. */
async function startExclusive(run: Run, candidate: Candidate, previous: Generation): Promise<void> {
  const { registry } = run;
  const { entry, generation, notes } = candidate;
  entry.live = null;
  entry.unavailable = previous.unavailableRoutes();
  run.candidates.delete(entry.name);
  registry.options.plan(plannedModules({ ...run, candidates: new Map(), removed: [] })).commit();
  const handoff = previous.needsMain ? await handoffOf(previous, notes) : undefined;
  await registry.retire(entry, previous);
  run.candidates.set(entry.name, candidate);
  try {
    if (generation.needsMain) await generation.start(handoff);
    if (generation.needsPool) await registry.options.host.prepare(generation.spec, null);
    entry.unavailable = [];
  } catch (error) {
    await bringBack(run, entry, previous, handoff);
    throw error;
  }
}

async function bringBack({ registry }: Run, entry: ModuleEntry, previous: Generation, handoff: unknown): Promise<void> {
  const spec = { ...previous.spec, id: registry.nextId() };
  try {
    const again = await loadGeneration(registry, spec);
    if (again.needsMain) await again.start(handoff);
    if (again.needsPool) await registry.options.host.prepare(spec, null);
    entry.live = again;
    entry.unavailable = [];
  } catch (error) {
    const log = registry.options.log.withFields({ module: entry.name, generation: previous.number, error });
    log.error(`could not be put back and answers 503: ${describeFailure(error)}`);
  }
}

async function handoffOf(previous: Generation | null, notes: string[]): Promise<unknown> {
  if (previous === null || !previous.needsMain) return undefined;
  const handed = await previous.handoff();
  if (handed === null) return undefined;
  if ("data" in handed) return handed.data;
  notes.push(`its state was not handed over: ${handed.error}`);
  return undefined;
}

/** The swap: the next table in one assignment, then the bookkeeping. Synchronous, so that no message falls between. */
function commit(run: Run): void {
  const { registry, candidates, removed, failures } = run;
  registry.options.plan(plannedModules(run)).commit();
  for (const entry of removed) {
    registry.entries.delete(entry.name);
    if (entry.live !== null) void registry.retire(entry, entry.live);
    entry.live = null;
  }
  for (const [name, { entry, generation }] of candidates) {
    const previous = entry.live;
    entry.live = generation;
    entry.unavailable = [];
    entry.lastNumber = generation.number;
    entry.error = null;
    if (previous !== null) void registry.retire(entry, previous);
    failures.delete(name);
  }
  for (const [name, { text }] of failures) {
    const entry = registry.entries.get(name);
    if (entry !== undefined) entry.error = text;
  }
}

async function settle(run: Run, before: Map<string, number | null>, names: Set<string> | null): Promise<ModuleVerdict[]> {
  const { registry, candidates, failures, removed } = run;
  // One turn of the loop lets a version that had nothing under way be freed, so that the verdict can say so.
  await new Promise((resolve) => setImmediate(resolve));
  const verdicts: ModuleVerdict[] = removed.map((entry) => verdictOf(entry, "unloaded", before.get(entry.name) ?? null, oldNotes(entry)));
  for (const [name, entry] of registry.entries) {
    const failed = failures.get(name);
    const candidate = candidates.get(name);
    const previous = before.get(name) ?? null;
    if (failed !== undefined)
      verdicts.push({ ...verdictOf(entry, "failed", previous, []), error: failed.text, isConflict: failed.isConflict });
    else if (candidate !== undefined) {
      const outcome = previous === null ? "loaded" : "swapped";
      verdicts.push(verdictOf(entry, outcome, previous, [...candidate.notes, ...oldNotes(entry)]));
      const keep = [...entry.old, ...(entry.live === null ? [] : [entry.live])].map((generation) => generation.hash);
      void pruneBundles(registry.options.stateDir, name, new Set(keep)).catch((cause: Error) => registry.options.log.warn(cause.message));
    } else if (names === null || names.has(name)) verdicts.push(verdictOf(entry, "unchanged", previous, []));
  }
  for (const [name, { text }] of failures) {
    if (registry.entries.has(name)) continue;
    verdicts.push({
      name,
      outcome: "failed",
      version: null,
      previous: null,
      servingSince: null,
      notes: [],
      error: text,
      isKnown: false,
      isConflict: false,
    });
  }
  return verdicts;
}

function verdictOf(entry: ModuleEntry, outcome: Outcome, previous: number | null, notes: string[]): ModuleVerdict {
  const { live } = entry;
  return {
    name: entry.name,
    outcome,
    version: live?.number ?? null,
    previous,
    servingSince: live?.loadedAt ?? null,
    notes,
    error: null,
    isKnown: true,
    isConflict: false,
  };
}

function failure(text: string): Failure {
  return { text, isConflict: false };
}

function oldNotes(entry: ModuleEntry): string[] {
  const notes: string[] = [];
  for (const old of entry.old) if (old.inFlight > 0) notes.push(`v${old.number} drains, ${old.inFlight} under way`);
  return notes;
}

function describeFailure(error: unknown): string {
  if (error instanceof ModuleError || !(error instanceof Error)) return describeError(error);
  return "hint" in error && typeof error.hint === "string" ? `${error.message}\n${error.hint}` : describeError(error);
}
