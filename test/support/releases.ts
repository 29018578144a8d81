/** A project whose modules lie in releases, behind a link that a deployment switches. */
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Hub, makeProject } from "./hub";
import { startProgram } from "./program";

/** Like a deployment: in one step, so that the path always leads to a release. */
export function point(link: string, target: string): void {
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(target, `${link}.new`);
  renameSync(`${link}.new`, link);
}

/** A module with one route, in TypeScript. @param rest  further properties of the route */
export const answering = (path: string, expression: string, rest = ""): string =>
  `export default { routes: { "GET ${path}": { ${rest} fetch: () => new Response(${expression}) } } };\n`;

/** Release `n`: modules of its own, and what others import. */
export function writeRelease(dir: string, n: number): void {
  const files = {
    "modules/plain.ts": answering("/plain", `"plain ${n}"`),
    "modules/helped.ts": `import { said } from "./lib/said";\n${answering("/helped", `"helped " + said`)}`,
    "modules/lib/said.ts": `export const said = ${n};\n`,
    "static_html/index.html": `page ${n}`,
    "app/index.ts": `import { said } from "../shared/said";\n${answering("/app", `"app " + said`)}`,
    "single.ts": answering("/single", `"single ${n}"`),
    "shared/said.ts": `export const said = ${n};\n`,
    "package/package.json": `{ "name": "linked", "exports": { "./deep/*": "./src/*.ts" } }`,
    "package/src/said.ts": `export const said = ${n};\n`,
  };
  for (const [name, text] of Object.entries(files)) {
    const path = join(dir, "releases", String(n), name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

/** A test's view of a server of releases. */
export interface Deployment {
  readonly hub: Hub;
  /** Asks on fresh connections until every process has answered some. @returns the distinct answers */
  get(path: string): Promise<string[]>;
  release(n: number): void;
}

/** Serves `releases/1` by the link `current`. @param place  where the server is started, and with what */
export async function withReleases(
  place: { args?: string[]; cwd?: string; processes: number; prepare?: (dir: string) => void; isStateInside?: boolean },
  use: (deployment: Deployment) => Promise<void>,
): Promise<void> {
  const dir = makeProject({});
  rmSync(join(dir, "node_modules"));
  for (const n of [1, 2]) writeRelease(dir, n);
  point(join(dir, "current"), "releases/1");
  place.prepare?.(dir);
  const cwd = join(dir, place.cwd ?? ".");
  const state = place.isStateInside === true ? [] : ["--state", join(dir, "state")];
  const args = [
    "--port",
    "0",
    "--threads",
    "1",
    ...state,
    "--processes",
    String(place.processes),
    ...(place.args ?? []),
  ];
  const hub = new Hub(dir, await startProgram(args, { cwd, env: { PWD: cwd } }));
  const get = async (path: string): Promise<string[]> => {
    const answers = new Set<string>();
    for (let round = 0; round < (place.processes === 1 ? 1 : 12); round++) {
      const response = await fetch(hub.url + path, { headers: { connection: "close" } });
      answers.add(await response.text());
    }
    return [...answers];
  };
  try {
    await use({ hub, get, release: (n) => point(join(dir, "current"), `releases/${n}`) });
  } catch (error) {
    throw new Error(`${String(error)}\n--- the server said:\n${hub.program.output()}`, { cause: error });
  } finally {
    await hub.stop();
  }
}

/** Where a switched link may be, the flags for it, and the working directory. */
export const PLACES: [string, string[], string | undefined][] = [
  ["above the modules folder, named with --modules", ["--modules", "current/modules"], undefined],
  ["that is the modules folder", ["--modules", "linked"], undefined],
  ["on the way to the working directory", [], "current"],
];
