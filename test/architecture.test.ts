import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, posix } from "node:path";

const SRC = join(import.meta.dir, "../src");

/**
 * The life of a message: an import points to the same number or a lower one. `router` and what everybody may import are
 * told below.
 */
const RANKS: Record<string, number> = { cli: 5, server: 4, control: 4, supervise: 4, protocol: 3, host: 2, module: 1 };

const CONTRACT = new Set(["module/contract", "module/route"]);

interface Import {
  /** From src, without extension: "router/table". */
  file: string;
  /** The same for what it imports; null if that is outside of src. */
  target: string | null;
  isType: boolean;
}

/** @returns why the import points the wrong way; null if it does not */
function offence({ file, target, isType }: Import): string | null {
  const from = folderOf(file);
  if (file === "main" || from === folderOf(target ?? "")) return null;
  if (from === "router") return "router imports nothing of the rest";
  if (target === null) return null;
  const to = folderOf(target);
  if (to === "system" && from !== "system")
    return CONTRACT.has(file) ? "what everybody imports, imports nothing of the rest" : null;
  if (from === "system") return "system imports nothing of the rest";
  if (CONTRACT.has(file)) return "what everybody imports, imports nothing of the rest";
  if (from === "config" || from === "observe") {
    if (to === "config" || to === "observe" || (isType && target === "module/contract")) return null;
    return `${from} imports nothing but config, observe and types of module/contract`;
  }
  return CONTRACT.has(target) || to === "config" || to === "observe" ? null : backwards(from, to, target, isType);
}

function backwards(from: string, to: string, target: string, isType: boolean): string | null {
  if (from === "module" && target === "host/spec")
    return isType ? null : "only types of host/spec: write `import type`";
  const rank = RANKS[from];
  const targetRank = to === "router" ? RANKS["protocol"] : RANKS[to];
  if (rank === undefined) return `no rule knows the folder "${from}": name its place in test/architecture.test.ts`;
  if (targetRank === undefined) return `no rule knows "${target}": name its place in test/architecture.test.ts`;
  return targetRank <= rank
    ? null
    : `${from} stands behind ${to}: cli -> server -> router / protocol -> host -> module, never back`;
}

function folderOf(file: string): string {
  return file.includes("/") ? file.slice(0, file.indexOf("/")) : "";
}

/** Static and dynamic imports, exports from, and types like `import("./x").Y`. Only those that are relative. */
function importsOf(file: string, source: string): Import[] {
  // Comments that begin a line only: "/files/*" in a string begins none.
  const code = source.replace(/^\s*\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const statements =
    /^[ \t]*(?:import|export)\s+(?<type>type\s)?(?:[\w*{}\s,$]+?\sfrom\s*)?["'](?<path>\.[^"']*)["']/gm;
  const calls = /\b(?:import|require)\(\s*["'`](?<path>\.[^"'`]*)["'`]/g;
  return [...code.matchAll(statements), ...code.matchAll(calls)].map(({ groups }) => ({
    file: nameOf(file),
    target: targetOf(file, groups?.["path"] ?? ""),
    isType: groups?.["type"] !== undefined,
  }));
}

function targetOf(file: string, path: string): string | null {
  const target = posix.join(posix.dirname(file), path);
  return target.startsWith("..") ? null : nameOf(target);
}

function nameOf(path: string): string {
  return path.replace(/(\.d)?\.(ts|tsx|js|json)$/, "");
}

const files = [...new Bun.Glob("**/*.{ts,tsx}").scanSync(SRC)].map((file) => file.replaceAll("\\", "/")).sort();

test("imports point along the life of a message and never back", () => {
  const offences = files.flatMap((file) =>
    importsOf(file, readFileSync(join(SRC, file), "utf8")).flatMap((found) => {
      const why = offence(found);
      return why === null ? [] : [`src/${file} imports ${found.target ?? "something outside of src"}: ${why}`];
    }),
  );
  expect(offences).toEqual([]);
});

test("the imports of the source tree are found", () => {
  const all = files.flatMap((file) => importsOf(file, readFileSync(join(SRC, file), "utf8")));
  const shown = all.map(({ file, target, isType }) => `${file} ${isType ? "type " : ""}${target}`);
  expect(shown).toContain("router/trie router/match");
  expect(shown).toContain("protocol/wire type router/table");
});

describe("the rule", () => {
  const judge = (file: string, target: string | null, isType = false): boolean =>
    offence({ file, target, isType }) === null;

  test.each([
    ["cli/start", "server/server"],
    ["server/connection", "host/pool"],
    ["server/connection", "router/table"],
    ["server/server", "control/api"],
    ["control/api", "supervise/prefork"],
    ["supervise/prefork", "server/server"],
    ["protocol/http1", "router/paths"],
    ["protocol/http1", "module/contract"],
    ["protocol/http1/parser", "protocol/wire"],
    ["host/inline", "module/generation"],
    ["host/pool", "config/options"],
    ["module/registry", "module/build"],
    ["module/build", "observe/log"],
    ["config/load", "observe/log"],
    ["observe/log", "system/private-files"],
    ["module/build", "system/private-files"],
    ["router/table", "router/trie"],
    ["main", "cli/main"],
    ["cli/version", null],
  ])("lets %s import %s", (file, target) => {
    expect(judge(file, target)).toBe(true);
    expect(judge(file, target, true)).toBe(true);
  });

  test.each([
    ["server/server", "cli/start"],
    ["control/api", "cli/start"],
    ["protocol/http1", "server/connection"],
    ["host/pool", "router/table"],
    ["host/pool", "protocol/wire"],
    ["module/build", "host/pool"],
    ["module/build", "router/table"],
    ["module/contract", "config/options"],
    ["module/route", "host/spec"],
    ["router/table", "module/contract"],
    ["router/table", "config/options"],
    ["router/table", null],
    ["config/load", "module/route"],
    ["config/load", "server/server"],
    ["observe/log", "module/generation"],
    ["system/private-files", "config/options"],
    ["router/table", "system/private-files"],
    ["module/route", "system/private-files"],
    ["server/server", "main"],
    ["server/server", "utils/strings"],
    ["utils/strings", "module/build"],
  ])("does not let %s import %s", (file, target) => {
    expect(judge(file, target)).toBe(false);
    expect(judge(file, target, true)).toBe(false);
  });

  test("lets modules and config import types where it lets them import nothing else", () => {
    expect([judge("module/build", "host/spec", true), judge("module/build", "host/spec")]).toEqual([true, false]);
    expect([judge("config/load", "module/contract", true), judge("config/load", "module/contract")]).toEqual([
      true,
      false,
    ]);
  });

  test("sees every way to import", () => {
    const source = [
      'import { a } from "../host/a";',
      'import type { B } from "./b";',
      'import c, {\n  d,\n  type E,\n} from "../c.ts";',
      'import * as f from "../f";',
      'import "./g";',
      'export * from "../h/i";',
      'export type { J } from "../j";',
      'const files = "/files/*";',
      'const k = await import("../k.js");',
      'const all = "*/";',
      "type L = import('../l').L;",
      'import m from "../../package.json" with { type: "json" };',
      'import { n } from "node:fs";',
      '// import { o } from "../o";',
      '/* import { p } from "../p"; */',
    ].join("\n");
    expect(importsOf("server/x.ts", source).map(({ target, isType }) => `${isType ? "type " : ""}${target}`)).toEqual([
      "host/a",
      "type server/b",
      "c",
      "f",
      "server/g",
      "h/i",
      "type j",
      "null",
      "k",
      "l",
    ]);
  });
});
