/** Modules that are built without the bundler: which they are, and that nobody can tell the difference. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { join } from "node:path";
import { mappingsOf } from "../../../src/module/build/align";
import { buildModule } from "../../../src/module/build/build";
import { transpilePlain } from "../../../src/module/build/plain";
import { describeError } from "../../../src/module/graph/describe-error";
import { loadModule } from "../../../src/module/graph/load";
import { type Fixture, SILENT_LOG, withFixture } from "../../support/module-fixture";

const ROOT = join(import.meta.dir, "..", "..", "..");

function filesIn(folder: string): string[] {
  const names = readdirSync(join(ROOT, folder), { recursive: true }) as string[];
  return names
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"))
    .map((name) => join(ROOT, folder, name));
}

describe("the source map", () => {
  const transpiler = new Bun.Transpiler({ loader: "ts", target: "bun", deadCodeElimination: false });

  test.each(["examples", "modules", "src/router", "src/module", "src/reload"])(
    "leads each word of the files in %s to the same word of the source",
    (folder) => {
      let words = 0;
      let lost = 0;
      for (const path of filesIn(folder)) {
        const source = readFileSync(path, "utf8");
        const code = transpiler.transformSync(source);
        const mappings = mappingsOf(source, code);
        if (mappings === null) continue;
        const map = new SourceMap({ version: 3, sources: [path], names: [], mappings } as never);
        const [lines, from] = [code.split("\n"), source.split("\n")];
        for (const [line, text] of lines.entries()) {
          for (const { 0: word, index } of text.matchAll(/[\p{L}$_][\p{L}\d$_]*/gu)) {
            const entry = map.findEntry(line, index);
            words++;
            const isExact = "originalLine" in entry && entry.generatedLine === line && entry.generatedColumn === index;
            // Words of a string have the place of its beginning.
            if (!isExact) lost++;
            else expect(from[entry.originalLine]?.slice(entry.originalColumn)).toStartWith(word);
          }
        }
      }
      expect(words).toBeGreaterThan(500);
      expect(lost / words).toBeLessThan(0.25);
    },
  );

  test("is not made for texts that are too different", () => {
    expect(mappingsOf("const a = 1;\n", "completely(other, words, here);\n")).toBeNull();
    expect(mappingsOf("", "")).toBe("");
  });
});

const body = 'export default { routes: { A: () => "a\\n" } };\n';

describe("without the bundler", () => {
  test.each<[string, string, Record<string, string>]>([
    ["a module without imports", body, {}],
    [
      "types, and imports of hrmr, node: and bun:",
      `import type { X } from "./x";\nimport { readFileSync } from "node:fs";\nimport { sql } from "bun:sqlite";\nimport { defineModule } from "hrmr";\nexport default defineModule({ routes: { A: () => String([readFileSync, sql]) } } as X);\n`,
      {},
    ],
    [
      "a class, with the tsconfig.json that `hrmr init` writes",
      `class A { x = 1 }\nexport const a = new A();\n${body}`,
      { "tsconfig.json": readFileSync(join(ROOT, "examples/init/tsconfig.json"), "utf8") },
    ],
  ])("is built: %s", (_, text, others) =>
    withFixture({ ...others, "m.ts": text }, async (fixture) => {
      expect((await fixture.build("m")).isPlain).toBe(true);
    }),
  );

  test.each<[string, string, Record<string, string>]>([
    ["an import of a file", `import { x } from "./x";\nexport { x };\n${body}`, { "x.ts": "export const x = 1;" }],
    ["an import of a package", `import { Hono } from "hono";\nexport const a = new Hono();\n${body}`, {}],
    ["a re-export", `export * from "./x";\n${body}`, { "x.ts": "export const x = 1;" }],
    ["import.meta", `export const d = import.meta.dir;\n${body}`, {}],
    ["a computed import", `export const f = (x: string) => import("./" + x);\n${body}`, {}],
    ["require", `const fs = require("node:fs");\nexport { fs };\n${body}`, {}],
    ["an enum", `export enum E { A, B }\n${body}`, {}],
    ["NODE_ENV", `export const e = process.env.NODE_ENV;\n${body}`, {}],
    ["a decorator", `const d = (v: any) => v;\n@d class A {}\nexport { A };\n${body}`, {}],
    [
      "a tsconfig.json that extends another",
      body,
      { "tsconfig.json": '{ "extends": "./base.json" }', "base.json": "{}" },
    ],
    [
      "a tsconfig.json with older class fields",
      body,
      { "tsconfig.json": '{ "compilerOptions": { "useDefineForClassFields": false } }' },
    ],
  ])("is not built: %s", (_, text, others) =>
    withFixture({ ...others, "m.ts": text }, async (fixture) => {
      expect((await fixture.build("m")).isPlain).toBe(false);
    }),
  );

  test("is not built what cannot be read, and no other kind of file", () =>
    withFixture({ "m.tsx": body, "m.cjs": body }, async ({ modules }) => {
      for (const name of ["m.tsx", "m.cjs", "none.ts", "."]) expect(transpilePlain(join(modules, name))).toBeNull();
    }));
});

/** The build's error, or the bundle's when it is loaded. Like a reload, it asks the bundler after a failed load. */
async function failureOf(fixture: Fixture, isExact: boolean): Promise<string> {
  const file = { name: "m", file: join(fixture.modules, "m.ts") };
  let isLoading = false;
  try {
    const built = await buildModule(file, { stateDir: fixture.stateDir, external: [] }, isExact);
    const options = { globals: {}, host: "main", log: SILENT_LOG, onError: () => undefined, timeoutMs: 2000 } as const;
    isLoading = !isExact;
    await (await loadModule(fixture.spec(built), options)).dispose();
    return "no error";
  } catch (error) {
    return isLoading ? await failureOf(fixture, true) : describeError(error);
  }
}

test.each<[string, string]>([
  ["a missing brace", "export default {"],
  ["two exports of one name", `export const a = 1;\nexport const a = 2;\n${body}`],
  ["two declarations of one name", `const a = 1;\nlet a = 2;\n${body}`],
  ["an assignment to a constant", `const a = 1;\na = 2;\n${body}`],
  ["an assignment to an import", `import { readFileSync } from "node:fs";\nreadFileSync = 1;\n${body}`],
  ...[
    "(readFileSync) = 1",
    "readFileSync++",
    "--readFileSync",
    "readFileSync ??= 1",
    "[readFileSync] = [1 as any]",
    "({ a: readFileSync } = x)",
    "for (readFileSync of []);",
  ].map((text): [string, string] => [
    `${text} on an import, in a function`,
    `import { readFileSync } from "node:fs";\nexport const f = (x: any) => {\n  ${text};\n  return x;\n};\n${body}`,
  ]),
  ["await in a plain function", `export function f() { await 1; }\n${body}`],
  ["an unfinished string", `export const a = "x;\n${body}`],
  ["an unknown escape in a regular expression", `export const a = /(/;\n${body}`],
  ["an export that is not there", `export { nothing };\n${body}`],
  ["an unknown built-in", `import { x } from "node:nothing";\nexport { x };\n${body}`],
  ["a missing export of a built-in", `import { nothing } from "node:fs";\nexport { nothing };\n${body}`],
  ["a missing export of hrmr", `import { nothing } from "hrmr";\nexport { nothing };\n${body}`],
  ["a return at top level", `return 1;\n${body}`],
  ["no default export", "export const a = 1;\n"],
  ["a wrong shape", "export default { routes: 5 };\n"],
  ["an unknown key", `export default { rotues: {} };\n`],
])("%s: the error is the bundler's, unless both have none", (_, text) =>
  withFixture({ "m.ts": text }, async (fixture) => {
    const exact = await failureOf(fixture, true);
    expect(await failureOf(fixture, false)).toBe(exact);
  }),
);

test("a stack names the author's file with the lines of the bundler's map, for each version that is in memory", () =>
  withFixture({}, async (fixture) => {
    const text = (lines: number): string =>
      `import { defineModule } from "hrmr";\n${"// a line\n".repeat(lines)}interface X { a: string }\ntype Y = { x: X };\n\nfunction inner(y: Y): never {\n  const text: string = \`boom \${y.x.a}\`;\n\n  throw new TypeError(text);\n}\nconst outer = (x: X) => {\n  // a comment\n  const made = inner({ x });\n  return made;\n};\nexport default defineModule({\n  routes: {\n    A: () => {\n      const made = outer({ a: "b" } as X);\n      return made;\n    },\n  },\n});\n`;
    const stacks: string[][] = [];
    const modules = [];
    for (const [lines, isExact] of [
      [0, false],
      [0, true],
      [7, false],
      [7, true],
    ] as const) {
      fixture.write("m.ts", text(lines));
      const built = await buildModule(
        { name: "m", file: join(fixture.modules, "m.ts") },
        { stateDir: fixture.stateDir, external: [] },
        isExact,
      );
      expect(built.isPlain).toBe(!isExact);
      const options = {
        globals: {},
        host: "main",
        log: SILENT_LOG,
        onError: () => undefined,
        timeoutMs: 2000,
      } as const;
      modules.push(await loadModule(fixture.spec(built), options));
    }
    for (const module of modules) {
      const { handler } = module.shape.routes[0] as { handler: unknown };
      try {
        module.run(handler as () => void);
      } catch (error) {
        const frames = String((error as Error).stack).split("\n");
        stacks.push(frames.filter((line) => line.includes("m.ts:")).map((line) => line.trim().replace(/:\d+\)?$/, "")));
      }
      await module.dispose();
    }
    expect(stacks[0]).toHaveLength(3);
    expect(stacks[0]?.[0]).toBe(`at inner (${fixture.modules}/m.ts:8`);
    expect(stacks[0]).toEqual(stacks[1] as string[]);
    expect(stacks[2]?.[0]).toBe(`at inner (${fixture.modules}/m.ts:15`);
    expect(stacks[2]).toEqual(stacks[3] as string[]);
  }));
