/** A version that has served before, on its way in again: the first half, as `prepare` is for what lies on the disk. */
import { buildModule, buildOptions } from "../../module/build/build";
import { wholeFileError } from "../../module/graph/describe-error";
import { holdBack } from "./hold";
import { entryFor, loadVersion } from "../prepare";
import { describeFailure, failure, type Run } from "../state";
import { findBundle } from "./files";
import type { StoredVersion } from "./versions";

/** Leaves a candidate or a failure. What serves now is held back once the candidate serves. */
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

/** Where the version's bundle is; built again where it is gone, if the files are still those that it was built from. */
async function bundleOf(
  { registry: { options } }: Run,
  { name, source, hash, file, config, of }: StoredVersion,
): Promise<string> {
  const found = findBundle(options.stateDir, name, hash, file);
  if (found !== null) return found;
  const built = await buildModule({ name, file: source }, buildOptions(options.stateDir, config));
  if (built.hash === hash) return built.file;
  throw wholeFileError(
    name,
    source,
    `the bundle of v${of} is gone or damaged, and the files are not those that it was built from`,
  );
}
