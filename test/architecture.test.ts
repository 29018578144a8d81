import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, posix } from "node:path";

const SRC = join(import.meta.dir, "../src");

/**
 * The folders of src/, lowest first. A file imports from its own folder and from those before it: types as well as
 * code. The first four may also import each other, since none of them stands on another.
 */
const FLOORS = [
  ["system", "config", "observe", "router"],
  ["module"],
  ["host"],
  ["store"],
  ["hub"],
  ["protocol"],
  ["reload"],
  ["server"],
  ["dashboard"],
  ["control"],
  ["fleet"],
  ["supervise"],
  ["cli"],
] as const;

/** The most files of one folder, its folders not counted. */
const MAX_FILES = 16;

/** Files that authors of modules see. They import nothing of the rest. */
const CONTRACT = new Set(["module/contract", "module/route"]);

interface Import {
  /** From src, without extension: "router/table". */
  file: string;
  /** The same for an import; null if it is outside of src. */
  target: string | null;
  isType: boolean;
}

/** @returns why the import points the wrong way; null if it does not */
function offence({ file, target }: Import): string | null {
  const from = folderOf(file);
  if (file === "main") return null;
  if (from === "router" && (target === null || folderOf(target) !== "router"))
    return "router imports nothing of the rest";
  if (target === null) return null;
  const to = folderOf(target);
  if (CONTRACT.has(file)) return CONTRACT.has(target) ? null : "what authors see imports nothing of the rest";
  if (from === to) return null;
  const [floor, targetFloor] = [floorOf(from), floorOf(to)];
  if (floor === -1 || targetFloor === -1)
    return `no rule knows the folder "${floor === -1 ? from : to}": name its place in test/architecture.test.ts`;
  return targetFloor <= floor ? null : `${from} stands below ${to}: ${FLOORS.flat().join(", ")}`;
}

function floorOf(folder: string): number {
  return FLOORS.findIndex((folders) => (folders as readonly string[]).includes(folder));
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

/** The files that one of src, bench or the build imports, from the repository, without extension. */
function importsFrom(file: string, source: string): string[] {
  return importsOf(file, source).flatMap(({ target }) => target ?? []);
}

/** The names that a file exports, in its own words and from others. */
function exportsOf(source: string): string[] {
  const declared =
    /^export (?:declare )?(?:abstract )?(?:async )?(?:const|let|function\*?|class|type|interface|enum) (\w+)/gm;
  const lists = /^export (?:type )?\{([^}]*)\}/gm;
  return [
    ...[...source.matchAll(declared)].map(([, name]) => name as string),
    ...[...source.matchAll(lists)].flatMap(([, list]) =>
      (list as string).split(",").flatMap((part) => part.trim().split(" ").at(-1) || []),
    ),
  ];
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

test("a folder holds what one can look over, and none is a drawer for the rest", () => {
  const widths = Object.entries(Object.groupBy(files, (file) => posix.dirname(file)));
  expect(widths.filter(([, held]) => (held?.length ?? 0) > MAX_FILES).map(([folder]) => folder)).toEqual([]);
  expect(widths.map(([folder]) => folder).filter((folder) => /(^|\/)(misc|common|utils?)(\/|$)/.test(folder))).toEqual(
    [],
  );
});

test("the imports of the source tree are found", () => {
  const all = files.flatMap((file) => importsOf(file, readFileSync(join(SRC, file), "utf8")));
  const shown = all.map(({ file, target, isType }) => `${file} ${isType ? "type " : ""}${target}`);
  expect(shown).toContain("router/trie router/match");
  expect(shown).toContain("protocol/wire type protocol/routing");
});

/**
 * Exports that only tests use, each with the reason. Do not export what only its own file uses: a test looks at
 * behaviour.
 */
const TESTED_ALONE: Record<string, string> = {
  "cli/commands/validate findingLines": "the layout at any width of the terminal",
  "cli/screen/status-screen conductLines": "what it tells of harmful modules, at any time",
  "cli/start/module-variables findSetting": "a table of variables and modules",
  "config/resolve/environment VARIABLES": "compared with the table in docs/configuration.md",
  "config/resolve/resolved changedKeys": "shows that every variable reaches its key",
  "module/build/prebuilt fromPrebuilt": "takes a build that was made elsewhere, or refuses it",
  "module/graph/load endGraph": "a graph that no module was loaded in",
  "module/shape/config SERVER_SETTINGS": "the keys of the config file's schema",
  "protocol/http1/http1 beginParsed": "llhttp alone, which must answer like the fast path",
  "protocol/turns Turns": "needs a clock that stands still",
  "protocol/websocket/mask unmaskBySimd": "must answer like unmaskByWords, whatever the platform has",
  "protocol/websocket/mask unmaskByWords": "the way of platforms without SIMD",
  "reload/upload/names checkModuleName": "a table of names",
  "reload/verdict/report mergeVerdicts": "the answers of many processes, in any order",
  "reload/vote/agree decide": "the proposals of many processes, in any order",
  "router/sniff UNDECIDED": "an answer of readOpening, as the others are",
  "router/table parseHttpKey": "a table of keys",
  "supervise/data-move moveData": "between file systems, which a server does not see",
  "supervise/takeover/activation describeDescriptor": "real descriptors of every kind",
  "supervise/type-check typeErrors": "reads the output of the command, as --watch does",
};

/** Files whose text becomes a user's file, exports and all. */
const WRITTEN = new Set(["cli/client/client-runtime.ts", "cli/client/typescript.ts"]);

test("an export is used by another file, or says here why it is one", () => {
  const root = join(SRC, "..");
  const users = [
    ...files.map((file) => `src/${file}`),
    ...new Bun.Glob("bench/**/*.ts").scanSync(root),
    "build.ts",
  ].map((file) => {
    const source = readFileSync(join(root, file), "utf8");
    return { file, source, targets: new Set(importsFrom(file, source)) };
  });
  const unused = files
    .filter((file) => !file.endsWith(".d.ts") && !WRITTEN.has(file))
    .flatMap((file) => {
      const path = nameOf(`src/${file}`);
      const readers = users.filter(({ targets }) => targets.has(path));
      const isUsed = (name: string): boolean =>
        readers.some(({ source }) => new RegExp(`\\b${RegExp.escape(name)}\\b`).test(source));
      return exportsOf(readFileSync(join(SRC, file), "utf8"))
        .filter((name) => !isUsed(name))
        .map((name) => `${nameOf(file)} ${name}`);
    });
  expect(unused.sort()).toEqual(Object.keys(TESTED_ALONE));
});

test("every kind of export is found", () => {
  const source = [
    "export const a = 1;",
    "export async function b() {}",
    "export abstract class C {}",
    "export type D = string;",
    "export interface E {}",
    'export { f, g as h, type I } from "./j";',
    "// export const k = 1;",
  ].join("\n");
  expect(exportsOf(source)).toEqual(["a", "b", "C", "D", "E", "f", "h", "I"]);
});

describe("the rule", () => {
  const judge = (file: string, target: string | null, isType = false): boolean =>
    offence({ file, target, isType }) === null;

  test.each([
    ["cli/start", "server/server"],
    ["cli/start", "supervise/master"],
    ["supervise/serve/prefork", "control/api"],
    ["control/api", "server/server"],
    ["server/connection/connection", "host/pool/pool"],
    ["server/server", "reload/registry"],
    ["reload/plan", "protocol/wire"],
    ["reload/plan", "router/table"],
    ["protocol/http1/http1", "router/paths"],
    ["protocol/http1/http1", "module/contract"],
    ["protocol/http1/parser", "protocol/wire"],
    ["host/inline", "module/generation"],
    ["host/pool/pool", "config/options"],
    ["module/build/build", "observe/log/log"],
    ["config/load", "observe/log"],
    ["observe/log", "system/private-files"],
    ["system/bind", "config/user-error"],
    ["router/table", "router/trie"],
    ["main", "cli/main"],
    ["cli/version", null],
  ])("lets %s import %s", (file, target) => {
    expect(judge(file, target)).toBe(true);
    expect(judge(file, target, true)).toBe(true);
  });

  test.each([
    ["server/server", "cli/start"],
    ["server/server", "control/api"],
    ["server/server", "supervise/master"],
    ["control/api", "supervise/master"],
    ["control/api", "cli/start"],
    ["reload/reload", "server/server"],
    ["protocol/http1/http1", "server/connection/connection"],
    ["protocol/wire", "reload/plan"],
    ["host/pool/pool", "protocol/wire"],
    ["module/build/build", "host/pool/pool"],
    ["module/version", "host/inline"],
    ["module/contract", "config/options"],
    ["module/route", "module/version"],
    ["router/table", "module/contract"],
    ["router/table", "config/options"],
    ["router/table", null],
    ["config/load", "module/route"],
    ["observe/log", "module/contract"],
    ["config/load", "server/server"],
    ["system/private-files", "host/remote/messages"],
    ["router/table", "system/private-files"],
    ["server/server", "main"],
    ["server/server", "utils/strings"],
    ["utils/strings", "module/build/build"],
  ])("does not let %s import %s", (file, target) => {
    expect(judge(file, target)).toBe(false);
    expect(judge(file, target, true)).toBe(false);
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
