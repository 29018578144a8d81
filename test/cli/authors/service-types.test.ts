/** `hrmr types` and `hrmr check`: who calls which service with what, and whether it is there. */
import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cServices, cServicesType } from "../../../src/module/build/c-services";
import { serviceTypes, writeServiceTypes } from "../../../src/module/build/service-types";
import { typeErrors } from "../../../src/supervise/type-check";
import { callProgram } from "../../support/call-program";
import { runProgram, startProgram } from "../../support/program";
import { ask } from "../../support/client";

const kv = (type: string): string => `import { defineModule, service } from "hrmr";
export default defineModule({
  setup: () => ({ rows: new Map<${type}, number>() }),
  services: {
    get: (key: ${type}, context) => context.state.rows.get(key) ?? null,
    all: service({ description: "all keys", call: (_: undefined, context) => [context.name] }),
  },
});
`;
const BOT = `import { defineModule } from "hrmr";
export default defineModule({
  program: { command: ["cat"], protocol: "json-rpc", routes: ["BOT "], services: ["ask", "tell"] },
});
`;
const SHOP = String.raw`#include "hrmr.h"
/* hrmr_service(setup, "old", x) */
#define MADE "ma" \
  "de"
static void total(hrmr_request *request) { hrmr_reply_text(request, "{\"total\":1}"); }
void hrmr_module(hrmr_setup *setup) {
  hrmr_route *route = hrmr_service(setup, "total", total);
  hrmr_schema(route, "{\"type\":\"object\",\"properties\":{\"price\":{\"type\":\"number\"}},"
                     "\"required\":[\"price\"]}", "{\"type\":\"object\",\"properties\":{\"total\":{\"type\":\"number\"}},\"required\":[\"total\"]}");
  route = hrmr_service(setup, "count", total); // hrmr_service(setup, "none", x)
  hrmr_public(route);
  hrmr_schema(hrmr_service(setup, "names", total), NULL, "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}");
  hrmr_service(setup, MADE "Of", total);
  hrmr_service(setup, NAME, total);
}
`;
const ASK = `import { defineModule, ServiceError } from "hrmr";
export default defineModule({
  schedule: { "every 1h": async (context, { dueAt }) => context.log.info(dueAt.getTime(), context.signal.aborted) },
  routes: {
    "ASK ": {
      framing: "line",
      async handle(message, { services }) {
        try {
          const found: number | null = await services.kv.get(message.text);
          const { total }: { total: number } = await services.shop.total({ price: 1 });
          // @ts-expect-error the price is a number
          void services.shop.total({ price: "1" }).catch(() => total);
          const all: string[] = await services.kv.all(undefined, { timeoutMs: 10 });
          return \`\${found} \${all.length} \${await services.elsewhere.any({ thing: 1 })} \${await services.bot.ask({ name: "bob" })}\\n\`;
        } catch (error) {
          return error instanceof ServiceError ? error.code : "";
        }
      },
    },
  },
});
`;

test("a service's change that breaks a caller is an error of hrmr check, and a line of --watch", async () => {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-types-"));
  try {
    await callProgram(["init", dir], { cwd: tmpdir() });
    expect(readFileSync(join(dir, "modules/hrmr-env.d.ts"), "utf8")).toBe(serviceTypes([]));
    writeFileSync(join(dir, "modules/kv.ts"), kv("string"));
    writeFileSync(join(dir, "modules/ask.ts"), ASK);
    writeFileSync(join(dir, "modules/bot.ts"), BOT);
    writeFileSync(join(dir, "modules/shop.c"), SHOP.replace("  hrmr_service(setup, NAME, total);\n", ""));
    expect((await callProgram(["types"], { cwd: dir })).stdout).toBe(
      "wrote      modules/hrmr-env.d.ts (ask, bot, kv, shop)\n",
    );
    expect((await callProgram(["types"], { cwd: join(dir, "modules") })).stdout).toStartWith("unchanged");
    const good = await runProgram(["check"], { cwd: dir });
    expect(good.stdout + good.stderr).toContain("No type errors");
    expect(good.exitCode).toBe(0);

    const server = await startProgram(["--port", "0", "--watch"], { cwd: dir });
    try {
      writeFileSync(join(dir, "modules/kv.ts"), kv("number"));
      await server.waitFor("types: modules/ask.ts(9,");
      // Types are no reason to refuse a version.
      expect(await ask(server.port, "ASK 1\n")).toBe("MODULE_MISSING");
      writeFileSync(join(dir, "modules/kv.ts"), kv("string"));
      await server.waitFor("types: all errors are mended");
    } finally {
      await server.stop();
    }
    writeFileSync(join(dir, "modules/kv.ts"), kv("number"));
    // An example whose route calls its own module's service has no error of its own.
    copyFileSync(join(import.meta.dir, "../../../examples/figures.ts"), join(dir, "modules/figures.ts"));
    const bad = await runProgram(["check"], { cwd: dir });
    expect(typeErrors(bad.stdout + bad.stderr)).toEqual([expect.stringContaining("modules/ask.ts(9,")]);
    expect(bad.exitCode).toBe(1);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("services of a module in C have the types of their schemas, else unknown", () => {
  expect(
    cServicesType(cServices(SHOP))
      .split("\n")
      .map((line) => line.trim()),
  ).toEqual([
    "{",
    "total(input: { price: number }, options?: ServiceCallOptions): Promise<{ total: number }>;",
    "count(input?: unknown, options?: ServiceCallOptions): Promise<unknown>;",
    "names(input?: unknown, options?: ServiceCallOptions): Promise<readonly (string)[]>;",
    "madeOf(input?: unknown, options?: ServiceCallOptions): Promise<unknown>;",
    "}",
  ]);
  expect(cServices(`hrmr_schema(hrmr_service(s, "a", f), "{", "\\x41"); hrmr_service(s, "\\q", f);`)).toEqual([
    { name: "a", input: undefined, output: undefined },
  ]);
});

test("the types name files as TypeScript finds them", async () => {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-types-"));
  try {
    mkdirSync(join(dir, "c"));
    for (const file of ["a-b.tsx", "c/index.ts", "d.mts"]) writeFileSync(join(dir, file), "services");
    const { path } = await writeServiceTypes(dir);
    const text = readFileSync(path, "utf8");
    expect([...text.matchAll(/import\("(.*?)"\)/g)].map(([, each]) => each)).toEqual(["./a-b", "./c/index", "./d.mjs"]);
    expect(text).toContain('readonly "a-b": ServicesOf<');
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("a folder without modules or tsconfig.json is told what to do", async () => {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-types-"));
  try {
    expect((await callProgram(["types"], { cwd: dir })).stderr).toContain("--modules DIR");
    expect((await callProgram(["check"], { cwd: dir })).stderr).toContain("hrmr init .");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
