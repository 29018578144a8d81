/**
 * Builds that a later start can use again: beside a module's bundles lies `inputs.json` with the inputs of the last
 * one. While these are unchanged, a start needs some stats in place of a build.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { version } from "../../../package.json";
import { PRIVATE_FILE } from "../../system/private-files";
import { hasChanged, type InputSet, type SignatureMemo } from "./inputs";

/** The parts of a build that are kept. */
interface KeptBuild {
  /** The author's file, absolute path. */
  readonly source: string;
  /** The bundle, absolute path. */
  readonly file: string;
  readonly hash: string;
  readonly inputs: InputSet;
}

/** Another hrmr or another Bun may build another bundle of the same files. */
const BUILDER = `${version} ${Bun.version} ${Bun.revision}`;
/** Writes wait until reloads pause. In milliseconds. */
const WRITE_AFTER_MS = 200;
/** A start builds many modules. Writing gives way to the server's work after this time. In milliseconds. */
const TURN_MS = 4;

const waiting = new Map<string, string>();
let timer: Timer | null = null;

/**
 * Keeps a build for the next start. Written some time later, since a start without it builds again.
 *
 * @param options what else the bundle depends on, as JSON
 */
export function keepBuild({ source, file, hash, inputs }: KeptBuild, options: string): void {
  // Its inputs changed while it was built: it will be built again anyway.
  if (!inputs.isSettled) return;
  const { files, bundle, configs, links, folders } = inputs;
  const views = [...folders].map(([path, { signature, stems }]) => [path, signature, [...stems]]);
  const plain = { builder: BUILDER, options, source, file, hash, bundle, files: [...files] };
  waiting.set(pathBeside(file), JSON.stringify({ ...plain, configs: [...configs], links: [...links], folders: views }));
  if (timer !== null) clearTimeout(timer);
  timer = setTimeout(writeSome, WRITE_AFTER_MS).unref();
}

function writeSome(): void {
  writeFor(TURN_MS);
  timer = waiting.size === 0 ? null : setTimeout(writeSome, 1).unref();
}

/** Writes the builds that wait, before the process ends. */
export function writeKeptBuilds(): void {
  if (timer !== null) clearTimeout(timer);
  timer = null;
  writeFor(Infinity);
}

function writeFor(ms: number): void {
  const startedMs = performance.now();
  for (const [path, text] of waiting) {
    waiting.delete(path);
    writeWhole(path, text);
    if (performance.now() - startedMs > ms) break;
  }
}

/** Several processes of a server may write it at once. */
function writeWhole(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, text, { mode: PRIVATE_FILE });
    renameSync(temporary, path);
  } catch {
    // The state folder was deleted, or the disk is full. The next start builds.
    rmSync(temporary, { force: true });
  }
}

/**
 * Finds the build that an earlier process has kept, if a new one could not give another bundle.
 *
 * @param folder the folder of the module's bundles, absolute path
 * @param options as for `keepBuild`
 * @param memo as for `hasChanged`
 * @returns null: there is none. Never throws. The caller checks the bundle itself
 */
export function findKeptBuild(folder: string, source: string, options: string, memo: SignatureMemo): KeptBuild | null {
  try {
    const kept = JSON.parse(readFileSync(join(folder, "inputs.json"), "utf8"));
    if (kept.builder !== BUILDER || kept.options !== options || kept.source !== source) return null;
    const views = (kept.folders as [string, string, [string, string][]][]).map(
      ([path, signature, stems]) => [path, { signature, stems: new Map(stems) }] as const,
    );
    const inputs: InputSet = {
      files: new Map(kept.files),
      bundle: kept.bundle,
      configs: new Map(kept.configs),
      links: new Map(kept.links),
      folders: new Map(views),
      isSettled: true,
    };
    const { file, hash } = kept as { file: string; hash: string };
    // The state folder may have been copied with everything in it.
    return dirname(file) !== folder || hasChanged(inputs, memo) ? null : { source, file, hash, inputs };
  } catch {
    // Nothing is kept, or the file is damaged.
    return null;
  }
}

function pathBeside(bundle: string): string {
  return join(dirname(bundle), "inputs.json");
}
