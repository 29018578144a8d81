import { basename, join } from "node:path";

/**
 * Files and folders that the build embeds, by their path in the repository. Their base names must differ: the binary
 * stores them under these.
 */
export const ASSETS = [
  "examples/init",
  "src/module/contract.d.ts",
  "src/module/hrmr.h",
  "src/module/c/bridge.c",
  "src/cli/commands/modules/new.c",
  "src/cli/testing/test-contract.d.ts",
  "src/cli/testing/test-kit.ts",
] as const;

/** Where an asset is: in the repository, or inside the binary. Read it with node:fs; it cannot be written to. */
export function assetPath(asset: (typeof ASSETS)[number]): string {
  return Bun.isStandaloneExecutable ? join(import.meta.dir, basename(asset)) : join(import.meta.dir, "..", "..", asset);
}
