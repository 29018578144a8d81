/** What a reload leaves out, and how the version before comes back where it had to go first. */
import { loadGeneration } from "./prepare";
import { type Candidate, describeFailure, type Failure, failure, planOf, serveWithout, type Run } from "./state";

/**
 * Finds who claims what another has, and leaves it out; what stays in its place may clash in turn, so until none does.
 */
export async function refuseConflicts(run: Run): Promise<void> {
  for (;;) {
    const refused = planOf(run).conflicts.filter(({ module }) => run.candidates.has(module));
    if (refused.length === 0) return;
    for (const { module, text } of refused) {
      const candidate = run.candidates.get(module);
      if (candidate !== undefined) await drop(run, candidate, failure(text, "conflict"));
    }
  }
}

/**
 * Ends a candidate. Where an exclusive one's predecessor had to go for it, resolves when that serves again; never
 * rejects.
 */
export async function drop(run: Run, candidate: Candidate, reason: Failure): Promise<void> {
  run.candidates.delete(candidate.entry.name);
  run.failures.set(candidate.entry.name, reason);
  run.plan = null;
  const ended = end(run, candidate);
  if (candidate.replaced === null) return;
  // What only one may own is free again by then.
  await ended;
  await bringBack(run, candidate, candidate.replaced);
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
    if (again.needsMain) await again.start(handoff);
    if (again.needsHost) await registry.options.host.prepare(spec, previous.needsHost ? previous.id : null, again);
    entry.live = again;
    entry.unavailable = [];
    run.plan = null;
  } catch (error) {
    const log = registry.options.log.withFields({ module: entry.name, generation: previous.number, error });
    log.error(`could not be put back and answers 503: ${describeFailure(error)}`);
  }
}

/** Gives the reload up as a whole: everything serves as before it. */
export async function dropAll(run: Run, reason: string): Promise<void> {
  const candidates = [...run.candidates.values()];
  for (const candidate of candidates) await drop(run, candidate, failure(reason, "refused"));
  if (candidates.some(({ replaced }) => replaced !== null)) serveWithout(run);
}
