/** TypeScript checks of modules: types are inferred from the module itself, and a mistake is reported at its place. */
import { expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "../../..");
const OPTIONS = {
  target: "ESNext",
  module: "Preserve",
  moduleResolution: "bundler",
  lib: ["ESNext"],
  types: ["bun-types"],
  skipLibCheck: true,
};

/** @returns what `bun check` says of these files beside hrmr.d.ts, a line for each mistake */
function check(files: Record<string, string>): { text: string; exitCode: number } {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-types-"));
  try {
    symlinkSync(join(ROOT, "node_modules"), join(dir, "node_modules"));
    copyFileSync(join(ROOT, "src/module/contract.d.ts"), join(dir, "hrmr.d.ts"));
    const compilerOptions = {
      ...OPTIONS,
      strict: true,
      noEmit: true,
      noUncheckedIndexedAccess: true,
      paths: { hrmr: ["./hrmr.d.ts"] },
    };
    writeFileSync(join(dir, "tsconfig.json"), JSON.stringify({ compilerOptions, include: Object.keys(files) }));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
    const { stdout, stderr, exitCode } = Bun.spawnSync([process.execPath, "check"], {
      cwd: dir,
      env: { ...process.env, NO_COLOR: "1" },
    });
    return { text: `${stdout.toString()}${stderr.toString()}`, exitCode };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test("state is inferred from setup and params from the key, without a type argument, for every kind of route", () => {
  const { text, exitCode } = check({ "good.ts": readFileSync(join(ROOT, "test/support/typed-module.ts"), "utf8") });
  expect([exitCode, text]).toEqual([0, expect.any(String)]);
});

test("config is inferred from the schema, beside state and params", () => {
  const { text, exitCode } = check({ "good.ts": readFileSync(join(ROOT, "test/support/typed-config.ts"), "utf8") });
  expect([exitCode, text]).toEqual([0, expect.any(String)]);
});

test("services get state and context by inference, as functions and with options, and callers their types", () => {
  const { text, exitCode } = check({
    "kv.ts": `import { defineModule, service, type ServicesOf } from "hrmr";
const kv = defineModule({
  setup: () => ({ rows: new Map<string, number>() }),
  services: {
    get: (key: string, context) => context.state.rows.get(key) ?? null,
    set: { public: true, call: ({ key }: { key: string }, context) => context.state.rows.set(key, 1).size },
    async *names(count: number, context) { for (let at = 0; at < count; at++) yield context.name; },
    apart: service({ call: (input: { a: number }, context) => context.caller + input.a }),
  },
});
declare const others: ServicesOf<typeof kv>;
export const found: Promise<number | null> = others.get("a");
export const size: Promise<number> = others.set({ key: "a" });
export const text: Promise<string> = others.apart({ a: 1 }, { timeoutMs: 5 });
for await (const name of await others.names(3)) name.toUpperCase();
// @ts-expect-error a number is no key
void others.get(1);
`,
  });
  expect([exitCode, text]).toEqual([0, expect.any(String)]);
});

/** The definition on the second line of a module, and the compiler's message about it. */
const MISTAKES: Record<string, [definition: string, said: RegExp]> = {
  "handle and fetch in one route": [
    `{ routes: { "GET /x": { handle: () => "x", fetch: () => new Response() } } }`,
    /TS2322/,
  ],
  "connect and websocket in one route": [`{ routes: { "/x": { connect: async () => {}, websocket: {} } } }`, /TS2322/],
  "a name that the key has not": [
    `{ routes: { "GET /x/:id": { fetch: (_, { params }) => new Response(params.nme) } } }`,
    /TS2339: Property 'nme' does not exist/,
  ],
  "params of a key that has none": [
    `{ routes: { "GET /x": { fetch: (_, { params }) => new Response(params.id) } } }`,
    /TS2339: Property 'id' does not exist/,
  ],
  "a part of the state that there is not": [
    `{ setup: () => ({ count: 1 }), routes: { "X": (_, { state }) => state.cuont } }`,
    /TS2551: Property 'cuont' does not exist on type '{ count: number; }'/,
  ],
  "a setting that the schema has not": [
    `{ config: (await import("zod")).z.object({ port: (await import("zod")).z.number() }), routes: { "X": (_, { config }) => config.prot } }`,
    /TS2339: Property 'prot' does not exist on type '{ port: number; }'/,
  ],
  "settings in place of a schema": [`{ config: { port: 1 }, routes: { "X": () => "x" } }`, /TS2353|TS2322|TS2741/],
  "a fetch that gives a text": [`{ routes: { "GET /x": { fetch: () => "text" } } }`, /TS2322/],
  "an option that a route has not": [
    `{ routes: { "X": { frame: "line", handle: () => "x" } } }`,
    /TS2353: .*'frame' does not exist/,
  ],
  "an option that a module has not": [`{ rotes: {}, routes: {} }`, /TS2561: .*'rotes' does not exist/],
};

test("what a module cannot be is refused by the types, each mistake in its line", () => {
  const files = Object.values(MISTAKES).map(([definition], at): [string, string] => [
    `bad${at}.ts`,
    `import { defineModule } from "hrmr";\nexport default defineModule(${definition});\n`,
  ]);
  const { text, exitCode } = check(Object.fromEntries(files));
  expect(exitCode).toBe(1);
  for (const [at, [what, [, said]]] of Object.entries(MISTAKES).entries()) {
    const lines = text.split("\n").filter((line) => line.startsWith(`bad${at}.ts(2,`));
    expect([what, lines.join("\n")]).toEqual([what, expect.stringMatching(said)]);
  }
});
