/**
 * The second half of bringing a version up: setup and check, in this thread and then on the pool and in its process.
 * Also drops a version that is left out, and restores the one before it if that had to go first.
 */
import { describeFailure } from "./verdict/failure-text";
import { nearest } from "../config/nearest";
import { loadGeneration } from "./prepare";
import type { Generation } from "../module/generation";
import { inOrderOfNeeds, unmetNeeds } from "./life/needs";
import type { ModuleSet } from "./module-set";
import { type Candidate, type Failure, failure, planOf, serveWithout, type Run } from "./state";

/** Starts the candidates, one after another; those that fail are left out. */
export async function startAll(run: Run): Promise<void> {
  const candidates = [...run.candidates.values()];
  // An exclusive module answers 503 from its start to the swap. It starts last, so that other starts do not prolong
  // that.
  candidates.sort((a, b) => Number(takesOver(a)) - Number(takesOver(b)));
  for (const { name } of inOrderOfNeeds(candidates.map(({ generation }) => generation))) {
    // One that it needs may have failed meanwhile.
    await refuseUnmet(run);
    const candidate = run.candidates.get(name);
    if (candidate !== undefined) await start(run, candidate);
  }
}

function takesOver({ entry, generation }: Candidate): boolean {
  return generation.reload === "exclusive" && entry.live !== null;
}

async function start(run: Run, candidate: Candidate): Promise<void> {
  const { entry } = candidate;
  await run.registry.makeRoom(entry);
  const previous = entry.live;
  try {
    if (previous !== null && takesOver(candidate)) await startExclusive(run, candidate, previous);
    else await startBeside(run, candidate, previous);
  } catch (error) {
    await drop(run, candidate, failure(describeFailure(error)));
  }
}

async function startBeside({ registry }: Run, candidate: Candidate, previous: Generation | null): Promise<void> {
  const { generation, notes } = candidate;
  await prepareStore(registry, candidate);
  if (generation.needsMain) await generation.start(await handoffOf(previous, notes));
  if (generation.needsHost) await prepareInHost(registry, candidate, previous);
}

/**
 * The old version is disposed before the new one's setup. Clients get a 503 meanwhile. If the new one is dropped, the
 * old one comes back.
 */
async function startExclusive(run: Run, candidate: Candidate, previous: Generation): Promise<void> {
  const { registry } = run;
  const { entry, generation, notes } = candidate;
  // Clients wait from here on, so that it is done before.
  await prepareStore(registry, candidate);
  entry.live = null;
  entry.unavailable = previous.unavailableRoutes();
  entry.hadProcedures = previous.hasProcedures;
  entry.hadTools = previous.hasTools;
  serveWithout(run);
  registry.options.events?.follow(registry.entries.values());
  registry.options.store?.follow(registry.entries.values());
  const handoff = previous.needsMain ? await handoffOf(previous, notes) : undefined;
  candidate.replaced = { generation: previous, handoff };
  registry.lives.leave(new Map([[previous, "replaced"]]));
  if (previous.needsHost) await registry.options.host.handOver?.(previous.id);
  await registry.retire(entry, previous);
  if (generation.needsMain) await generation.start(handoff);
  if (generation.needsHost) await prepareInHost(registry, candidate, previous);
}

/** Its indexes and migrations, while the version before it serves. */
async function prepareStore({ options }: ModuleSet, { generation, notes, migrated }: Candidate): Promise<void> {
  const { name: module, number } = generation;
  await options.store?.declare(generation);
  await generation.migrate((name) => {
    migrated.push(name);
    notes.push(`its migration "${name}" has run`);
    options.log.withFields({ module, generation: number }).info(`the migration "${name}" has run`);
  });
}

/** If both run on another host, the state is handed over there. */
async function prepareInHost(
  { options }: ModuleSet,
  { generation, notes }: Candidate,
  previous: Generation | null,
): Promise<void> {
  const previousId = previous?.needsHost === true ? previous.id : null;
  notes.push(...(await options.host.prepare(generation.spec, previousId, generation)).notes);
}

async function handoffOf(previous: Generation | null, notes: string[]): Promise<unknown> {
  if (previous === null || !previous.needsMain) return undefined;
  const handed = await previous.handoff();
  if (handed === null) return undefined;
  if ("data" in handed) return handed.data;
  notes.push(`its state was not handed over: ${handed.error}`);
  return undefined;
}

// ---- the way back ----

/**
 * Drops candidates that claim the routes of another module, or need one that does not serve. The version that stays
 * instead may conflict in turn, so it repeats until nothing does.
 */
export async function refuseUnfit(run: Run): Promise<void> {
  for (;;) {
    await refuseUnmet(run);
    const refused = planOf(run).conflicts.filter(({ module }) => run.candidates.has(module));
    if (refused.length === 0) return;
    for (const { module, text } of refused) await dropNamed(run, module, failure(text, "conflict"));
  }
}

async function refuseUnmet(run: Run): Promise<void> {
  if (run.servesElsewhere) return;
  for (;;) {
    const unmet = [...unmetNeeds(needing(run))].filter(([name]) => run.candidates.has(name));
    if (unmet.length === 0) return;
    for (const [name, { text, missing }] of unmet)
      await dropNamed(run, name, { ...failure(text + hintAbout(run, name, missing)), lacks: missing });
  }
}

/** @param missing a module that does not serve; null: none @returns "" if it exists and is not switched off */
function hintAbout({ registry, files, wanted }: Run, name: string, missing: string | null): string {
  if (missing !== null && wanted.settings[missing]?.enabled === false) return `: modules.${missing}.enabled is false`;
  const known = [...registry.entries.keys(), ...files.map((file) => file.name)].filter((each) => each !== name);
  if (missing === null || known.includes(missing)) return "";
  const similar = nearest(missing, known);
  return similar === null ? ": there is no such module" : `: did you mean "${similar}"?`;
}

/** The modules that would serve if the reload ended now. */
function needing({ registry, candidates, removed }: Run): Generation[] {
  return [...registry.entries.values()].flatMap((entry) => {
    const next = candidates.get(entry.name)?.generation ?? entry.live;
    return next === null || removed.has(entry) ? [] : [next];
  });
}

async function dropNamed(run: Run, name: string, reason: Failure): Promise<void> {
  const candidate = run.candidates.get(name);
  if (candidate !== undefined) await drop(run, candidate, reason);
}

/** Ends a candidate. If it was exclusive, resolves when its predecessor serves again. Never rejects. */
export async function drop(run: Run, candidate: Candidate, reason: Failure): Promise<void> {
  run.candidates.delete(candidate.entry.name);
  run.failures.set(candidate.entry.name, withMigrated(run, candidate, reason));
  run.plan = null;
  const ended = end(run, candidate);
  if (candidate.replaced === null) return;
  // By then, resources that only one version may own are free again.
  await ended;
  await bringBack(run, candidate, candidate.replaced);
}

/** What the version has changed in the store stays, so that somebody must know it. */
function withMigrated({ registry }: Run, { entry, generation, migrated }: Candidate, reason: Failure): Failure {
  if (migrated.length === 0) return reason;
  const names = migrated.map((name) => JSON.stringify(name)).join(", ");
  const text = `The version is refused, and its migrations have run and stay: ${names}`;
  registry.options.log.withFields({ module: entry.name, generation: generation.number }).warn(text);
  return { ...reason, text: `${reason.text}\n${text}` };
}

async function end({ registry }: Run, { generation, entry }: Candidate): Promise<void> {
  try {
    registry.disposed(generation, await generation.dispose());
    if (generation.needsHost) await registry.options.host.retire(generation.id);
  } catch (error) {
    registry.options.log.warn(`${entry.name} v${generation.number}: ${describeFailure(error)}`);
  }
}

async function bringBack(run: Run, { entry }: Candidate, replaced: NonNullable<Candidate["replaced"]>): Promise<void> {
  const { registry } = run;
  const { generation: previous, handoff } = replaced;
  const spec = { ...previous.spec, id: registry.nextId() };
  try {
    const again = await loadGeneration(registry, spec);
    await registry.options.store?.declare(again);
    if (again.needsMain) await again.start(handoff);
    if (again.needsHost) await registry.options.host.prepare(spec, previous.needsHost ? previous.id : null, again);
    entry.live = again;
    entry.unavailable = [];
    run.plan = null;
    registry.options.events?.follow(registry.entries.values());
    registry.options.store?.follow(registry.entries.values());
    registry.lives.swapped(() => false);
  } catch (error) {
    const log = registry.options.log.withFields({ module: entry.name, generation: previous.number, error });
    log.error(`could not be put back and answers 503: ${describeFailure(error)}`);
  }
}

/** Gives the whole reload up: everything serves as before. */
export async function dropAll(run: Run, reason: string): Promise<void> {
  const candidates = [...run.candidates.values()];
  for (const candidate of candidates) await drop(run, candidate, failure(reason, "refused"));
  if (candidates.some(({ replaced }) => replaced !== null)) serveWithout(run);
}
