/**
 * The types of Bun and Node that `hrmr init` writes into a project. An editor, `tsc` and `bun check` then need no
 * installed package. They are the types of the Bun that runs the modules.
 */
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";

/** Each package, by its folder in the project's `types`, which tsconfig.json names as `typeRoots`. */
const PACKAGES = { bun: "bun-types", node: "@types/node", "undici-types": "undici-types" } as const;
/** Files without types, and types for old versions of TypeScript. */
const LEFT_OUT = /^(?:docs|ts5\.\d)\/|\.md$/;
/** The build packs the types into this file. */
export const BUN_TYPES_FILE = "bun-types.json.zst";

/** @returns each file's path in the project, `types/bun/index.d.ts`, and its text */
export function bunTypeFiles(): [path: string, text: string][] {
  if (!Bun.isStandaloneExecutable) return collectBunTypes();
  const packed = readFileSync(join(import.meta.dir, BUN_TYPES_FILE));
  return JSON.parse(Buffer.from(Bun.zstdDecompressSync(packed)).toString()) as [string, string][];
}

/** @returns the content of BUN_TYPES_FILE, for the build */
export function packBunTypes(): Uint8Array {
  return Bun.zstdCompressSync(JSON.stringify(collectBunTypes()), { level: 19 });
}

/** Reads the npm packages that hrmr is built with. Each depends on the next, so the next is resolved from it. */
function collectBunTypes(): [path: string, text: string][] {
  let from = import.meta.path;
  return Object.entries(PACKAGES).flatMap(([name, packageName]) => {
    from = createRequire(from).resolve(`${packageName}/package.json`);
    const folder = dirname(from);
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const paths = files
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
      .filter((path) => !LEFT_OUT.test(path));
    return paths
      .sort()
      .map((path): [string, string] => [`types/${name}/${path}`, readFileSync(join(folder, path), "utf8")]);
  });
}
