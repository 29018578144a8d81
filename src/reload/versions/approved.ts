/**
 * What one process of a server serves, told so that another can serve the same: for a process that is started in place
 * of a lost one, and must not be the only one with a newer version, or without a module that is broken on the disk by
 * now.
 */
import { rmSync } from "node:fs";
import { buildModule, buildOptions } from "../../module/build/build";
import { refuseConflicts } from "../drop";
import type { Hold } from "./hold";
import type { ModuleEntry, ModuleSet } from "../module-set";
import { timed } from "../verdict/phases";
import { entryFor, loadGeneration, prepare, specOf, type Version } from "../prepare";
import { finish } from "../reload";
import { orderFor } from "../order";
import { beginRun, describeFailure, failure, type Run } from "../state";
import { startAll } from "../bring-up";
import type { Verdict } from "../verdict/verdict";
import { findBundle } from "./files";

/** Plain data: it crosses processes, and may be kept as JSON. */
export interface ApprovedModule {
  readonly name: string;
  /** The author's file, absolute path. */
  readonly source: string;
  /** Ships with hrmr and is on without having been asked for. */
  readonly isImplicit: boolean;
  /** null: nothing of it serves. */
  readonly version: {
    readonly number: number;
    readonly hash: string;
    /** The bundle, absolute path. */
    readonly file: string;
    /** The settings it was loaded with. */
    readonly config: Readonly<Record<string, unknown>>;
  } | null;
  /** The last number that served: the next version's is one more. */
  readonly lastNumber: number;
  /** Why the newest version does not serve; null: it does. */
  readonly error: string | null;
  /** What was rolled back from; null: nothing is held back. */
  readonly hold: Hold | null;
}

/** In the order in which they came. */
export function approvedModules({ entries }: ModuleSet): ApprovedModule[] {
  return [...entries.values()].map(approvedModule);
}

export function approvedModule({
  name,
  source,
  isImplicit,
  live,
  lastNumber,
  error,
  hold,
}: ModuleEntry): ApprovedModule {
  const version =
    live === null ? null : { number: live.number, hash: live.hash, file: live.spec.file, config: live.spec.config };
  return { name, source: live?.spec.source ?? source, isImplicit, version, lastNumber, error, hold };
}

/**
 * Loads these versions as they are: no look at the modules folder, no build, no trial, no new numbers. A bundle that is
 * gone or damaged is built from the author's file, and the verdict says so.
 */
export async function loadApproved(
  registry: ModuleSet,
  approved: readonly ApprovedModule[],
  isResumed: boolean,
): Promise<Verdict> {
  const order = orderFor(approved.map(({ name }) => name));
  const run = beginRun(registry, order, null);
  for (const module of approved) {
    // Another hrmr than the one that served last has another version of what ships with it.
    const shipped = isResumed
      ? run.wanted.shipped.find(({ name, file }) => name === module.name && file === module.source)
      : undefined;
    if (shipped === undefined) await timed(run.phases, "load", () => takeOver(run, module));
    else await prepare(run, shipped);
  }
  await refuseConflicts(run);
  await timed(run.phases, "start", () => startAll(run));
  const verdict = await finish(run);
  for (const { name, error, lastNumber } of approved) {
    const entry = registry.entries.get(name);
    if (entry === undefined) continue;
    entry.error ??= error;
    entry.lastNumber = Math.max(entry.lastNumber, lastNumber);
  }
  return verdict;
}

async function takeOver(run: Run, module: ApprovedModule): Promise<void> {
  const { name, source, version, isImplicit, hold } = module;
  const entry = entryFor(run.registry, { name, file: source, isImplicit });
  if (version === null) return;
  const notes: string[] = [];
  try {
    const { file, hash, number, config } = version;
    const found: Version = { name, source, file, hash, number, config: { ...config } };
    const bundle = findBundle(run.registry.options.stateDir, name, hash, file);
    const spec = specOf(run, bundle === null ? await buildAgain(run, entry, found, notes) : { ...found, file: bundle });
    const generation = await loadGeneration(run.registry, spec);
    run.candidates.set(name, { entry, generation, isStarted: false, replaced: null, hold, notes });
  } catch (error) {
    run.failures.set(name, failure(describeFailure(error)));
  }
  // If a later try succeeds, it is the version that the other processes serve, under the same number.
  entry.past = version;
}

async function buildAgain(
  { registry: { options } }: Run,
  entry: ModuleEntry,
  version: Version,
  notes: string[],
): Promise<Version> {
  const { name, source, config, number } = version;
  // A damaged one of the right size would be taken for the real one.
  rmSync(version.file, { force: true });
  entry.built = await buildModule({ name, file: source }, buildOptions(options.stateDir, config));
  const isSame = entry.built.hash === version.hash;
  notes.push(`its bundle was gone and was built again${isSame ? "" : ", from files that have changed since"}`);
  return { ...version, ...entry.built, number: isSame ? number : number + 1 };
}
