/** The pages are true: their facts are compared with the code, and their examples are run. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { DEFAULT_HOST, DEFAULT_PORT, defaultOptions } from "../src/config/options";
import { messageLength } from "../src/protocol/raw/framing";
import { readEnvironment, VARIABLES } from "../src/config/resolve/environment";
import { type ConfigKey, CONFIG_KEYS, MODULE_KEYS } from "../src/config/schema/key-list";
import { fillVariables } from "../src/config/resolve/variables";
import { findMistakes } from "../src/config/mistakes";
import { bunTypeFiles } from "../src/cli/bun-types";
import { readSettings } from "../modules/http/settings";
import { readShape } from "../src/module/shape/shape";
import { ask } from "./support/client";
import { callProgram } from "./support/call-program";
import { runProgram, startProgram } from "./support/program";

const ROOT = resolve(import.meta.dir, "..");
const PAGES = [
  "README.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  ...[...new Bun.Glob("docs/**/*.md").scanSync(ROOT)].sort(),
];

function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

const page = Object.fromEntries(PAGES.map((path) => [path, read(path)]));
const configuration = page["docs/configuration.md"] ?? "";
const errors = page["docs/errors.md"] ?? "";
const modules = page["docs/modules.md"] ?? "";
const readme = page["README.md"] ?? "";

/** All rows of a page's tables whose first cell is code, cell by cell. */
function rowsOf(text: string): string[][] {
  return [...text.matchAll(/^\| (`.*) \|$/gm)].map((match) => (match[1] ?? "").split(" | ").map((cell) => cell.trim()));
}

/** The part of a page under one heading. */
function section(text: string, heading: string): string {
  const at = text.indexOf(`${heading}\n`);
  if (at < 0) throw new Error(`There is no "${heading}".`);
  const next = text.slice(at + heading.length).search(/^#{1,3} /m);
  return next < 0 ? text.slice(at) : text.slice(at, at + heading.length + next);
}

function blocks(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map(
    (match) => match[1] ?? "",
  );
}

const sources = [...new Bun.Glob("src/**/*.ts").scanSync(ROOT)].map((path) => read(path));

/** A template's text with … for the inserted parts. */
function withoutValues(template: string): string {
  return template.replace(/\$\{(?:[^{}]|\{[^{}]*\})*\}/g, "…");
}

describe("docs/configuration.md", () => {
  const cells = (key: ConfigKey) => ({ unit: key.unit ?? "", takes: key.takes, meaning: key.description });

  test("has every key with its default, unit, range and meaning, and whether a reload changes it", () => {
    const told = rowsOf(section(configuration, "## Keys")).map(
      ([name = "", initial, unit, takes, reloads, meaning]) => {
        return { name: name.replaceAll("`", ""), initial, unit, takes, reloads, meaning };
      },
    );
    const expected = [...CONFIG_KEYS.values()].map((key) => {
      return {
        name: key.name,
        initial: `\`${JSON.stringify(key.default)}\``,
        reloads: key.restart === true ? "no" : "yes",
        ...cells(key),
      };
    });
    expect(told).toEqual(expected);
  });

  test("has the keys of a module", () => {
    const told = rowsOf(section(configuration, "### Settings of a module")).map(([name, unit, takes, meaning]) => {
      return { name, unit, takes, meaning };
    });
    expect(told).toEqual(
      [...MODULE_KEYS.values()].map((key) => ({ name: `\`modules.NAME.${key.name}\``, ...cells(key) })),
    );
  });

  test("has every environment variable with its key, and no other", () => {
    const rows = rowsOf(section(configuration, "## Environment")).map((row) =>
      row.map((cell) => cell.replaceAll("`", "")),
    );
    const ofKeys = [...VARIABLES].map(([variable, { name }]) => [variable, name]);
    const [config, port, host, color, ...rest] = rows;
    expect([config?.[0], port?.[0], host?.[0], color?.[0]]).toEqual([
      "HRMR_CONFIG",
      "HRMR_PORT",
      "HRMR_HOST",
      "NO_COLOR",
    ]);
    expect(rest).toEqual(ofKeys);
  });

  test("no page, type or header names a key that does not exist", () => {
    const texts = { ...page, "contract.d.ts": read("src/module/contract.d.ts"), "hrmr.h": read("src/module/hrmr.h") };
    const known = new Set([...CONFIG_KEYS.keys(), "limits.maxBodyByts", "log.info"]);
    const named = Object.entries(texts).flatMap(([path, text]) =>
      [...text.matchAll(/\b(?:timeouts|limits|log|control|http|http2|versions|tls)\.[a-z][A-Za-z]+\b(?!\.|\()/g)].map(
        ([key]) => ({
          path,
          key,
        }),
      ),
    );
    expect(named.length).toBeGreaterThan(100);
    expect(named.filter(({ key }) => !known.has(key) && !/\.(?:md|sock|ts)$/.test(key))).toEqual([]);
    // By its bare name a timeout is found in no table.
    const bare = texts["contract.d.ts"].match(/(?<!`|\.)\b[a-z]\w*TimeoutMs\b(?!\??:)/g);
    expect(bare ?? []).toEqual([]);
  });

  test("the defaults in the types of modules are the code's", () => {
    const types = read("src/module/contract.d.ts");
    const { timeouts, log } = defaultOptions();
    expect(types).toContain(`Default: \`timeouts.handlerMs\` of the configuration, ${timeouts.handlerMs}.`);
    // The number stands behind the route's key, is big-endian, and counts the bytes behind it.
    expect(types).toMatch(/Default: the length of the route's key\. \*\/\s+offset\?/);
    expect(types).toMatch(/Default "big"\. \*\/\s+endian\?/);
    expect(types).toMatch(/Default false\. \*\/\s+includesPrefix\?/);
    expect(messageLength({ length: { prefixBytes: 2 } }, 4, Buffer.from("BIN!\0\x05hello"), 0)).toBe(11);
    expect(page["docs/modules.md"]).toContain(`what is below \`log.level\`, ${log.level} by default, is not shown`);
  });

  test("no source reads a variable of hrmr that the environment would be told not to know", () => {
    const read = new Set(sources.flatMap((source) => source.match(/\bHRMR_[A-Z0-9_]*[A-Z0-9]\b/g) ?? []));
    expect(readEnvironment(Object.fromEntries([...read].map((name) => [name, "1"])), "/").notes).toEqual([]);
  });

  test("shows the same configuration in each of the three formats", () => {
    const shown = { json: Bun.JSONC, toml: Bun.TOML, yaml: Bun.YAML };
    const values = Object.entries(shown).map(([name, format]) => {
      const { $schema: _, ...value } = format.parse(
        blocks(section(configuration, "## The config file"), name)[0] ?? "",
      ) as Record<string, unknown>;
      expect(findMistakes(value)).toEqual([]);
      return value;
    });
    const [json = {}, toml, yaml] = values;
    expect(Object.keys(json)).toHaveLength(4);
    expect([toml, yaml]).toEqual([json, json]);
  });
});

describe("commands and flags", () => {
  const flagsIn = (text: string): string[] => [...new Set(text.match(/--[a-z][a-z-]*[a-z]/g))].sort();
  let commands: string[];
  let flags: Record<string, string[]>;

  beforeAll(async () => {
    const { stdout } = await runProgram(["help"]);
    const listed = /\nCOMMANDS\n([\s\S]*?)\n\n/.exec(stdout)?.[1] ?? "";
    commands = [...listed.matchAll(/^ {2}(\w+)/gm)].map((match) => match[1] ?? "");
    flags = {};
    for (const command of commands) flags[command] = flagsIn((await callProgram(["help", command])).stdout);
  });

  test("docs/commands.md has every command", () => {
    const told = rowsOf(section(page["docs/commands.md"] ?? "", "# Commands")).flatMap(([cell = ""]) =>
      [...cell.matchAll(/`hrmr (\w+)/g)].map((match) => match[1] ?? ""),
    );
    expect(told.sort()).toEqual([...commands].sort());
  });

  test("docs/configuration.md has every flag of start, in its table", () => {
    const rows = rowsOf(section(configuration, "## Flags of hrmr start")).filter(([first]) => first?.startsWith("`-"));
    // A flag that switches off stands beside the one that switches on.
    expect(flagsIn(rows.flat().join(" ")).filter((flag) => !flag.startsWith("--no-"))).toEqual(
      (flags.start ?? []).filter((flag) => !flag.startsWith("--no-")),
    );
  });

  test("the defaults that docs/configuration.md tells of flags, and docs/security.md of limits, are the code's", () => {
    const { threads, processes, control, log, limits, timeouts } = defaultOptions();
    const defaults = Object.fromEntries(
      rowsOf(section(configuration, "## Flags of hrmr start")).map(([flag = "", , , value]) => [
        /--[\w-]+/.exec(flag)?.[0] ?? "",
        value,
      ]),
    );
    expect(defaults).toMatchObject({
      "--port": String(DEFAULT_PORT),
      "--host": DEFAULT_HOST,
      "--processes": String(processes),
      "--threads": String(threads),
      "--commands": control.commands,
      "--log-level": log.level,
      "--log-format": log.format,
    });
    const told = section(page["docs/security.md"] ?? "", "# Limits and security").replaceAll(/\s+/g, " ");
    expect(told).toContain(`It listens on ${DEFAULT_HOST} until told otherwise`);
    expect(told).toContain(`${limits.maxConnections} connections, ${limits.maxConnectionsPerAddress} of one address`);
    expect([limits.maxMessageBytes, limits.maxBodyBytes, limits.maxHeaderBytes]).toEqual([2 ** 20, 2 ** 20, 2 ** 13]);
    expect(told).toContain("messages and HTTP bodies of 1 MiB, header fields of 8 KiB");
    expect([timeouts.requestMs, timeouts.handlerMs, timeouts.writeMs, timeouts.idleMs]).toEqual([
      30_000, 30_000, 30_000, 300_000,
    ]);
    expect(told).toContain("30 s for a message to arrive, for a handler and for a client to read, 5 min of silence");
  });

  test("no page names a flag that does not exist", () => {
    const known = new Set([...Object.values(flags).flat(), "--help", "--version"]);
    // Of bun, in the README and in the pages about modules and debugging.
    for (const flag of ["--hot", "--preload", "--inspect", "--inspect-wait"]) known.add(flag);
    expect(
      PAGES.flatMap((path) =>
        // Flags of curl are not hrmr's.
        flagsIn((page[path] ?? "").replaceAll(/^curl .*$/gm, ""))
          .filter((flag) => !known.has(flag))
          .map((flag) => `${path}: ${flag}`),
      ),
    ).toEqual([]);
  });

  test("every flag of every command is told on a page", () => {
    const told = new Set(PAGES.flatMap((path) => flagsIn(page[path] ?? "")));
    const all = Object.entries(flags).flatMap(([command, names]) => names.map((name) => [command, name]));
    expect(all.filter(([, name = ""]) => !told.has(name))).toEqual([]);
  });
});

describe("set-up", () => {
  const scripts = (JSON.parse(read("package.json")) as { scripts: Record<string, string> }).scripts;

  test("the README's two commands stand alone in their blocks, and CI calls the second", () => {
    const [...shown] = blocks(section(readme, "## Set-up"), "sh").map((text) => text.trim());
    expect(shown.splice(2)).toHaveLength(1);
    expect(shown).toEqual(["npm install && npm start", "npm install && npm test"]);
    expect(read(".ci/run")).toContain(shown[1] ?? "");
  });

  test("every npm script that is named exists", () => {
    const texts = { ...page, ".ci/run": read(".ci/run"), ".githooks/pre-commit": read(".githooks/pre-commit") };
    const missing = Object.entries(texts).flatMap(([path, text]) =>
      [...text.matchAll(/\bnpm (?:run )?(?:--[a-z]+ )?([a-z:]+)/g)]
        .map((match) => match[1] ?? "")
        .filter((name) => !["install", "ci", "pack"].includes(name) && !(name in scripts))
        .map((name) => `${path}: npm ${name}`),
    );
    expect(missing.filter((line) => !line.endsWith("npm run"))).toEqual([]);
    expect(scripts.start).toBeDefined();
  });

  test("a newcomer needs no more than the first 60 lines of the README", () => {
    const lines = readme.trimEnd().split("\n");
    const last = lines.findLastIndex((line) => line.startsWith("| ") || line.startsWith("#"));
    expect(last).toBeLessThan(60);
    expect(lines.length).toBeLessThan(70);
  });

  test.each([
    ["README.md", "## Set-up", 2],
    ["docs/start.md", "## In a minute", 0],
  ])("what %s shows is what a server in the checkout answers", async (path, heading, at) => {
    const state = mkdtempSync(join(tmpdir(), "hrmr-docs-"));
    const server = await startProgram(["--port", "0", "--state", state], { cwd: ROOT });
    try {
      const lines = (blocks(section(page[path] ?? "", heading), "sh")[at] ?? "").trim().split("\n");
      expect(lines.length).toBeGreaterThanOrEqual(4);
      for (const line of lines) {
        const reply = (await perform(line, server.port)).trim();
        const shown = /# (.*)$/.exec(line)?.[1] ?? "";
        if (/^\w+$/.test(shown)) expect(reply).toBe(shown);
        else if (/^\d+,/.test(shown)) expect(reply).toBe(shown.split(",")[0] ?? "");
        else if (/^OK\b/.test(shown)) expect(reply).toStartWith("OK");
        else expect(reply.split("\n").length).toBeGreaterThan(5);
      }
    } finally {
      await server.stop();
      rmSync(state, { recursive: true, force: true });
    }
  });

  /** Does what a line with curl or nc would, so that the test needs neither. */
  async function perform(line: string, port: number): Promise<string> {
    const raw = /^printf '(.*?)' \| nc -N localhost 8080\b/.exec(line)?.[1];
    if (raw !== undefined) return ask(port, raw.replaceAll("\\n", "\n"));
    const [, body, path] = /^curl (?:-d (\S+) )?http:\/\/localhost:8080(\S*)/.exec(line) ?? [];
    if (path === undefined) throw new Error(`Not understood: ${line}`);
    const reply = await fetch(`http://127.0.0.1:${port}${path}`, body === undefined ? {} : { method: "POST", body });
    expect(reply.status).toBe(200);
    return reply.text();
  }
});

describe("docs/errors.md", () => {
  const told = rowsOf(section(errors, "## To raw clients")).map(([line]) => line?.replaceAll("`", "") ?? "");
  const code = withoutValues(sources.join("\n"));

  /** A quoted key is put together elsewhere in the code. */
  const unquoted = (line: string): string => line.replaceAll('"', "");

  test("has every ERR line of the code", () => {
    const given = [...code.matchAll(/(["`])(ERR (?:(?!\1)[^\n])*?)\\n/g)].map((match) => unquoted(match[2] ?? ""));
    expect(given.length).toBeGreaterThan(9);
    // "ERR …": the verdict of a reload, and the deadline's text, which the next test looks for.
    const missing = given.filter((line) => line !== "ERR …" && !told.map(unquoted).includes(line));
    expect([...new Set(missing)]).toEqual([]);
  });

  test("has no ERR line that the code does not give", () => {
    const parts = (line: string): string[] => line.replace(/^ERR /, "").split(/["…]+/);
    const unknown = told.filter((line) =>
      parts(line).some((part) => part.trim().length > 3 && !code.includes(part.trim())),
    );
    expect(told.length).toBeGreaterThan(9);
    expect(unknown).toEqual([]);
  });

  test("has every HTTP status with its text, and no other", () => {
    const given = [
      ...code.matchAll(/(?:OwnReply\(|\{ status: )\s*([45]\d\d),\s*(?:text: )?(?:"([^"\n]*)"|`((?:[^`\\]|\\.)*)`)/g),
    ].map(([, status, plain, template]) => `${status} ${(plain ?? template ?? "").replaceAll("\\", "")}`);
    const rows = [...section(errors, "## To HTTP clients").matchAll(/^\| (\d{3}) +\| (.*?) +\|/gm)].map(
      ([, status, text]) => `${status} ${text}`,
    );
    expect(given.length).toBeGreaterThan(20);
    expect([...new Set(rows)].sort()).toEqual([...new Set(given)].sort());
  });
});

describe("docs/errors.md, WebSocket", () => {
  const rows = new Map(
    rowsOf(section(errors, "## To WebSocket clients")).map(([code = "", text = ""]) => [
      code.replaceAll("`", ""),
      text,
    ]),
  );
  const codec = [...new Bun.Glob("src/protocol/websocket/*.ts").scanSync(ROOT)].map((path) => read(path)).join("\n");
  const codes = new Map(
    [...codec.matchAll(/^export const ([A-Z_]+) = (1\d{3});/gm)].map(([, name = "", code = ""]) => [name, code]),
  );
  const given = [...codec.matchAll(/(?:#violate|#fail|beginClose|encodeClose)\(([A-Z_]+), (?:"([^"\n]*)")?/g)];

  test("has every close code that the server gives, and no other", () => {
    expect(given.length).toBeGreaterThan(9);
    expect([...rows.keys()].sort()).toEqual([...new Set(given.map(([, name = ""]) => codes.get(name) ?? name))].sort());
  });

  test("has the reasons for which the server closes what is in order", () => {
    const reasons = given.filter(([call, , reason]) => !call.startsWith("#violate") && reason !== undefined);
    expect(reasons.length).toBeGreaterThan(3);
    for (const [, name = "", reason] of reasons) expect(rows.get(codes.get(name) ?? "")).toContain(`"${reason}"`);
  });
});

describe("docs/modules.md", () => {
  /** The options that the code knows: it names them all to who writes an unknown one. */
  function known(exported: unknown): string[] {
    try {
      readShape("x", exported);
    } catch (error) {
      return (/Known are (.*?)\.?$/.exec((error as Error).message)?.[1] ?? "").split(", ").sort();
    }
    return [];
  }
  const options = (heading: string): string[] =>
    rowsOf(section(modules, heading)).map(([cell]) => /^`(\w+)/.exec(cell ?? "")?.[1] ?? "");
  const handle = (): string => "";

  test("has every option of a definition, and no other", () => {
    expect(options("## Options of a definition").sort()).toEqual(known({ routes: { A: handle }, qqqqqqqq: 1 }));
  });

  test("has every option of a route, and no other", () => {
    const kinds = ["handle", "fetch", "connect", "websocket"].flatMap((kind) =>
      known({ routes: { A: { [kind]: handle, qqqqqqqq: 1 } } }),
    );
    expect(options("## Options of a route").sort()).toEqual([...new Set(kinds)].sort());
  });

  const contract = read("src/module/contract.d.ts");

  /** The members of an interface of the contract, each once. */
  function membersOf(name: string): string[] {
    const body = new RegExp(`^export interface ${name}\\b[^{]*\\{\\n([\\s\\S]*?)^\\}`, "m").exec(contract)?.[1] ?? "";
    return [...new Set([...body.matchAll(/^ {2}(?:readonly )?(\w+)\??[(<:]/gm)].map((match) => match[1] ?? ""))].sort();
  }

  /** The members that a table's first column names: several may stand in one cell. */
  function named(text: string): string[] {
    return rowsOf(text)
      .flatMap(([cell = ""]) => [...cell.matchAll(/`(\w+)/g)].map((match) => match[1] ?? ""))
      .sort();
  }

  /** One table of several under a heading, by the first cell of its head. */
  function table(heading: string, head: string): string {
    const text = section(modules, heading);
    const at = text.search(new RegExp(`^\\| ${head} +\\|`, "m"));
    if (at < 0) throw new Error(`There is no table "${head}" under "${heading}".`);
    return /^(?:\|.*\n)+/.exec(text.slice(at))?.[0] ?? "";
  }

  test("has every property of the context and of the client", () => {
    const context = new Set([...membersOf("ModuleContext"), ...membersOf("RequestContext")]);
    expect(named(section(modules, "### The context"))).toEqual([...context].sort());
    expect(membersOf("RequestContext").length).toBeGreaterThan(2);
    expect(named(table("### The client", "Property"))).toEqual(membersOf("Client"));
    expect(named(table("### The client", "Property of `tls`"))).toEqual(membersOf("ClientTls"));
    const peer = rowsOf(section(modules, "### The client")).find(([name]) => name === "`peer`")?.[1] ?? "";
    for (const member of membersOf("ClientCertificate")) expect(peer).toContain(`\`${member}\``);
  });

  test("has every handler and option of a WebSocket route with its default, and every member of a socket", () => {
    const { websocket } = readShape("x", { routes: { "/": { websocket: {} } } }).routes[0] ?? {};
    const handlers = named(table("## WebSocket routes", "Handler"));
    const told = rowsOf(table("## WebSocket routes", "Option")).map(([name = "", value = ""]) => [
      name,
      value.replaceAll("`", ""),
    ]);
    expect([...handlers, ...told.map(([name = ""]) => name.replaceAll("`", ""))].sort()).toEqual(
      known({ routes: { "/": { websocket: { qqqqqqqq: 1 } } } }),
    );
    const { handlers: _, maxMessageBytes, ...rest } = websocket ?? { handlers: {}, maxMessageBytes: 0 };
    expect(maxMessageBytes).toBeUndefined();
    const defaults = { maxMessageBytes: defaultOptions().limits.maxWebSocketMessageBytes, ...rest };
    expect(Object.fromEntries(told)).toEqual(
      Object.fromEntries(Object.entries(defaults).map(([name, value]) => [`\`${name}\``, JSON.stringify(value)])),
    );
    expect(named(table("## WebSocket routes", "Member"))).toEqual(membersOf("ServerWebSocket"));
    expect(membersOf("ServerWebSocket").length).toBeGreaterThan(15);
  });

  test("has every setting of the static site with its default", () => {
    const { root, cacheControl, fallback, ...plain } = readSettings({});
    const told = Object.fromEntries(
      rowsOf(section(modules, "### The static site")).map(([name = "", value = ""]) => [name, value]),
    );
    expect(told).toEqual({
      ...Object.fromEntries(
        Object.entries(plain).map(([name, value]) => [`\`${name}\``, `\`${JSON.stringify(value)}\``]),
      ),
      "`root`": "set by the server",
      "`cacheControl`": `\`"${cacheControl[0]?.value}"\``,
      "`fallback`": fallback === "" ? "none" : fallback,
    });
    expect(root).toBeString();
  });

  test("has every module that ships with hrmr, with its keys", async () => {
    const rows = rowsOf(section(modules, "## What ships with hrmr").replaceAll(/^\| \[(\w+)\]\([^)]*\)/gm, "| `$1`"));
    const shipped = readdirSync(join(ROOT, "modules")).map((name) => name.replace(/\.ts$/, ""));
    expect(rows.map(([name]) => name?.replaceAll("`", "")).sort()).toEqual(shipped.sort());
    for (const [name = "", , routes = ""] of rows) {
      const { default: module } = (await import(join(ROOT, "modules", name.replaceAll("`", "")))) as {
        default: { routes: object };
      };
      for (const key of Object.keys(module.routes)) expect(routes).toContain(`\`${key}\``);
    }
  });
});

describe("the examples of the pages", () => {
  const examples = PAGES.flatMap((path) =>
    blocks(page[path] ?? "", "ts").map((text, index) => ({ name: `${path.replaceAll(/\W/g, "-")}-${index}`, text })),
  );
  const dir = mkdtempSync(join(tmpdir(), "hrmr-docs-"));

  beforeAll(() => {
    cpSync(join(ROOT, "examples/init/tsconfig.json"), join(dir, "tsconfig.json"));
    cpSync(join(ROOT, "src/module/contract.d.ts"), join(dir, "hrmr.d.ts"));
    for (const [path, text] of bunTypeFiles()) {
      mkdirSync(dirname(join(dir, path)), { recursive: true });
      writeFileSync(join(dir, path), text);
    }
  });
  mkdirSync(join(dir, "modules"));
  symlinkSync(join(ROOT, "node_modules"), join(dir, "node_modules"));
  for (const { name, text } of examples) writeFileSync(join(dir, "modules", `${name}.ts`), text);
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  test("are there", () => expect(examples.length).toBeGreaterThan(7));

  test.each(examples.map(({ name }) => name))("%s is a module", async (name) => {
    const exported = (await import(join(dir, "modules", `${name}.ts`))) as { default: unknown };
    const { routes, services, handlers, tasks, life } = readShape(name, exported.default);
    expect(routes.length + services.length + handlers.length + tasks.length > 0 || life !== null).toBe(true);
  });

  test("have no type errors", () => {
    const { stdout, stderr } = Bun.spawnSync([process.execPath, "check"], {
      cwd: dir,
      env: { ...process.env, NO_COLOR: "1" },
    });
    const output = `${stdout.toString()}${stderr.toString()}`;
    expect(output).not.toContain("error TS");
    expect(output).toContain("No type errors in");
  });

  test("of hrmr.json are valid", () => {
    const found = PAGES.flatMap((path) => blocks(page[path] ?? "", "json"));
    expect(found.length).toBeGreaterThan(2);
    const env = { THREADS: "4", MAIL_PASSWORD: "secret" };
    for (const text of found) {
      const { value, mistakes } = fillVariables(Bun.JSONC.parse(text), env);
      expect([...mistakes, ...findMistakes(value)]).toEqual([]);
    }
  });
});

describe("links and paths", () => {
  test("every relative link leads somewhere, to a heading that is there", () => {
    const broken = PAGES.flatMap((path) =>
      [...(page[path] ?? "").replaceAll(/^```[\s\S]*?^```$/gm, "").matchAll(/\]\((?!https?:)([^)]+)\)/g)]
        .map((match) => match[1] ?? "")
        .filter((link) => !leadsSomewhere(path, link))
        .map((link) => `${path}: ${link}`),
    );
    expect(broken).toEqual([]);
  });

  function leadsSomewhere(from: string, link: string): boolean {
    const [file = "", anchor] = link.split("#");
    const target = file === "" ? from : join(dirname(from), file);
    if (!existsSync(join(ROOT, target))) return false;
    if (anchor === undefined) return true;
    const headings = read(target).match(/^#+ .*$/gm) ?? [];
    return headings.some(
      (heading) =>
        heading
          .replace(/^#+ /, "")
          .toLowerCase()
          .replaceAll(/[^\w\s-]/g, "")
          .replaceAll(" ", "-") === anchor,
    );
  }

  test("every file and folder that a page names exists", () => {
    const named = PAGES.flatMap((path) =>
      [
        ...(page[path] ?? "").matchAll(
          /`((?:src|test|modules|examples|docs|bench|bin|\.ci|\.github|\.githooks)\/[\w./-]+)`/g,
        ),
      ].map((match) => [path, match[1] ?? ""]),
    );
    expect(named.length).toBeGreaterThan(40);
    // Files of a reader's project, not of this one.
    const theirs = new Set(["modules/NAME.ts", "modules/NAME/index.ts", "modules/hrmr-env.d.ts"]);
    expect(
      named
        .filter(([, file = ""]) => !theirs.has(file) && !existsSync(join(ROOT, file)))
        .map((pair) => pair.join(": ")),
    ).toEqual([]);
  });

  test("a recipe of CONTRIBUTING.md names functions and types that are in its files", () => {
    const page = read("CONTRIBUTING.md");
    const recipes = page.slice(page.indexOf("## Recipes"), page.indexOf("## Beside src"));
    // A step is an item of a list, with the lines and items that are indented below it.
    const steps = recipes
      .split(/^(?=\d+\. |- |#)/m)
      .map((step) => [...step.matchAll(/`([^`\n]+)`/g)].map(([, code = ""]) => code));
    const missing = steps.flatMap((step) => {
      const paths = step.filter((code) => /^(?:src|examples)\/[\w./-]+$/.test(code));
      const files = paths.flatMap((path) =>
        /\.\w+$/.test(path) ? [path] : [...new Bun.Glob(`${path}/*.ts`).scanSync(ROOT)],
      );
      const text = files.map((path) => read(path)).join("\n");
      return files.length === 0 ? [] : step.filter((code) => /^#?[A-Za-z_]\w+$/.test(code) && !text.includes(code));
    });
    expect(steps.flat().length).toBeGreaterThan(80);
    expect(missing).toEqual([]);
  });

  test("every folder of src is in the table of docs/architecture.md", () => {
    const rows = rowsOf(section(page["docs/architecture.md"] ?? "", "## The folders"));
    const told = rows.map(([name = ""]) => name.replaceAll("`", "")).filter((name) => name !== "src/main.ts");
    const folders = new Set([...new Bun.Glob("src/*/**/*").scanSync(ROOT)].map((path) => dirname(path)));
    expect(told.toSorted()).toEqual([...folders].toSorted());
    for (const [name, holds = ""] of rows) expect(`${name}: ${holds}`).toMatch(/: .{10,}/);
  });

  test("every folder beside src is in the table of CONTRIBUTING.md, and it leads to the one of src", () => {
    const told = rowsOf(section(page["CONTRIBUTING.md"] ?? "", "## Beside src")).map(([name = ""]) => name);
    const folders = new Set(
      [
        ...new Bun.Glob("{test,docs,modules,static_html,examples,bench,bin,.ci}/**/*").scanSync({
          cwd: ROOT,
          dot: true,
        }),
      ].map((path) => path.split("/")[0]),
    );
    expect(told.toSorted()).toEqual([...folders].map((name) => `\`${name}\``).toSorted());
    expect(page["CONTRIBUTING.md"]).toContain("(docs/architecture.md#the-folders)");
  });

  test("the seams of docs/architecture.md are where it says", () => {
    const rows = rowsOf(section(page["docs/architecture.md"] ?? "", "## The seams"));
    expect(rows.length).toBeGreaterThan(5);
    for (const [names = "", file = ""] of rows) {
      for (const name of names.replaceAll("`", "").split(", ")) {
        expect(read(file.replaceAll("`", ""))).toMatch(
          new RegExp(`^(?:export )?(?:interface|class|type) ${name}\\b`, "m"),
        );
      }
    }
  });

  test("lines of prose end at 120", () => {
    const long = PAGES.flatMap((path) =>
      (page[path] ?? "")
        .replaceAll(/^ *```[\s\S]*?^ *```$/gm, "")
        .split("\n")
        .filter((line) => line.length > 120 && !line.startsWith("|"))
        .map((line) => `${path}: ${line}`),
    );
    expect(long).toEqual([]);
  });

  test("every page is linked from another", () => {
    const linked = PAGES.flatMap((path) =>
      [...(page[path] ?? "").matchAll(/\]\(([^)#]+)/g)].map((match) => join(dirname(path), match[1] ?? "")),
    );
    expect(PAGES.filter((path) => path !== "README.md" && !linked.includes(path))).toEqual([]);
  });
});
