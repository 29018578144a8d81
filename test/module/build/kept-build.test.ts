/** A build is used again by the next process while no input has changed. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BuiltModule, keptBuild } from "../../../src/module/build/build";
import { moduleSource } from "../../support/hub";
import { type Fixture, withFixture } from "../../support/module-fixture";
import { untilWritten, withProject } from "../../support/restarts";
import { until } from "../../support/until";

const FILES = {
  "m.ts":
    'import { leaf } from "./lib/leaf";\nimport { Hono } from "hono";\nexport default new Hono().get("/", (c) => c.text(leaf));\n',
  "lib/leaf.ts": 'export { leaf } from "./deep";\n',
  "lib/deep/index.ts": 'export const leaf = "leaf";\n',
};

const keptPath = ({ stateDir }: Fixture): string => join(stateDir, "bundles/m/inputs.json");

/** Builds m.ts, and waits until the build is kept. */
async function buildAndKeep(fixture: Fixture): Promise<BuiltModule> {
  const built = await fixture.buildSettled("m");
  const isKept = (): boolean =>
    existsSync(keptPath(fixture)) && JSON.parse(readFileSync(keptPath(fixture), "utf8")).hash === built.hash;
  await until("the build to be kept", isKept);
  return built;
}

function kept(fixture: Fixture, external: string[] = [], source = "m.ts"): BuiltModule | null {
  const file = { name: "m", file: join(fixture.modules, source) };
  return keptBuild(file, { stateDir: fixture.stateDir, external }, new Map());
}

test("a build whose inputs are unchanged is found, with what decides about the next one", () =>
  withFixture(FILES, async (fixture) => {
    expect(kept(fixture)).toBeNull();
    const { buildMs: _, ...built } = await buildAndKeep(fixture);
    expect(kept(fixture)).toMatchObject(built);
    expect(statSync(keptPath(fixture)).mode & 0o777).toBe(0o600);
    expect(kept(fixture, ["hono"])).toBeNull();
    expect(kept(fixture, [], "lib/../m.ts")).not.toBeNull();
    fixture.write("n.ts", FILES["m.ts"]);
    expect(kept(fixture, [], "n.ts")).toBeNull();
  }));

const CHANGES: [string, (fixture: Fixture, built: BuiltModule) => void][] = [
  ["the file is edited", (f) => f.write("m.ts", `${FILES["m.ts"]}// more\n`)],
  ["the file is replaced by its copy", (f) => f.replace("m.ts", FILES["m.ts"])],
  ["an import is edited", (f) => f.write("lib/deep/index.ts", 'export const leaf = "twig";\n')],
  ["an import is deleted", (f) => unlinkSync(join(f.modules, "lib/leaf.ts"))],
  ["a new file would be imported instead", (f) => f.write("lib/leaf.tsx", "export const leaf = 2;\n")],
  ["a tsconfig.json appears", (f) => f.write("tsconfig.json", "{}")],
  ["a nearer copy of a package is installed", (f) => f.write("node_modules/hono/package.json", '{ "name": "hono" }')],
  [
    "the file becomes a link",
    (f) => {
      f.write("_old.ts", FILES["m.ts"]);
      unlinkSync(join(f.modules, "m.ts"));
      symlinkSync("_old.ts", join(f.modules, "m.ts"));
    },
  ],
  ["the bundle is gone", (_, { file }) => rmSync(file)],
  ["the bundle is damaged", (_, { file }) => writeFileSync(file, readFileSync(file, "utf8").replace("leaf", "fael"))],
  ["the note about it is damaged", (f) => writeFileSync(keptPath(f), readFileSync(keptPath(f)).subarray(0, 99))],
  ["the note is of another kind", (f) => writeFileSync(keptPath(f), '{"builder":7}')],
  [
    "another hrmr or Bun has built it",
    (f) => writeFileSync(keptPath(f), readFileSync(keptPath(f), "utf8").replace(Bun.revision, "0000000")),
  ],
];

test.each(CHANGES)("a build is not used again when %s", (_, change) =>
  withFixture(FILES, async (fixture) => {
    const built = await buildAndKeep(fixture);
    expect(kept(fixture)).not.toBeNull();
    change(fixture, built);
    expect(kept(fixture)).toBeNull();
  }),
);

/** Adds a letter to `loads` each time it is loaded. */
const counting = (letter: string): string =>
  `import { appendFileSync } from "node:fs";\nappendFileSync("loads", "${letter}");\n${moduleSource(`{ routes: { "L": () => "${letter}\\n" } }`)}`;

test("a start neither builds nor probes what has served and is unchanged, and does both for what has changed", () =>
  withProject({ "modules/m.ts": counting("a") }, async (project) => {
    const loads = (): string => readFileSync(join(project.dir, "loads"), "utf8");
    const hub = await project.start();
    // Once in the probe, once to serve.
    expect(loads()).toBe("aa");
    await until("the build to be kept", () => existsSync(join(project.dir, ".hrmr/bundles/m/inputs.json")));
    await untilWritten(project.dir);
    const again = await project.restart();
    expect(loads()).toBe("aaa");
    expect(await again.ask("L\n")).toBe("a\n");
    hub.write("modules/m.ts", counting("b"));
    const third = await project.restart();
    expect(loads()).toBe("aaabb");
    expect(await third.ask("L\n")).toBe("b\n");
  }));
