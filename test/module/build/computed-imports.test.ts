/** Paths that are known only when they are used start at the file that their author wrote, wherever the bundle lies. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { hasChanged } from "../../../src/module/build/inputs";
import { type Hub, reuseHubs, withHub } from "../../support/hub";
import { withFixture } from "../../support/module-fixture";

const reused = reuseHubs();

const route = (path: string, run: string, expression: string): string =>
  `"GET /${path}/:name": { run: "${run}", fetch: async (_, { params: { name } }) => new Response(String(${expression})) }`;

/** Each of them with `name` computed. */
const WAYS: Record<string, string> = {
  import: "(await import(`./_parts/${name}.ts`)).default",
  withoutEnding: '(await import("./_parts/" + name)).default',
  require: "require(`./_parts/${name}.ts`).default",
  requireResolve: 'require.resolve("./_parts/" + name).split("/").slice(-2).join("/")',
  metaRequire: "import.meta.require(`./_parts/${name}`).default",
  metaResolve: 'import.meta.resolve("./_parts/" + name).split("/").slice(-2).join("/")',
  url: "await Bun.file(new URL(`./_parts/${name}.txt`, import.meta.url)).text()",
  dir: "await Bun.file(import.meta.dir + `/_parts/${name}.txt`).text()",
  dirname: "await Bun.file(`${__dirname}/_parts/${name}.txt`).text()",
  helper: "(await helped(name)).default",
  package: "await fromPackage(name)",
  bare: "(await import(`parts-${name}`)).said",
  builtIn: '(await import("node:" + "path")).basename("/x/" + name)',
  data: '(await import(`./_parts/${name}.json`, { with: { type: "json" } })).default.said',
  worker:
    "await new Promise((resolve, reject) => { const worker = new Worker(new URL(`./_parts/${name}-worker.ts`, import.meta.url)); worker.onmessage = (event) => { worker.terminate(); resolve(event.data); }; worker.onerror = reject; })",
};
const RESULTS: Record<string, string> = {
  requireResolve: "_parts/one.ts",
  metaResolve: "_parts/one.ts",
  builtIn: "one",
};

function moduleText(run: string): string {
  const routes = Object.entries(WAYS).map(([path, expression]) => route(path, run, expression));
  const head = `import { helped } from "./lib/deep/help";\nimport { fromPackage } from "parts-package";\n`;
  // A text that only looks like a call stays as it is.
  const texts = `"GET /text": { run: "${run}", fetch: () => new Response("import(x) __require(x) " + \`import(\${1})\`) }`;
  return `${head}export default { routes: {\n${[...routes, texts].join(",\n")}\n} };\n`;
}

const FILES = {
  "modules/_parts/one.ts": 'export default "one";\n',
  "modules/_parts/one.txt": "one",
  "modules/_parts/one.json": '{ "said": "one" }',
  "modules/_parts/one-worker.ts": 'postMessage("one");\n',
  "modules/lib/deep/help.ts": "export const helped = (name: string) => import(`./parts/${name}`);\n",
  "modules/lib/deep/parts/one.ts": 'export default "one";\n',
  "modules/node_modules/parts-package/package.json": '{ "name": "parts-package", "main": "./index.js" }',
  "modules/node_modules/parts-package/index.js": "exports.fromPackage = async (name) => require(`./locale/${name}`);\n",
  "modules/node_modules/parts-package/locale/one.js": 'module.exports = "one";\n',
  "modules/node_modules/parts-one/package.json": '{ "name": "parts-one", "main": "./index.js" }',
  "modules/node_modules/parts-one/index.js": 'exports.said = "one";\n',
};

async function get(hub: Hub, path: string): Promise<string> {
  return await (await fetch(`${hub.url}/${path}`)).text();
}

test.each(["inline", "pool", "process"])(
  "computed paths start at the author's file, with run: %s and a state folder elsewhere",
  (run) =>
    reused({ ...FILES, "modules/m.ts": moduleText(run) }, ["--state", "elsewhere/state"], async (hub) => {
      for (const way of Object.keys(WAYS))
        expect([way, await get(hub, `${way}/one`)]).toEqual([way, RESULTS[way] ?? "one"]);
      expect(await get(hub, "text")).toBe("import(x) __require(x) import(1)");
    }),
);

test("what a computed path may mean is part of the module: a RELOAD takes its new text, and one that comes later is found", () =>
  reused({ ...FILES, "modules/m.ts": moduleText("inline") }, [], async (hub) => {
    expect(await get(hub, "import/one")).toBe("one");
    hub.write("modules/_parts/one.ts", 'export default "edited";\n');
    expect(await hub.ask("RELOAD")).toMatch(/^OK m v2 \(was v1\) swapped/);
    expect(await get(hub, "import/one")).toBe("edited");
    expect(await get(hub, "require/one")).toBe("edited");
    expect(await hub.ask("RELOAD")).toMatch(/^OK \d modules unchanged/);
    expect((await fetch(`${hub.url}/import/two`)).status).toBe(500);
    await hub.program.waitFor(
      new RegExp(`Cannot find module.*_parts/two\\.ts' imported from ${join(hub.dir, "modules")}`),
    );
    hub.write("modules/_parts/two.ts", 'export default "two";\n');
    expect(await get(hub, "import/two")).toBe("two");
  }));

test("what such a file imports is part of the module, too: a RELOAD takes its new text", () => {
  const files = {
    "modules/_parts/one.ts": 'import { deep } from "../lib/deep";\nexport default deep;\n',
    "modules/lib/deep.ts": 'export * from "./deeper";\n',
    "modules/lib/deeper.ts": 'export const deep = "one";\n',
    "modules/m.ts":
      "export default { routes: { 'GET /:n': { fetch: async (_, { params }) => new Response((await import(`./_parts/${params.n}.ts`)).default) } } };\n",
  };
  return withHub(files, [], async (hub) => {
    expect(await get(hub, "one")).toBe("one");
    hub.write("modules/lib/deeper.ts", 'export const deep = "edited";\n');
    expect(await hub.ask("RELOAD")).toMatch(/^OK m v2 \(was v1\) swapped/);
    expect(await get(hub, "one")).toBe("edited");
    expect(await hub.ask("RELOAD")).toMatch(/^OK \d modules unchanged/);
  });
});

test("lines and columns in a stack stay those of the author's file", () => {
  const text = `export default { routes: {\n"GET /x/:name": { fetch: async (_, { params }) => { const m = [await import(\`./_parts/\${params.name}\`), null.y]; return new Response(m); } },\n} };\n`;
  return reused({ ...FILES, "modules/m.ts": text }, [], async (hub) => {
    const column = (text.split("\n")[1] ?? "").indexOf("null.y") + 1;
    await get(hub, "x/one");
    const found = new RegExp(`modules/m\\.ts:2:(\\d+)`);
    await hub.program.waitFor(found);
    const told = Number(found.exec(hub.program.output())?.[1]);
    expect(told).toBeGreaterThanOrEqual(column);
    expect(told).toBeLessThanOrEqual(column + "null.y".length);
  });
});

/** Paths that begin with a variable, and the file that counts as the module's. All end in the file parts/one.ts. */
const BY_VARIABLE: Record<string, string> = {
  "import.meta.dir with a text": 'import(import.meta.dir + "/parts/" + name + ".ts")',
  "import.meta.dir in a template": "import(`${import.meta.dir}/parts/${name}.ts`)",
  "import.meta.dirname": "import(`${import.meta.dirname}/parts/${name}.ts`)",
  __dirname: 'require(__dirname + "/parts/" + name)',
  "join()": 'import(join(import.meta.dir, "parts", name + ".ts"))',
  "a path's resolve()": 'import(path.resolve(import.meta.dir, "parts", `${name}.ts`))',
  "new URL()": "import(new URL(`./parts/${name}.ts`, import.meta.url).href)",
  "a constant with a relative path": "import(`${PARTS}/${name}.ts`)",
  "a constant with a slash at its end": "import(`${SLASH}${name}.ts`)",
};
const head = (key: string): string =>
  `import path, { join } from "node:path";\nconst PARTS = "./parts"; const SLASH = "./parts/"; const name = "one" as string;\nvoid [path, join, PARTS, SLASH];\n// ${key}\n`;
const moduleOf = (key: string, call: string): string =>
  `${head(key)}export default { routes: { X: async () => (await ${call}).default } };\n`;

test.each(Object.entries(BY_VARIABLE))("a change of a file that is imported by %s changes the module", (key, call) =>
  withFixture(
    { "m.ts": moduleOf(key, call), "parts/one.ts": "export default 1;\n", "_other.ts": "export default 1;\n" },
    async (fixture) => {
      const { inputs } = await fixture.buildSettled("m");
      fixture.write("_other.ts", "export default 22;\n");
      expect(hasChanged(inputs)).toBeFalse();
      fixture.write("parts/one.ts", "export default 22;\n");
      expect(hasChanged(inputs)).toBeTrue();
    },
  ),
);

test.each([
  ["import(process.env.PART as string)", "m.ts", "_parts/one.ts", "other.ts"],
  ["import(pick(name))", "m.ts", "lib/deep/one.ts", "other/index.ts"],
  ["require(list[0] + name)", "m/index.ts", "m/words/one.ts", "_helper.ts"],
])("if nothing is known of the path, as in %s, all helpers of the module count", (call, file, helper, other) =>
  withFixture(
    {
      [file]: `const list = ["/x/"]; const pick = (name: string) => list[0] + name;\nvoid pick;\n${moduleOf("unknown", call)}`,
      [helper]: "export default 1;\n",
      [other]: "export default {};\n",
    },
    async (fixture) => {
      const { inputs } = await fixture.buildSettled("m", { file });
      fixture.write(other, "export default { a: 1 };\n");
      expect(hasChanged(inputs)).toBeFalse();
      fixture.write(helper, "export default 22;\n");
      expect(hasChanged(inputs)).toBeTrue();
    },
  ),
);
