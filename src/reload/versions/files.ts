/**
 * The files of the version store: their paths, and writes that leave the old or the new file complete after a crash.
 */
import { copyFileSync, existsSync, linkSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncFolderLater } from "../../system/files/durable";
import { makePrivateFolder, PRIVATE_FILE } from "../../system/private-files";
import { isBundleWhole } from "../../module/build/build";
import { fromJson, toJson } from "./json";

/** The file with the versions that served last, of all modules. */
export function approvedPath(stateDir: string): string {
  return join(stateDir, "approved.json");
}

/** A folder for each module. */
export function versionsDir(stateDir: string): string {
  return join(stateDir, "versions");
}

/** The file about a module's versions. */
export function indexPath(stateDir: string, name: string): string {
  return join(versionsDir(stateDir), name, "index.json");
}

/** The kept bundle of a version, in a folder that is not pruned like the one of new bundles. */
export function keptPath(stateDir: string, name: string, hash: string): string {
  return join(versionsDir(stateDir), name, `${hash}.js`);
}

/** @param file its last known path @returns the path of the undamaged bundle; null: none */
export function findBundle(stateDir: string, name: string, hash: string, file: string): string | null {
  return [file, keptPath(stateDir, name, hash)].find((path) => isBundleWhole(path, hash)) ?? null;
}

/** @returns the parsed file; null: there is none. @throws SyntaxError for a damaged one */
export async function readJson(path: string): Promise<unknown> {
  try {
    return fromJson(await readFile(path, "utf8"));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}

let temporaryFiles = 0;

/**
 * Writes `value` to `path` in one step. Readable for this user only.
 *
 * @param behind writes that must be on the disk before the file is in place. The file and its name are then on the
 *   disk, too, when this resolves. null: a power cut may lose the new file, and leaves the old one
 * @returns the file's length in bytes
 */
export async function writeJson(path: string, value: unknown, behind: Promise<unknown> | null): Promise<number> {
  const temporary = `${path}.${process.pid}-${++temporaryFiles}.tmp`;
  const bytes = Buffer.from(`${toJson(value, 1)}\n`);
  try {
    makePrivateFolder(dirname(path));
    writeFileSync(temporary, bytes, { mode: PRIVATE_FILE });
    if (behind !== null) await Promise.all([syncFile(temporary), behind]);
    renameSync(temporary, path);
    if (behind !== null) await syncFolderLater(dirname(path));
    return bytes.length;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Keeps a bundle beyond the pruning of its folder. With hard links it costs no space. @returns its path */
export function keepBundle(stateDir: string, name: string, hash: string, file: string): string {
  const kept = keptPath(stateDir, name, hash);
  if (file === kept || isBundleWhole(kept, hash)) return kept;
  makePrivateFolder(dirname(kept));
  rmSync(kept, { force: true });
  try {
    linkSync(file, kept);
  } catch {
    // Not every file system has links.
    copyFileSync(file, kept);
  }
  return kept;
}

/** Resolves once the file's content is on the disk. Only this may take long: the rest is synchronous. */
export async function syncFile(path: string): Promise<void> {
  const handle = await open(path, "r");
  await handle.sync().finally(() => handle.close());
}

/** Deletes the kept bundles of a module except those of these hashes, and remains of a crash. */
export function pruneKept(stateDir: string, name: string, hashes: ReadonlySet<string>): void {
  const folder = join(versionsDir(stateDir), name);
  for (const entry of existsSync(folder) ? readdirSync(folder) : []) {
    const isKept = entry === "index.json" || (entry.endsWith(".js") && hashes.has(entry.slice(0, -3)));
    if (!isKept) rmSync(join(folder, entry), { force: true });
  }
}
