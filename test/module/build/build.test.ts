import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { pruneBundles } from "../../../src/module/build/build";
import { describeError, ModuleError } from "../../../src/module/graph/describe-error";
import { hasChanged } from "../../../src/module/build/inputs";
import { rejection, withFixture } from "../../support/module-fixture";

const failures: [
  string,
  Record<string, string>,
  { file?: string; line: number; column: number; message: string | RegExp; frame: string },
][] = [
  [
    "a syntax error",
    { "m.ts": 'const a = 1;\nexport default { routes: { "A": () => 1 +, } };\n' },
    {
      line: 2,
      column: 42,
      message: "Unexpected ,",
      frame: `1 | const a = 1;\n2 | export default { routes: { "A": () => 1 +, } };\n  | ${" ".repeat(41)}^`,
    },
  ],
  [
    "a missing file",
    { "m.ts": 'import { y } from "./lib/nothing";\nexport default y;\n' },
    {
      line: 1,
      column: 19,
      message: 'Cannot find "./lib/nothing"',
      frame: `1 | import { y } from "./lib/nothing";\n  | ${" ".repeat(18)}^`,
    },
  ],
  [
    "a missing package",
    { "m.ts": '// first\n\timport z from "@no/such-package/sub";\nexport default z;\n' },
    {
      line: 2,
      column: 16,
      message:
        /^Cannot find package "@no\/such-package\/sub": .*\(hrmr add @no\/such-package, or npm install @no\/such-package\)$/,
      frame: `1 | // first\n2 | \timport z from "@no/such-package/sub";\n  | \t${" ".repeat(14)}^`,
    },
  ],
  [
    "a missing export",
    {
      "m.ts": 'import { a,\n  nothere } from "./lib/h";\nexport default [a, nothere];\n',
      "lib/h.ts": "export const a = 1;\n",
    },
    {
      line: 2,
      column: 3,
      message: /^No matching export in ".*lib\/h.ts" for import "nothere"$/,
      frame: '1 | import { a,\n2 |   nothere } from "./lib/h";\n  |   ^',
    },
  ],
  [
    "a mistake in a helper file",
    { "m.ts": 'import "./lib/h";\nexport default 1;\n', "lib/h.ts": "\n\nconst x = ;\n" },
    {
      file: "lib/h.ts",
      line: 3,
      column: 11,
      message: "Unexpected ;",
      frame: `3 | const x = ;\n  | ${" ".repeat(10)}^`,
    },
  ],
];

test.each(failures)(
  "the build tells file, line, column and code of %s",
  async (_, files, { file = "m.ts", ...expected }) => {
    await withFixture(files, async (fixture) => {
      const error = await rejection(fixture.build("m"));
      expect(error).toBeInstanceOf(ModuleError);
      expect(error).toMatchObject({
        module: "m",
        file: join(fixture.modules, file),
        line: expected.line,
        column: expected.column,
        frame: expected.frame,
      });
      const { message } = error as ModuleError;
      if (typeof expected.message === "string") expect(message).toBe(expected.message);
      else expect(message).toMatch(expected.message);
      expect(describeError(error)).toStartWith(
        `${join(fixture.modules, file)}:${expected.line}:${expected.column}: ${message}\n${expected.frame}`,
      );
    });
  },
);

test("all errors of a build are told", async () => {
  await withFixture({ "m.ts": 'import "./one";\nimport "./two";\n' }, async (fixture) => {
    const text = describeError(await rejection(fixture.build("m")));
    expect(text).toContain('m.ts:1:8: Cannot find "./one"');
    expect(text).toContain('m.ts:2:8: Cannot find "./two"');
  });
});

test("a module file that is gone is a ModuleError naming it", async () => {
  await withFixture({}, async (fixture) => {
    expect(await rejection(fixture.build("gone"))).toMatchObject({
      name: "ModuleError",
      file: join(fixture.modules, "gone.ts"),
      line: undefined,
    });
  });
});

test("the same source gives the same hash and leaves the bundle alone; another gives another", async () => {
  await withFixture({ "m.ts": "export default 1;\n" }, async (fixture) => {
    const first = await fixture.build("m");
    expect(first.hash).toMatch(/^[0-9a-f]{12}$/);
    expect(first.file).toBe(join(fixture.stateDir, "bundles", "m", `${first.hash}.js`));
    const written = statSync(first.file, { bigint: true });
    const again = await fixture.build("m");
    expect(again.hash).toBe(first.hash);
    const { ino, mtimeNs } = statSync(again.file, { bigint: true });
    expect({ ino, mtimeNs }).toEqual({ ino: written.ino, mtimeNs: written.mtimeNs });
    fixture.write("m.ts", "export default 2;\n");
    expect((await fixture.build("m")).hash).not.toBe(first.hash);
    expect(readdirSync(join(fixture.stateDir, "bundles"))).toEqual(["m"]);
  });
});

test("pruning keeps the named versions and deletes the others of that module", async () => {
  await withFixture({ "m.ts": "export default 1;\n", "n.ts": "export default 9;\n" }, async (fixture) => {
    const other = await fixture.build("n");
    const first = await fixture.build("m");
    fixture.write("m.ts", "export default 2;\n");
    const second = await fixture.build("m");
    await pruneBundles(fixture.stateDir, "m", new Set([second.hash]), 0);
    const left = readdirSync(join(fixture.stateDir, "bundles", "m")).filter((name) => name.endsWith(".js"));
    expect(left).toEqual([`${second.hash}.js`]);
    expect(first.hash).not.toBe(second.hash);
    expect(statSync(other.file).isFile()).toBeTrue();
    await pruneBundles(fixture.stateDir, "never-built", new Set());
  });
});

test("each bundled file still knows its own place", async () => {
  const files = {
    "m.ts": [
      'import { here } from "./lib/h";',
      'import { where } from "located";',
      'const text = "import.meta.dir";',
      "if (import.meta.main) throw new Error('started');",
      'const found = import.meta.resolve("./lib/h.ts");',
      "export default { routes: { A: () => JSON.stringify({ dir: import.meta.dir, url: import.meta.url, here, where, text, found }) } };",
    ].join("\n"),
    "lib/h.ts": "export const here = [import.meta.dirname, import.meta.path, import.meta.file];\n",
    "node_modules/located/package.json": '{ "name": "located", "type": "module", "main": "index.js" }',
    "node_modules/located/index.js": "export const where = import.meta.filename;\n",
  };
  await withFixture(files, async (fixture) => {
    const module = await fixture.load("m");
    const { modules } = fixture;
    const handler = module.shape.routes[0]?.handler as () => string;
    expect(JSON.parse(module.run(handler))).toEqual({
      dir: modules,
      url: Bun.pathToFileURL(join(modules, "m.ts")).href,
      here: [join(modules, "lib"), join(modules, "lib", "h.ts"), "h.ts"],
      where: join(modules, "node_modules/located/index.js"),
      text: "import.meta.dir",
      found: Bun.pathToFileURL(join(modules, "lib/h.ts")).href,
    });
    await module.dispose();
  });
});

test("an external package is not bundled and loads from the state folder", async () => {
  const files = {
    "m.ts": 'import { place } from "reads-itself/sub.js";\nexport default { routes: { A: () => place } };\n',
    "node_modules/reads-itself/package.json": '{ "name": "reads-itself", "type": "module" }',
    "node_modules/reads-itself/sub.js": "export const place = eval('import.meta.dir');\n".replace(
      "eval('import.meta.dir')",
      "import.meta.dir",
    ),
  };
  await withFixture(files, async (fixture) => {
    const built = await fixture.build("m", { external: ["reads-itself"] });
    const text = await Bun.file(built.file).text();
    const path = join(fixture.modules, "node_modules/reads-itself/sub.js");
    expect(text).toContain(`from "${path}"`);
    expect([...built.inputs.files.keys()]).toContain(path);
    expect(text).not.toContain("place =");
  });
});

test("what comes or changes after a first build is seen by the next, without a restart", async () => {
  const files = {
    "m.ts": [
      'import { v } from "./leaf";',
      'import { p } from "@p/x";',
      'import { k } from "late/sub";',
      "export default { routes: { A: () => [v, p, k].join() } };",
    ].join("\n"),
    "leaf.ts": 'export const v = "leaf.ts";',
    "one/x.ts": 'export const p = "one";',
    "two/x.ts": 'export const p = "two";',
    "tsconfig.json": '{ "compilerOptions": { "paths": { "@p/*": ["./one/*"] } } }',
    "node_modules/other/package.json": "{}",
  };
  await withFixture(files, async (fixture) => {
    const reply = async (): Promise<string> => {
      const module = await fixture.load("m");
      const text = module.run(module.shape.routes[0]?.handler as () => string);
      await module.dispose();
      return text;
    };
    expect(await rejection(reply())).toMatchObject({
      message: expect.stringContaining('Cannot find package "late/sub"'),
    });
    const late = (file: string): string =>
      fixture.write("node_modules/late/package.json", `{ "name": "late", "exports": { "./sub": "./${file}" } }`);
    fixture.write("node_modules/late/a.js", 'exports.k = "a";');
    fixture.write("node_modules/late/b.js", 'exports.k = "b";');
    late("a.js");
    expect(await reply()).toBe("leaf.ts,one,a");
    late("b.js");
    expect(await reply()).toBe("leaf.ts,one,b");
    fixture.write("leaf.tsx", 'export const v = "leaf.tsx";');
    expect(await reply()).toBe("leaf.tsx,one,b");
    fixture.write("tsconfig.json", '{ "compilerOptions": { "paths": { "@p/*": ["./two/*"] } } }');
    expect(await reply()).toBe("leaf.tsx,two,b");
    fixture.write("base.json", '{ "compilerOptions": { "paths": { "@p/*": ["./one/*"] } } }');
    fixture.write("tsconfig.json", '{ /* a comment */ "extends": "./base.json" }');
    expect(await reply()).toBe("leaf.tsx,one,b");
    const { inputs } = await fixture.buildSettled("m");
    fixture.write("base.json", '{ "compilerOptions": { "paths": { "@p/*": ["./two/*"] } } }');
    expect(hasChanged(inputs)).toBeTrue();
    expect(await reply()).toBe("leaf.tsx,two,b");
  });
});

test("a state folder that cannot be written is not the module's fault", async () => {
  await withFixture({ "m.ts": "export default 1;\n" }, async (fixture) => {
    mkdirSync(fixture.stateDir);
    await Bun.write(join(fixture.stateDir, "bundles"), "a file");
    const error = await rejection(fixture.build("m"));
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(ModuleError);
  });
});
