/** The first half of bringing a version up: build, probe, and the import in this thread. Its setup does not run yet. */
import { readFileSync } from "node:fs";
import { describeFailure } from "./verdict/failure-text";
import { placesIn } from "../config/places";
import type { ServerLog } from "../observe/log/log";
import { kindOfError } from "../observe/log/fields";
import { authorStack, ModuleError, wholeFileError } from "../module/graph/describe-error";
import { type BuiltModule, buildModule, buildOptions, keptBuild } from "../module/build/build";
import { entryFor, type FoundModule, type ModuleEntry } from "./entry";
import { Generation } from "../module/generation";
import { type Hold, isHeldBack } from "./versions/hold";
import { hasChanged } from "../module/build/inputs";
import { loadModule } from "../module/graph/load";
import type { ModuleSet } from "./module-set";
import { moduleConsole } from "../module/graph/console";
import { isForced } from "./order";
import { remoteModule } from "../module/graph/remote";
import { type Candidate, failure, isUsed, type Run, timed } from "./state";
import { hostSettings, identityOf, isSameSettings, NO_SETTINGS } from "../module/shape/settings";
import { findBundle } from "./versions/files";

/** Build and first load. Leaves a candidate, a failure, or nothing if the module is the same as before. */
export async function prepare(run: Run, file: FoundModule): Promise<void> {
  const entry = entryFor(run.registry, file);
  try {
    const next = await timed(run, "build", () => findNext(run, entry, file));
    if (next === null) return;
    const notes = entry.live === null ? [] : notesOn(run, entry.live.spec, next.version);
    const beside = { hold: next.hold, notes };
    try {
      await loadVersion(run, entry, next.version, beside);
    } catch (error) {
      const version = await bundledInstead(run, entry, file, next.version, error);
      await loadVersion(run, entry, version, beside);
    }
  } catch (error) {
    run.failures.set(file.name, failure(describeFailure(error)));
  }
}

/** Why an unchanged file has another version. */
function notesOn(run: Run, live: Generation["spec"], { config }: Version): string[] {
  const variables = changedVariables(live, run);
  return [
    ...(isSameSettings(live.config, config) ? [] : ["its settings changed"]),
    ...(variables.length === 0 ? [] : [`${variables.join(", ")} changed in .env`]),
  ];
}

/** The variables of .env that the version's code names, and that have another value now. */
function changedVariables({ environment = {}, file }: Generation["spec"], { wanted }: Run): string[] {
  const next = wanted.environment ?? {};
  // A reload whose .env has not been read again has the same object.
  if (environment === next) return [];
  const changed = [...new Set([...Object.keys(environment), ...Object.keys(next)])].filter(
    (name) => environment[name] !== next[name],
  );
  if (changed.length === 0) return [];
  const words = wordsOf(file);
  return changed.filter((name) => words?.has(name) !== false);
}

/** @returns null: the bundle is gone */
function wordsOf(file: string): ReadonlySet<string> | null {
  try {
    return new Set(readFileSync(file, "utf8").match(/[A-Za-z_]\w*/g));
  } catch {
    return null;
  }
}

/**
 * The version as the bundler builds it, after one that was built without it has failed to load: errors are told in the
 * bundler's words, and at its places.
 *
 * @throws `error` if these would not differ: a load that does not end would take its whole time once more
 */
async function bundledInstead(
  { registry, wanted }: Run,
  entry: ModuleEntry,
  file: FoundModule,
  version: Version,
  error: unknown,
): Promise<Version> {
  const differs = error instanceof ModuleError && (error.line !== undefined || error.message.startsWith("SyntaxError"));
  if (!differs || entry.built?.isPlain !== true || entry.built.hash !== version.hash) throw error;
  const settings = wanted.settings[file.name] ?? NO_SETTINGS;
  entry.built = await buildModule(file, buildOptions(registry.options.stateDir, settings), true);
  return { ...version, file: entry.built.file, hash: entry.built.hash };
}

/** The version to serve, and the versions to hold back. */
interface Next {
  readonly version: Version;
  readonly hold: Hold | null;
}

/** @returns null: a build would give the serving version, or one that is held back */
async function findNext(run: Run, entry: ModuleEntry, file: FoundModule): Promise<Next | null> {
  const { name } = file;
  const { live, hold } = entry;
  const settings = settingsOf(run, name);
  const isSame =
    live !== null &&
    live.spec.source === file.file &&
    isSameSettings(live.spec.config, settings) &&
    changedVariables(live.spec, run).length === 0;
  const built = await buildIfChanged(run, entry, file, isSame);
  if (isSame && live.hash === built.hash) {
    // The files match the serving version again: a failed edit was undone.
    entry.error = null;
    return null;
  }
  if (!isForced(run.order, name) && isHeldBack(hold, built.hash, settings)) {
    if (live !== null) {
      run.heldBack.add(name);
      entry.error = null;
      return null;
    }
    const past = pastVersion(run, entry);
    if (past !== null) {
      run.heldBack.add(name);
      return { version: past, hold };
    }
  }
  entry.source = file.file;
  const { source, file: bundle, hash } = built;
  const version = { name, source, file: bundle, hash, number: numberFor(entry, hash, settings), config: settings };
  return { version, hold: null };
}

async function buildIfChanged(
  { registry, seen, wanted }: Run,
  entry: ModuleEntry,
  file: FoundModule,
  isSame: boolean,
): Promise<BuiltModule> {
  if (isSame && entry.error === null && entry.built !== null && !hasChanged(entry.built.inputs, seen))
    return entry.built;
  const options = buildOptions(registry.options.stateDir, wanted.settings[file.name] ?? NO_SETTINGS);
  const kept = entry.built === null ? keptBuild(file, options, seen) : null;
  entry.built = kept ?? (await buildModule(file, options));
  return entry.built;
}

/** The version that served before the start, if its bundle still exists. */
function pastVersion({ registry: { options } }: Run, { name, source, past }: ModuleEntry): Version | null {
  const file = past === null ? null : findBundle(options.stateDir, name, past.hash, past.file);
  if (past === null || file === null) return null;
  return { name, source, file, hash: past.hash, number: past.number, config: { ...past.config } };
}

/** The next number; the last one again if the restarted server has the same version. */
function numberFor(
  { live, past, lastNumber }: ModuleEntry,
  hash: string,
  config: Readonly<Record<string, unknown>>,
): number {
  const isAgain =
    live === null && past?.number === lastNumber && identityOf(past.hash, past.config) === identityOf(hash, config);
  return isAgain ? lastNumber : lastNumber + 1;
}

/** Probes a version and imports it in this thread, which makes it a candidate. @throws ModuleError */
export async function loadVersion(
  run: Run,
  entry: ModuleEntry,
  version: Version,
  beside: Pick<Candidate, "hold" | "notes">,
): Promise<void> {
  const { registry } = run;
  const { name } = entry;
  const spec = specOf(run, version);
  // Modules that ship with hrmr are trusted not to loop while loading, and so is the code that served last.
  const isTrusted = entry.isImplicit || (entry.live === null && entry.past?.hash === spec.hash);
  const generation = await timed(run, "load", () => loadGeneration(registry, spec, isTrusted));
  if (isUsed(run, name) && generation.middleware === null) {
    await generation.dispose();
    if (generation.needsHost) await registry.options.host.retire(spec.id);
    throw wholeFileError(
      name,
      version.source,
      "http.use names it, and it has no middleware. Write export const middleware = (request, context, next) => next()",
    );
  }
  run.candidates.set(name, { entry, generation, replaced: null, migrated: [], ...beside });
}

function settingsOf({ wanted }: Run, name: string): NonNullable<Run["wanted"]["settings"][string]> {
  return wanted.settings[name] ?? NO_SETTINGS;
}

/** A version of a module: its bundle, its number, and its settings. */
export type Version = Pick<BuiltModule, "name" | "source" | "file" | "hash"> & {
  readonly number: number;
  readonly config: Record<string, unknown>;
};

/** @returns the order for one more load */
export function specOf(
  { registry, wanted }: Run,
  { name, source, file, hash, number, config }: Version,
): Generation["spec"] {
  return {
    name,
    id: registry.nextId(),
    generation: number,
    hash,
    file,
    source,
    config,
    dataDir: `${registry.options.dataDir}/${name}`,
    loadMs: hostSettings(config).loadMs ?? wanted.loadMs,
    ...(wanted.places === undefined ? null : { places: placesIn(wanted.places, name) }),
    ...(wanted.environment === undefined ? null : { environment: wanted.environment }),
  };
}

/**
 * Imports a version: in its process, if it is meant for one, and in this thread unless all its routes run there.
 *
 * @param isTrusted false: it is probed in another thread before this one imports it
 * @throws ModuleError
 */
export async function loadGeneration(
  registry: ModuleSet,
  spec: Generation["spec"],
  isTrusted = true,
): Promise<Generation> {
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
    globals: { console: moduleConsole(log), ...options.globals },
    publish: options.publish,
    services: options.services,
    events: options.events,
    store: options.store,
    access: options.access,
    shared: registry.shared,
    host: "main",
    log,
    timeoutMs: spec.loadMs ?? current.loadMs,
    onError: (error, kind) =>
      log.withFields({ error }).bounded("error", `${kind}: ${kindOfError(error)}`)?.(`${kind}: ${authorStack(error)}`),
  });
  return new Generation(spec, module);
}
