/**
 * Builds the binary: `bun build.ts [--target bun-linux-arm64] [--outfile PATH]`. Default: dist/hrmr, for this machine.
 *
 * Workers: `new Worker(new URL("./worker.ts", import.meta.url).href)` works from source and in the binary alike, if the
 * file that says so lies beside the worker's. In the binary all code lies at the root: `naming` puts each entry there,
 * and each chunk that entries and `import()` share.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { ASSETS } from "./src/config/assets";
import { BUN_TYPES_FILE, packBunTypes } from "./src/cli/bun-types";
import { commitOf, VERSION } from "./src/cli/commands/version";
import { prebuild } from "./src/module/build/build";
import { type Prebuilt, PREBUILT_FILE } from "./src/module/build/prebuilt";

const ENTRIES = [
  "src/main.ts",
  "src/host/inside/worker.ts",
  "src/host/watchdog/watchdog-worker.ts",
  "src/module/probe/probe-worker.ts",
  "src/store/backends/sqlite/readers/reader-worker.ts",
];

const { values } = parseArgs({ options: { target: { type: "string" }, outfile: { type: "string" } } });
const { target } = values;
const outfile = resolve(
  values.outfile ?? (target === undefined ? "dist/hrmr" : `dist/hrmr-${target.replace(/^bun-/, "")}`),
);
const root = import.meta.dir;
mkdirSync(dirname(outfile), { recursive: true });

// A checkout without its history, as in a container, is told the commit from outside.
const commit = process.env["GIT_COMMIT"] || (commitOf(root) ?? "");
const startedAt = performance.now();
const made = mkdtempSync(join(tmpdir(), "hrmr-build-"));
process.on("exit", () => rmSync(made, { recursive: true, force: true }));
writeFileSync(join(made, BUN_TYPES_FILE), packBunTypes());
writeFileSync(join(made, PREBUILT_FILE), JSON.stringify(await prebuildShipped(join(root, "modules"))));
const result = await Bun.build({
  entrypoints: ENTRIES.map((entry) => join(root, entry)),
  naming: { entry: "[name].[ext]", chunk: "[name]-[hash].[ext]" },
  target: "bun",
  format: "esm",
  // Parsed ahead of time: a start costs less.
  bytecode: true,
  // A command loads what it imports, not the whole program: the version, a module's process or a thread of the pool
  // needs a small part.
  splitting: true,
  define: { BUILD_COMMIT: JSON.stringify(commit) },
  // Embedded, so that a stack shows the lines of the sources.
  sourcemap: "inline",
  compile: {
    ...(target === undefined ? {} : { target: target as Bun.Build.CompileTarget }),
    outfile,
    assets: [...ASSETS.map((asset) => join(root, asset)), join(made, BUN_TYPES_FILE), join(made, PREBUILT_FILE)],
    // Without these two a module on disk finds neither its npm packages nor its tsconfig's `paths`.
    autoloadPackageJson: true,
    autoloadTsconfig: true,
    // By default the binary would read .env and run what a bunfig.toml of its working directory preloads.
    autoloadDotenv: false,
    autoloadBunfig: false,
  },
  throw: false,
});
for (const log of result.logs) console.error(log);
if (!result.success) process.exit(1);

// The maps are inside; what lies beside the binary is the same again.
for (const output of result.outputs) if (output.kind === "sourcemap") rmSync(output.path, { force: true });
console.log(
  `${outfile}: hrmr ${VERSION}${target === undefined ? "" : ` for ${target}`}, in ${Math.round(performance.now() - startedAt)} ms`,
);

/** @returns the bundle of each module in `folder`, by the path of its file */
async function prebuildShipped(folder: string): Promise<Record<string, Prebuilt>> {
  const paths = ["*.ts", "*/index.ts"].flatMap((pattern) => [...new Bun.Glob(pattern).scanSync(folder)]).sort();
  if (paths.length === 0) throw new Error(`There are no modules in ${folder}.`);
  const built = paths.map(async (path) => [path, await prebuild({ name: path, file: join(folder, path) }, folder)]);
  return Object.fromEntries(await Promise.all(built));
}
