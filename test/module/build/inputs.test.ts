import { expect, test } from "bun:test";
import { chmodSync, linkSync, rmSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasChanged } from "../../../src/module/build/inputs";
import { withFixture, type Fixture } from "../../support/module-fixture";

const FILES = {
  "m.ts":
    'import { leaf } from "./lib/leaf";\nimport data from "./data.json";\nimport { Hono } from "hono";\nexport default new Hono().get("/", (c) => c.text(leaf + data.a));\n',
  "lib/leaf.ts": 'export { leaf } from "./deep";\n',
  "lib/deep/index.ts": 'export const leaf = "leaf";\n',
  "data.json": '{ "a": 1 }',
  "other.ts": "export default 1;\n",
  "package.json": '{ "name": "modules" }',
};

const changes: [string, (fixture: Fixture) => void][] = [
  ["the entry is edited", (f) => f.write("m.ts", `${FILES["m.ts"]}// more\n`)],
  [
    "the entry is replaced by a file of the same size",
    (f) => f.replace("m.ts", FILES["m.ts"].replace("leaf + data", "data+leaf   ")),
  ],
  ["a file it imports is edited", (f) => f.write("lib/deep/index.ts", 'export const leaf = "twig";\n')],
  ["a JSON file it imports is edited", (f) => f.write("data.json", '{ "a": 2 }')],
  ["a file it imports is deleted", (f) => unlinkSync(join(f.modules, "lib/leaf.ts"))],
  ["a new sibling would be preferred", (f) => f.write("lib/leaf.tsx", "export const leaf = 2;\n")],
  ["a new file would be preferred to a folder", (f) => f.write("lib/deep.ts", "export const leaf = 2;\n")],
  ["a tsconfig appears", (f) => f.write("tsconfig.json", "{}")],
  ["a package.json is edited", (f) => f.write("package.json", '{ "name": "modules", "type": "commonjs" }')],
  ["a nearer copy of a package is installed", (f) => f.write("node_modules/hono/package.json", '{ "name": "hono" }')],
  ["the bundle is deleted", (f) => rmSync(join(f.stateDir, "bundles"), { recursive: true })],
];

test.each(changes)("a module counts as changed when %s", async (_, change) => {
  await withFixture(FILES, async (fixture) => {
    const { inputs } = await fixture.buildSettled("m");
    expect(hasChanged(inputs)).toBeFalse();
    change(fixture);
    expect(hasChanged(inputs)).toBeTrue();
  });
});

test.each<[string, (fixture: Fixture) => void]>([
  ["edited in place", (f) => f.write("other.ts", "export default 2;\n")],
  ["edited by rename", (f) => f.replace("other.ts", "export default 2;\n")],
  ["added", (f) => f.write("third.ts", "export default 3;\n")],
  ["deleted", (f) => unlinkSync(join(f.modules, "other.ts"))],
  ["made unreadable", (f) => chmodSync(join(f.modules, "other.ts"), 0)],
])("a module does not count as changed when another is %s", async (_, change) => {
  await withFixture(FILES, async (fixture) => {
    const { inputs } = await fixture.buildSettled("m");
    change(fixture);
    expect(hasChanged(inputs)).toBeFalse();
    fixture.write("m.ts", "export default 5;\n");
    expect(hasChanged(inputs)).toBeTrue();
  });
});

test("a module does not count as changed when its version is kept by a link to the bundle", async () => {
  await withFixture(FILES, async (fixture) => {
    const { inputs, file } = await fixture.buildSettled("m");
    linkSync(file, `${file}.kept`);
    expect(hasChanged(inputs)).toBeFalse();
    writeFileSync(file, "another bundle");
    expect(hasChanged(inputs)).toBeTrue();
  });
});

test("an edit that restores the file's time and size is seen", async () => {
  await withFixture(FILES, async (fixture) => {
    const path = join(fixture.modules, "data.json");
    const time = new Date("2020-01-01T00:00:00Z");
    utimesSync(path, time, time);
    const { inputs } = await fixture.buildSettled("m");
    fixture.write("data.json", '{ "a": 3 }');
    utimesSync(path, time, time);
    expect(hasChanged(inputs)).toBeTrue();
  });
});

test("what was written in the very moment of a build is built once more, and then counts as seen", async () => {
  await withFixture({ "m.ts": "export default 1;\n" }, async (fixture) => {
    fixture.write("m.ts", "export default 2;\n");
    // A second write of the same size within the kernel's clock tick would leave no trace.
    const { inputs, hash } = await fixture.build("m");
    expect(inputs.isSettled).toBeFalse();
    expect(hasChanged(inputs)).toBeTrue();
    expect((await fixture.buildSettled("m")).hash).toBe(hash);
  });
});

test("a look at twenty modules with hono and zod takes a few milliseconds", async () => {
  const text =
    'import { Hono } from "hono";\nimport { z } from "zod";\nexport default new Hono().get("/", (c) => c.json(z.string().parse("N")));\n';
  const names = Array.from({ length: 20 }, (_, index) => `m${index}`);
  await withFixture(Object.fromEntries(names.map((name) => [`${name}.ts`, text])), async (fixture) => {
    const built = [await fixture.buildSettled("m0")];
    for (const name of names.slice(1, 3)) built.push(await fixture.buildSettled(name));
    const sets = names.map((_, index) => built[index % built.length]?.inputs);
    const times: number[] = [];
    for (let round = 0; round < 5; round++) {
      const memo = new Map<string, string>();
      const startedMs = performance.now();
      for (const inputs of sets) expect(inputs !== undefined && hasChanged(inputs, memo)).toBeFalse();
      times.push(performance.now() - startedMs);
    }
    expect(Math.min(...times)).toBeLessThan(10);
  });
});
