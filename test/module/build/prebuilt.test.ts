/** Bundles of shipped modules, made when the binary is built. */
import { expect, test } from "bun:test";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildModule, prebuild } from "../../../src/module/build/build";
import { type InputSet, noteInputs } from "../../../src/module/build/inputs";
import { fromPrebuilt, type Prebuilt } from "../../../src/module/build/prebuilt";
import { moduleSource, withHub } from "../../support/hub";
import { type Fixture, withFixture } from "../../support/module-fixture";

const FILES = {
  "m.ts":
    'import { join } from "node:path";\nimport { word } from "./lib/word";\nexport default { routes: { "A": () => join(word) } };\n',
  "lib/word.ts": 'export const word: string = "a";\n',
};

/** @returns the bundle of module m, and a copy of its files in the state folder */
async function prebuiltBeside(fixture: Fixture): Promise<{ prebuilt: Prebuilt; copy: string }> {
  const prebuilt = await prebuild({ name: "m", file: join(fixture.modules, "m.ts") }, fixture.modules);
  const copy = join(fixture.stateDir, "shipped");
  cpSync(fixture.modules, copy, { recursive: true });
  return { prebuilt: JSON.parse(JSON.stringify(prebuilt)) as Prebuilt, copy };
}

const namesIn = ({ files, configs, links, folders }: InputSet): string[][] =>
  [files, configs, links, folders].map((map) => [...map.keys()].sort());

test("a bundle made beforehand has the inputs and the places of one that is built where its files lie", () =>
  withFixture(FILES, async (fixture) => {
    const { prebuilt, copy } = await prebuiltBeside(fixture);
    const file = join(copy, "m.ts");
    const built = await buildModule({ name: "m", file }, { stateDir: fixture.stateDir, external: [] });
    const moved = fromPrebuilt(prebuilt, copy);
    if (moved === null) throw new Error("the files were taken for others");
    expect(namesIn(noteInputs(moved.graph, file, built.file, [], Date.now()))).toEqual(namesIn(built.inputs));
    expect(moved.map.sources.toSorted()).toEqual([join(copy, "lib/word.ts"), file]);
  }));

test.each([
  ["changed", (path: string) => writeFileSync(path, 'export const word = "b";\n')],
  ["gone", (path: string) => rmSync(path)],
])("a bundle made beforehand is not taken if a file is %s", (_, change) =>
  withFixture(FILES, async (fixture) => {
    const { prebuilt, copy } = await prebuiltBeside(fixture);
    change(join(copy, "lib/word.ts"));
    expect(fromPrebuilt(prebuilt, copy)).toBeNull();
  }),
);

// From source nothing was built beforehand.
test.skipIf(process.env.HRMR_BIN === undefined)("the binary serves the bundles that it was built with", () =>
  withHub({ "modules/a.ts": moduleSource(`{ routes: { "A": () => "a" } }`) }, [], async (hub) => {
    const folder = join(hub.dir, ".hrmr", "bundles", "http");
    const names = readdirSync(folder).filter((name) => name.endsWith(".js"));
    const texts = names.map((name) => readFileSync(join(folder, name), "utf8"));
    expect(texts.every((text) => text.includes("// modules/http/index.ts\n"))).toBe(true);
    expect(texts).toHaveLength(1);
  }),
);
