/** Brings versions up that have served before: the first half, like `prepare` for files on the disk. */
import { describeFailure } from "../verdict/failure-text";
import { buildAgain, buildOptions } from "../../module/build/build";
import { wholeFileError } from "../../module/graph/describe-error";
import { holdBack } from "./hold";
import { rmSync } from "node:fs";
import { entryFor, type ModuleEntry } from "../entry";
import { loadGeneration, loadVersion, specOf, type Version } from "../prepare";
import type { ApprovedModule } from "./approved";
import { failure, type Run } from "../state";
import { findBundle } from "./files";
import type { StoredVersion } from "./versions";

/** Results in a candidate or a failure. The serving version is held back once the candidate serves. */
export async function prepareStored(run: Run, stored: StoredVersion): Promise<void> {
  const { name, source, hash, config, of, condemned } = stored;
  // There is no such module.
  if (run.failures.has(name)) return;
  const found = run.files.find((file) => file.name === name) ?? { name, file: source, isImplicit: false };
  const entry = entryFor(run.registry, found);
  const { live, hold } = entry;
  try {
    const file = await bundleOf(run, stored);
    const version = { name, source, file, hash, number: entry.lastNumber + 1, config: { ...config } };
    await loadVersion(run, entry, version, {
      hold:
        live === null
          ? hold
          : holdBack(
              hold,
              { number: live.number, hash: live.hash, config: live.spec.config },
              stored,
              condemned?.reason ?? null,
            ),
      notes: [`the same as v${of}`],
    });
  } catch (error) {
    run.failures.set(name, failure(describeFailure(error)));
  }
}

/** The path of the version's bundle. A missing one is built again if its files are unchanged. */
async function bundleOf(
  { registry: { options } }: Run,
  { name, source, hash, file, config, of }: StoredVersion,
): Promise<string> {
  const found = findBundle(options.stateDir, name, hash, file);
  if (found !== null) return found;
  const built = await buildAgain({ name, file: source }, buildOptions(options.stateDir, config), hash);
  if (built.hash === hash) return built.file;
  throw wholeFileError(
    name,
    source,
    `the bundle of v${of} is gone or damaged, and its files have changed since it was built`,
  );
}

/** Loads a version that another process serves, or that served before a restart: no probe, no new number. */
export async function takeOver(run: Run, module: ApprovedModule): Promise<void> {
  const { name, source, version, isImplicit, hold } = module;
  const entry = entryFor(run.registry, { name, file: source, isImplicit });
  if (version === null) return;
  const notes: string[] = [];
  try {
    const { file, hash, number, config } = version;
    const found: Version = { name, source, file, hash, number, config: { ...config } };
    const bundle = findBundle(run.registry.options.stateDir, name, hash, file);
    const spec = specOf(
      run,
      bundle === null ? await replaceBundle(run, entry, found, notes) : { ...found, file: bundle },
    );
    const generation = await loadGeneration(run.registry, spec);
    run.candidates.set(name, { entry, generation, replaced: null, hold, notes, migrated: [] });
  } catch (error) {
    run.failures.set(name, failure(describeFailure(error)));
  }
  // If a later try succeeds, it has the number of the other processes' version.
  entry.past = version;
}

async function replaceBundle(
  { registry: { options } }: Run,
  entry: ModuleEntry,
  version: Version,
  notes: string[],
): Promise<Version> {
  const { name, source, config, number } = version;
  // A damaged file of the right size would be taken for the bundle.
  rmSync(version.file, { force: true });
  entry.built = await buildAgain({ name, file: source }, buildOptions(options.stateDir, config), version.hash);
  const isSame = entry.built.hash === version.hash;
  notes.push(`its bundle was gone and was built again${isSame ? "" : ", from files that have changed since"}`);
  return { ...version, file: entry.built.file, hash: entry.built.hash, number: isSame ? number : number + 1 };
}
