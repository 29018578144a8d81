/** `hrmr version`: the version of this hrmr, and the sources of its build. */
import { join } from "node:path";
import { defineCommand } from "citty";
import { version } from "../../../package.json";
import { type Flags, switchFlag } from "../flags";

/** The program's version, from package.json; the build embeds it. */
export const VERSION: string = version;

/**
 * The commit that the binary was built from, named by `git describe`. build.ts defines it. Undefined when it runs from
 * source.
 */
declare const BUILD_COMMIT: string | undefined;

const args = {
  verbose: switchFlag("Also print the commit, Bun's version and the target platform. -V is the same"),
  json: switchFlag("Print all of it as JSON"),
} as const satisfies Flags;

/** The output of `hrmr version --json`. */
interface BuildDetails {
  readonly version: string;
  /** `1a2b3c4d5e6f`, followed by `-dirty` if files had changed; null: not known. */
  readonly commit: string | null;
  /** Bun's version, such as `1.4.4`. */
  readonly bun: string;
  readonly bunCommit: string;
  /** `linux-x64` */
  readonly target: string;
  /** true: the standalone binary. false: runs from source. */
  readonly binary: boolean;
  /** The file that runs. */
  readonly path: string;
}

/** `hrmr version`, `hrmr -v`, `hrmr --version`; with --verbose also `hrmr -V`. */
export const versionCommand = defineCommand({
  meta: { name: "version", description: "Print the version; with --verbose, the build too" },
  args,
  run({ args: { verbose, json } }) {
    const name = `hrmr ${VERSION}`;
    if (json !== true && verbose !== true) return console.log(name);
    const details = buildDetails();
    if (json === true) return console.log(JSON.stringify(details, null, process.stdout.isTTY === true ? 2 : undefined));
    const { commit, bun, bunCommit, target, binary, path } = details;
    const lines = [
      name,
      `commit  ${commit ?? "unknown"}`,
      `bun     ${bun} (${bunCommit.slice(0, 12)})`,
      `target  ${target}`,
    ];
    console.log([...lines, `${binary ? "binary  " : "source  "}${path}`].join("\n"));
  },
});

function buildDetails(): BuildDetails {
  const root = join(import.meta.dir, "..", "..", "..");
  const isBinary = Bun.isStandaloneExecutable;
  return {
    version: VERSION,
    commit: isBinary ? (typeof BUILD_COMMIT === "string" && BUILD_COMMIT !== "" ? BUILD_COMMIT : null) : commitOf(root),
    bun: Bun.version,
    bunCommit: Bun.revision,
    target: `${process.platform}-${process.arch}`,
    binary: isBinary,
    path: isBinary ? process.execPath : root,
  };
}

/**
 * @returns the commit of the checkout in `folder`, with `-dirty` if files have changed; null if it is no checkout, or
 *   there is no git
 */
export function commitOf(folder: string): string | null {
  const git = Bun.which("git");
  if (git === null) return null;
  // An installed package may lie inside another repository: its commit says nothing about hrmr.
  const run = (...words: string[]) =>
    Bun.spawnSync([git, "-C", folder, ...words], { stdin: "ignore", stderr: "ignore" });
  const top = run("rev-parse", "--show-prefix");
  if (top.exitCode !== 0 || top.stdout.toString().trim() !== "") return null;
  const { exitCode, stdout } = run("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*");
  return exitCode === 0 ? stdout.toString().trim() : null;
}
