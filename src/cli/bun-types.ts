/**
 * The types of Bun and of Node that `hrmr init` writes into a project, so that an editor, `tsc` and `bun check` know what a module can use without a
 * package being installed: those of the very Bun that the modules run on.
 */
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";

/** Under what name of the project's `types` folder each package goes. tsconfig.json names that folder as `typeRoots`. */
const PACKAGES = { bun: "bun-types", node: "@types/node", "undici-types": "undici-types" } as const;
/** What is no type; and types for versions of TypeScript that are long gone. */
const LEFT_OUT = /^(?:docs|ts5\.\d)\/|\.md$/;
/** The file that the build makes of them. */
export const BUN_TYPES_FILE = "bun-types.json.zst";

/** @returns each file's path in the project, `types/bun/index.d.ts`, and its text */
export function bunTypeFiles(): [path: string, text: string][] {
  if (!Bun.isStandaloneExecutable) return collectBunTypes();
  const packed = readFileSync(join(import.meta.dir, BUN_TYPES_FILE));
  return JSON.parse(Buffer.from(Bun.zstdDecompressSync(packed)).toString()) as [string, string][];
}

/** Makes the build's file. */
export function packBunTypes(): Uint8Array {
  return Bun.zstdCompressSync(JSON.stringify(collectBunTypes()), { level: 19 });
}

/** From the packages of npm that hrmr itself is built with. Each is looked for from the one before, which depends on it. */
function collectBunTypes(): [path: string, text: string][] {
  let from = import.meta.path;
  return Object.entries(PACKAGES).flatMap(([name, packageName]) => {
    from = createRequire(from).resolve(`${packageName}/package.json`);
    const folder = dirname(from);
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const paths = files.map((entry) => relative(folder, join(entry.parentPath, entry.name))).filter((path) => !LEFT_OUT.test(path));
    return paths.sort().map((path): [string, string] => [`types/${name}/${path}`, readFileSync(join(folder, path), "utf8")]);
  });
}
