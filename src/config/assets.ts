import { readdirSync, readFileSync } from "node:fs";
import { basename, join, relative } from "node:path";

/**
 * Files and folders that the build embeds, by their path in the repository. Their base names must differ: the binary
 * stores them under these.
 */
export const ASSETS = [
  "examples",
  "modules",
  "static_html",
  "src/module/contract.d.ts",
  "src/module/hrmr.h",
  "src/module/c/bridge.c",
  "src/cli/commands/modules/new.c",
  "src/cli/client/client-runtime.ts",
  "src/cli/client/client_runtime.py",
  "src/cli/testing/test-contract.d.ts",
  "src/cli/testing/test-kit.ts",
] as const;

/** Where an asset is: in the repository, or inside the binary. Read it with node:fs; it cannot be written to. */
export function assetPath(asset: (typeof ASSETS)[number]): string {
  return Bun.isStandaloneExecutable ? join(import.meta.dir, basename(asset)) : join(import.meta.dir, "..", "..", asset);
}

/**
 * @param under a folder in the asset. Default: all of it
 * @returns path and text of each file of an asset that is a folder, in the order of the paths
 */
export function assetFiles(asset: (typeof ASSETS)[number], under = ""): [path: string, text: string][] {
  const folder = join(assetPath(asset), under);
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => relative(folder, join(entry.parentPath, entry.name))).sort();
  return paths.map((path) => [path, readFileSync(join(folder, path), "utf8")]);
}
