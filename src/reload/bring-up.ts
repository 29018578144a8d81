/** The second half of a version's way in: setup and check, in this thread and then on the pool and in its process. */
import { drop } from "./drop";
import type { Generation } from "../module/generation";
import type { ModuleSet } from "./module-set";
import { type Candidate, describeFailure, failure, serveWithout, type Run } from "./state";

/** Starts the candidates, one after another; those that fail are left out. */
export async function startAll(run: Run): Promise<void> {
  const candidates = [...run.candidates.values()];
  // An exclusive one answers 503 from its start to the swap: the others' starts must not make that longer.
  candidates.sort((a, b) => Number(takesOver(a)) - Number(takesOver(b)));
  for (const candidate of candidates) await start(run, candidate);
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
    candidate.isStarted = true;
  } catch (error) {
    await drop(run, candidate, failure(describeFailure(error)));
  }
}

async function startBeside({ registry }: Run, candidate: Candidate, previous: Generation | null): Promise<void> {
  const { generation, notes } = candidate;
  if (generation.needsMain) await generation.start(await handoffOf(previous, notes));
  if (generation.needsHost) await prepareInHost(registry, candidate, previous);
}

/**
 * The old version is gone before the new one's setup; whoever asks meanwhile gets a 503. If the new one is dropped, the
 * old one comes back.
 */
async function startExclusive(run: Run, candidate: Candidate, previous: Generation): Promise<void> {
  const { registry } = run;
  const { entry, generation, notes } = candidate;
  entry.live = null;
  entry.unavailable = previous.unavailableRoutes();
  serveWithout(run);
  const handoff = previous.needsMain ? await handoffOf(previous, notes) : undefined;
  candidate.replaced = { generation: previous, handoff };
  if (previous.needsHost) await registry.options.host.handOver?.(previous.id);
  await registry.retire(entry, previous);
  if (generation.needsMain) await generation.start(handoff);
  if (generation.needsHost) await prepareInHost(registry, candidate, previous);
}

/** Where both run elsewhere, the state goes from one to the other there. */
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
