import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ModuleError } from "../../src/module/graph/describe-error";
import { rejection, SILENT_LOG, withFixture, type Fixture } from "../support/module-fixture";

type Call = (...args: unknown[]) => unknown;

async function replyOf(fixture: Fixture, name: string): Promise<unknown> {
  const module = await fixture.load(name);
  try {
    return await module.run(module.shape.routes[0]?.handler as Call, {}, module.context);
  } finally {
    await module.dispose();
  }
}

test("circular imports, JSON, text, packages and hrmr itself load", async () => {
  const files = {
    "m.ts": [
      'import { defineModule, NEED_MORE } from "hrmr";',
      'import { even } from "./even";',
      'import data from "./data.json";',
      'import text from "./words.txt";',
      'import { z } from "zod";',
      "enum Colour { red = 7 }",
      "const n: number = z.number().parse(data.n);",
      'export default defineModule({ routes: { A: () => [even(n), text, Colour.red, NEED_MORE].join(" ") } });',
    ].join("\n"),
    "even.ts": 'import { odd } from "./odd";\nexport const even = (n: number): boolean => n === 0 || odd(n - 1);\n',
    "odd.ts": 'import { even } from "./even";\nexport const odd = (n: number): boolean => n !== 0 && even(n - 1);\n',
    "data.json": '{ "n": 4 }',
    "words.txt": "words",
  };
  await withFixture(files, async (fixture) => expect(await replyOf(fixture, "m")).toBe("true words 7 -1"));
});

test("tsconfig paths for the types of hrmr do not change what is imported", async () => {
  const files = {
    "m.ts":
      'import { NEED_MORE } from "hrmr";\nimport { x } from "@/x";\nexport default { routes: { A: () => `${NEED_MORE} ${x}` } };\n',
    "x.ts": 'export const x = "by path";\n',
    "hrmr.d.ts": "export const NEED_MORE: -1;\n",
    "tsconfig.json": '{ "compilerOptions": { "paths": { "hrmr": ["./hrmr.d.ts"], "@/*": ["./*"] } } }',
  };
  await withFixture(files, async (fixture) => expect(await replyOf(fixture, "m")).toBe("-1 by path"));
});

test("a start that is late is waited for twice, and called again only then, or when it has failed", () =>
  withFixture(
    {
      "late.ts": `let calls = 0;
export default { start() { const first = ++calls === 1; globalThis.__calls = calls; if (first) return new Promise((resolve, reject) => (globalThis.__settle = { resolve, reject })); } };\n`,
    },
    async (fixture) => {
      const settle = () => Reflect.get(globalThis, "__settle") as { resolve(): void; reject(error: Error): void };
      const calls = () => Reflect.get(globalThis, "__calls") as number;
      const late = /start did not finish within 1000 ms/;
      const ending = await fixture.load("late", { timeoutMs: 1000 });
      expect(String(await rejection(ending.goLive()))).toMatch(late);
      settle().resolve();
      await ending.goLive();
      expect(calls()).toBe(1);
      const failing = await fixture.load("late", { timeoutMs: 1000 });
      expect(String(await rejection(failing.goLive()))).toMatch(late);
      settle().reject(new Error("no gateway"));
      await Bun.sleep(0);
      await failing.goLive();
      expect(calls()).toBe(2);
      const hanging = await fixture.load("late", { timeoutMs: 1000 });
      for (let tries = 0; tries < 3; tries++) expect(String(await rejection(hanging.goLive()))).toMatch(late);
      expect(calls()).toBe(1);
      await hanging.goLive();
      expect(calls()).toBe(2);
      for (const module of [ending, failing, hanging]) await module.dispose();
      Reflect.deleteProperty(globalThis, "__settle");
      Reflect.deleteProperty(globalThis, "__calls");
    },
  ));

test.each([
  [
    "a throw at top level",
    'import "hono";\n\nconst x: string = "a";\nif (x) throw new RangeError("bad start");\nexport default {};\n',
    {
      line: 4,
      column: 18,
      message: "RangeError: bad start",
      frame: '3 | const x: string = "a";\n4 | if (x) throw new RangeError("bad start");\n  |                  ^',
    },
  ],
  [
    "a TypeError in a function called at top level",
    "interface A { b: { c: string } }\nfunction read(a: A): string {\n  return a.b.c + 1;\n}\nexport const y = read({} as A);\n",
    {
      line: 3,
      message: /^TypeError: undefined is not an object/,
      frame: expect.stringContaining("3 |   return a.b.c + 1;"),
    },
  ],
  [
    "a rejection awaited at top level",
    "const f = async () => { throw new Error('later') };\nawait f();\n",
    { line: 1, message: "later" },
  ],
  [
    "a thrown string",
    'throw "text";\n',
    { line: undefined, message: 'threw "text", which is not an Error', frame: "" },
  ],
  ["a wrong shape", "export default { routes: {} };\n", { line: undefined, message: /^Module "m": "routes" is empty/ }],
  [
    "a getter that throws",
    "export default {\n  get routes(): object { throw new Error('in a getter') },\n};\n",
    { line: 2, message: "in a getter" },
  ],
  [
    "process.exit",
    "const a = 1;\nprocess.exit(a);\n",
    { line: 2, message: "process.exit(1) was called: a module cannot end the server" },
  ],
  [
    "exit of node:process",
    'import { exit } from "node:process";\nexit(3);\n',
    { line: 2, message: /^process.exit\(3\) was called/ },
  ],
])("a load that fails by %s tells where", async (_, text, expected) => {
  await withFixture({ "m.ts": text }, async (fixture) => {
    const error = await rejection(fixture.load("m"));
    expect(error).toBeInstanceOf(ModuleError);
    const { message, ...place } = expected;
    expect(error).toMatchObject({ file: join(fixture.modules, "m.ts"), ...place });
    expect((error as ModuleError).message).toMatch(message);
  });
});

test("the place is in the helper file where it happened, in lines of the version that was loaded", async () => {
  const helper = 'export function fail(): never {\n  throw new Error("deep");\n}\n';
  await withFixture({ "m.ts": 'import { fail } from "./lib/h";\nfail();\n', "lib/h.ts": helper }, async (fixture) => {
    const built = await fixture.build("m");
    fixture.write("lib/h.ts", `\n\n\n${helper}`);
    const newer = await fixture.build("m");
    expect(newer.hash).not.toBe(built.hash);
    expect(await rejection(fixture.load("m"))).toMatchObject({
      file: join(fixture.modules, "lib/h.ts"),
      line: 5,
      column: 13,
    });
  });
});

test("what a version opened before its load failed is closed", async () => {
  const ticks: string[] = [];
  await withFixture(
    { "m.ts": 'setTimeout(() => ticks.push("module"), 5);\nthrow new Error("no");\n' },
    async (fixture) => {
      await rejection(fixture.load("m", { globals: { ticks } }));
      // A timer of the host's, due after the module's, marks the moment at which that one had its chance.
      await new Promise<void>((done) => setTimeout(done, 20));
      expect(ticks).toEqual([]);
    },
  );
});

test("a top-level await that never settles ends at the deadline", async () => {
  await withFixture({ "m.ts": "await new Promise(() => undefined);\n" }, async (fixture) => {
    expect(await rejection(fixture.load("m", { timeoutMs: 30 }))).toMatchObject({
      name: "ModuleError",
      message: "did not finish loading within 30 ms (top-level await?)",
    });
  });
});

test("setup gives the state, check may refuse, dispose undoes, each once", async () => {
  const text = `
    export const log: string[] = [];
    export default {
      routes: { A: (_: unknown, context: { state: unknown }) => ({ log, state: context.state }) },
      async setup(context, handoff) { log.push("setup " + context.state + " " + handoff); return "state"; },
      check(context) { log.push("check " + context.state); },
      dispose(state) { log.push("dispose " + state); },
    };`;
  await withFixture({ "m.ts": text }, async (fixture) => {
    const module = await fixture.load("m");
    const reply = module.run(module.shape.routes[0]?.handler as Call, {}, module.context) as { log: string[] };
    expect(reply.log).toEqual([]);
    await module.start("handed");
    expect(module.context.state).toBe("state");
    await Promise.all([module.dispose(), module.dispose()]);
    expect(reply.log).toEqual(["setup undefined handed", "check state", "dispose state"]);
    expect(module.context.state).toBeUndefined();
    expect(() => module.run(() => 1)).toThrow();
  });
});

test.each([
  ["setup throws", 'setup() {\n throw new Error("no database"); }', { message: "setup failed: no database", line: 2 }],
  [
    "setup does not end",
    "setup() { return new Promise(() => undefined); }",
    { message: "setup did not finish within 40 ms" },
  ],
  ["check returns false", "check() { return false; }", { message: "check returned false" }],
  [
    "check throws",
    'async check() {\n throw new TypeError("sick"); }',
    { message: "check failed: TypeError: sick", line: 2 },
  ],
])("a version is refused when %s", async (_, hook, expected) => {
  await withFixture({ "m.ts": `export default { routes: { A: () => "a" }, ${hook} };\n` }, async (fixture) => {
    const module = await fixture.load("m", { timeoutMs: 40 });
    const error = await rejection(module.start(undefined));
    await module.dispose();
    expect(error).toMatchObject({ name: "ModuleError", file: join(fixture.modules, "m.ts"), ...expected });
  });
});

test.each([
  ["data", "{ n: new Map([[1, state.made]]) }", { data: { n: new Map([[1, "now"]]) } }],
  ["a promise of data", "Promise.resolve([1])", { data: [1] }],
  ["a function", "{ f() {} }", { error: expect.stringContaining("handoff returned data that cannot be copied") }],
  ["a throw", '(() => { throw new Error("not now"); })()', { error: "handoff failed: not now" }],
  ["nothing in time", "new Promise(() => undefined)", { error: "handoff did not finish within 60 ms" }],
])("handoff gives a copy or the reason why not: %s", async (_, expression, expected) => {
  const text = `export default { routes: { A: () => "a" }, setup: () => ({ made: "now" }), handoff(state) { return ${expression}; } };\n`;
  await withFixture({ "m.ts": text }, async (fixture) => {
    const module = await fixture.load("m", { timeoutMs: 60 });
    await module.start(undefined);
    const handed = await module.handoff();
    await module.dispose();
    expect(handed).toEqual(expected as never);
  });
});

test("a module without handoff hands over nothing, and a failing dispose is only logged", async () => {
  const warnings: unknown[] = [];
  const text = 'export default { routes: { A: () => "a" }, dispose() { throw new Error("stuck"); } };\n';
  await withFixture({ "m.ts": text }, async (fixture) => {
    const module = await fixture.load("m", { log: { ...SILENT_LOG, warn: (...values) => warnings.push(...values) } });
    await module.start(undefined);
    expect(await module.handoff()).toBeNull();
    await module.dispose();
    expect(warnings).toEqual([expect.stringContaining("dispose failed: stuck")]);
  });
});

test("the context tells where the module lives and makes its data folder at the first use", async () => {
  await withFixture({ "m.ts": 'export default { routes: { A: () => "a" } };\n' }, async (fixture) => {
    const { context, dispose } = await fixture
      .load("m", { host: 2 })
      .then((module) => ({ context: module.context, dispose: () => module.dispose() }));
    expect(context).toMatchObject({ name: "m", generation: 1, host: 2, dir: fixture.modules, config: {} });
    const inherited = Object.create(context) as typeof context;
    const folder = join(fixture.stateDir, "data", "m");
    expect(existsSync(folder)).toBeFalse();
    expect(inherited.dataDir).toBe(folder);
    expect(existsSync(folder)).toBeTrue();
    await dispose();
  });
});

test("listeners on process go with the version, and a new global name is warned of", async () => {
  const warnings: unknown[] = [];
  const text = `
    import p from "node:process";
    const listener = () => undefined;
    process.on("SIGUSR2", listener);
    p.once("SIGUSR2", listener);
    globalThis.leftByTest = listener;
    export default { routes: { A: () => "a" }, setup() { process.on("warning", listener); } };\n`;
  await withFixture({ "m.ts": text }, async (fixture) => {
    const counts = (): number[] => [process.listenerCount("SIGUSR2"), process.listenerCount("warning")];
    const before = counts();
    try {
      const module = await fixture.load("m", { log: { ...SILENT_LOG, warn: (...values) => warnings.push(...values) } });
      await module.start(undefined);
      expect(counts()).toEqual([before[0]! + 2, before[1]! + 1]);
      await module.dispose();
      expect(counts()).toEqual(before);
      expect(warnings).toEqual([expect.stringContaining("set leftByTest on globalThis")]);
    } finally {
      Reflect.deleteProperty(globalThis, "leftByTest");
    }
  });
});

test("what module code leaves unhandled goes to onError", async () => {
  const seen = Promise.withResolvers<unknown>();
  const text =
    'export default { routes: { A: () => "a" }, setup() { setTimeout(() => { throw new Error("late"); }, 1); } };\n';
  await withFixture({ "m.ts": text }, async (fixture) => {
    const module = await fixture.load("m", { onError: (error) => seen.resolve(error) });
    await module.start(undefined);
    expect(String(await seen.promise)).toContain("late");
    await module.dispose();
  });
});

test("the globals handed in are the module's, and its own process.exit is the server's still", async () => {
  await withFixture({ "m.ts": "export default { routes: { A: () => special } };\n" }, async (fixture) => {
    const module = await fixture.load("m", { globals: { special: 42 } });
    expect(module.run(module.shape.routes[0]?.handler as Call)).toBe(42);
    await module.dispose();
    expect("special" in globalThis).toBeFalse();
  });
});

test("200 versions of a hono module leave no memory behind", async () => {
  const text =
    'import { Hono } from "hono";\nprocess.on("SIGUSR2", () => undefined);\nconst ballast = new Array(50_000).fill(7);\nexport default new Hono().get("/", (c) => c.text(String(ballast.length)));\n';
  await withFixture({ "m.ts": text }, async (fixture) => {
    const built = await fixture.build("m");
    const cycle = async (): Promise<void> => {
      const { loadModule } = await import("../../src/module/graph/load");
      const options = {
        globals: {},
        host: "main" as const,
        log: SILENT_LOG,
        onError: () => undefined,
        timeoutMs: 2000,
      };
      const module = await loadModule(fixture.spec(built), options);
      await module.start(undefined);
      await module.dispose();
    };
    const settle = async (times: number): Promise<number> => {
      for (let i = 0; i < times; i++) {
        await cycle();
        if (i % 20 === 19) Bun.gc(true);
      }
      Bun.gc(true);
      return process.memoryUsage.rss() / 2 ** 20;
    };
    const before = await settle(40);
    // 200 copies would be 80 MB of ballast alone; what other files of this test process have left may come and go
    // meanwhile.
    expect(await settle(200)).toBeLessThan(before + 60);
  });
});
