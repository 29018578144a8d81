/** The first half of a version's way in: build, trial, and the import in this thread. Nothing of it runs yet. */
import { CallFigures } from "../observe/figures";
import type { ServerLog } from "../observe/log";
import { authorStack } from "./author-stack";
import { type BuiltModule, buildModule, buildOptions } from "./build";
import { wholeFileError } from "./describe-error";
import type { FoundModule } from "./find";
import { Generation } from "./generation";
import { hasChanged } from "./inputs";
import { loadModule } from "./load";
import type { ModuleEntry, ModuleSet } from "./module-set";
import { timed } from "./phases";
import { remoteModule } from "./remote";
import { describeFailure, failure, isUsed, type Run } from "./run";
import { hostSettings, isSameSettings, NO_SETTINGS } from "./settings";

/** Build and first load. Leaves a candidate, a failure, or nothing if the module is the same as before. */
export async function prepare(run: Run, file: FoundModule): Promise<void> {
  const entry = entryFor(run.registry, file);
  try {
    const built = await timed(run.phases, "build", () => buildIfChanged(run, entry, file));
    if (built === null) return;
    const { generation, notes } = await timed(run.phases, "load", () => loadBuilt(run, entry, built));
    run.candidates.set(file.name, { entry, generation, isStarted: false, replaced: null, notes });
  } catch (error) {
    run.failures.set(file.name, failure(describeFailure(error)));
  }
}

/** @returns null: what serves is what a build would give */
async function buildIfChanged(run: Run, entry: ModuleEntry, file: FoundModule): Promise<BuiltModule | null> {
  const { registry } = run;
  const { live } = entry;
  const settings = settingsOf(run, file.name);
  const isSame = live !== null && live.spec.source === file.file && isSameSettings(live.spec.config, settings);
  // A build whose version never came to serve (the reload was refused) says nothing about the one that does.
  const known = entry.built?.hash === live?.hash && entry.error === null ? entry.built : null;
  if (isSame && known !== null && !hasChanged(known.inputs, run.seen)) return null;
  entry.built = await buildModule(file, buildOptions(registry.options.stateDir, settings));
  if (isSame && live.hash === entry.built.hash) {
    // Back to what serves: a failed edit was undone.
    entry.error = null;
    return null;
  }
  entry.source = file.file;
  return entry.built;
}

async function loadBuilt(run: Run, entry: ModuleEntry, built: BuiltModule): Promise<{ generation: Generation; notes: string[] }> {
  const { registry } = run;
  const { name } = entry;
  const spec = specOf(run, { ...built, number: entry.lastNumber + 1, config: settingsOf(run, name) });
  // What ships with hrmr is trusted to come back from its own loading.
  const generation = await loadGeneration(registry, spec, entry.isImplicit);
  if (isUsed(run, name) && generation.middleware === null) {
    await generation.dispose();
    if (generation.needsHost) await registry.options.host.retire(spec.id);
    throw wholeFileError(
      name,
      built.source,
      "http.use names it, and it has no middleware. Write export const middleware = (request, context, next) => next()",
    );
  }
  const hasOtherSettings = entry.live !== null && !isSameSettings(entry.live.spec.config, spec.config);
  return { generation, notes: hasOtherSettings ? ["its settings changed"] : [] };
}

function settingsOf({ wanted }: Run, name: string): NonNullable<Run["wanted"]["settings"][string]> {
  return wanted.settings[name] ?? NO_SETTINGS;
}

/** A version of a module: a bundle, its number, and the settings it is loaded with. */
export type Version = Pick<BuiltModule, "name" | "source" | "file" | "hash"> & {
  readonly number: number;
  readonly config: Record<string, unknown>;
};

/** @returns the order for one more load */
export function specOf({ registry, wanted }: Run, { name, source, file, hash, number, config }: Version): Generation["spec"] {
  return {
    name,
    id: registry.nextId(),
    generation: number,
    hash,
    file,
    source,
    config,
    dataDir: `${registry.options.stateDir}/data/${name}`,
    loadMs: hostSettings(config).loadMs ?? wanted.loadMs,
  };
}

/** @returns the module's place in the registry, made if it had none */
export function entryFor(registry: ModuleSet, file: FoundModule): ModuleEntry {
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
    gone: new CallFigures(),
    built: null,
    error: null,
    lastNumber: 0,
  };
  registry.entries.set(file.name, entry);
  return entry;
}

/**
 * Imports a version: in its process, if it is meant for one, and in this thread unless all of it is there.
 *
 * @param isTrusted false: it is tried where an endless loop hurts nobody before this thread imports it
 * @throws ModuleError
 */
export async function loadGeneration(registry: ModuleSet, spec: Generation["spec"], isTrusted = true): Promise<Generation> {
  const { host, probe } = registry.options;
  const remote = (await host.import?.(spec)) ?? null;
  try {
    if (remote?.isWhole === true)
      return new Generation(spec, remoteModule(spec, remote, { ...registry.options, log: logOf(registry, spec) }));
    if (!isTrusted) await probe.check(spec);
    return await loadHere(registry, spec);
  } catch (error) {
    if (remote !== null) await host.retire(spec.id);
    throw error;
  }
}

function logOf({ options }: ModuleSet, { name, generation }: Generation["spec"]): ServerLog {
  return options.log.withFields({ module: name, generation });
}

async function loadHere(registry: ModuleSet, spec: Generation["spec"]): Promise<Generation> {
  const { options, current } = registry;
  const log = logOf(registry, spec);
  const module = await loadModule(spec, {
    globals: options.globals,
    publish: options.publish,
    shared: registry.shared,
    host: "main",
    log,
    timeoutMs: spec.loadMs ?? current.loadMs,
    onError: (error, kind) => log.withFields({ error }).error(`${kind}: ${authorStack(error)}`),
  });
  return new Generation(spec, module);
}
