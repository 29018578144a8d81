/** The files of the version store: where they are, and how they are written so that a crash leaves the old or the new whole. */
import { existsSync } from "node:fs";
import { copyFile, link, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isBundleWhole } from "./build";

/** What served last, of all modules. */
export function approvedPath(stateDir: string): string {
  return join(stateDir, "approved.json");
}

/** A folder for each module. */
export function versionsDir(stateDir: string): string {
  return join(stateDir, "versions");
}

/** What is known of a module's versions. */
export function indexPath(stateDir: string, name: string): string {
  return join(versionsDir(stateDir), name, "index.json");
}

/** The kept bundle of a version: it has a folder that is not pruned like that of fresh ones. */
export function keptPath(stateDir: string, name: string, hash: string): string {
  return join(versionsDir(stateDir), name, `${hash}.js`);
}

/** @param file  where the bundle was @returns where it is, whole; null: nowhere */
export function findBundle(stateDir: string, name: string, hash: string, file: string): string | null {
  return [file, keptPath(stateDir, name, hash)].find((path) => isBundleWhole(path, hash)) ?? null;
}

/** @returns the parsed file; null: there is none. @throws SyntaxError for a damaged one */
export async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"), revive) as unknown;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}

/** Settings of a TOML or YAML file may hold what JSON has no word for. */
const BIG = "$bigint";
const DATE = "$date";

function revive(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (BIG in value && typeof value[BIG] === "string") return BigInt(value[BIG]);
  return DATE in value && typeof value[DATE] === "string" ? new Date(value[DATE]) : value;
}

function replace(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const raw = this[key];
  if (typeof raw === "bigint") return { [BIG]: String(raw) };
  return raw instanceof Date ? { [DATE]: raw.toISOString() } : value;
}

let temporaryFiles = 0;

/** Puts `value` at `path` whole, on the disk and not only on its way there when this resolves. Readable for this user only. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  const temporary = `${path}.${process.pid}-${++temporaryFiles}.tmp`;
  await mkdir(dirname(path), { recursive: true });
  try {
    const file = await open(temporary, "w", 0o600);
    try {
      await file.writeFile(`${JSON.stringify(value, replace, 1)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Keeps a bundle beyond the pruning of its folder. Costs no space where the file system has links. */
export async function keepBundle(stateDir: string, name: string, hash: string, file: string): Promise<void> {
  const kept = keptPath(stateDir, name, hash);
  if (file === kept || isBundleWhole(kept, hash)) return;
  await mkdir(dirname(kept), { recursive: true });
  await rm(kept, { force: true });
  await link(file, kept).catch(() => copyFile(file, kept));
  const handle = await open(kept, "r");
  await handle.sync().finally(() => handle.close());
}

/** Deletes the kept bundles of a module but for those of these hashes, and what a crash has left. */
export async function pruneKept(stateDir: string, name: string, hashes: ReadonlySet<string>): Promise<void> {
  const folder = join(versionsDir(stateDir), name);
  if (!existsSync(folder)) return;
  for (const entry of await readdir(folder)) {
    const isKept = entry === "index.json" || (entry.endsWith(".js") && hashes.has(entry.slice(0, -3)));
    if (!isKept) await rm(join(folder, entry), { force: true });
  }
}
