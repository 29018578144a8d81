import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { StartFlags } from "../../src/cli/start/flags";
import { resolveConfig } from "../../src/cli/start/options";
import { formatListen, parseListen } from "../../src/config/listen";
import { loadConfig } from "../../src/config/resolve/load";
import { findMistakes } from "../../src/config/mistakes";
import { nearest } from "../../src/config/nearest";
import { DEFAULT_LIMITS, defaultOptions, type Options } from "../../src/config/options";
import { CONFIG_SCHEMA } from "../../src/config/schema/schema";
import type { UserError } from "../../src/config/user-error";
import { runProgram } from "../support/program";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "hrmr-config-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Writes `text` as hrmr.json of a folder of its own. */
function configFile(name: string, text: string): string {
  const file = join(root, name, "hrmr.json");
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
}

async function failureOf(promise: Promise<unknown>): Promise<UserError> {
  return await promise.then(
    () => {
      throw new Error("it was accepted");
    },
    (error: UserError) => error,
  );
}

const NO_FLAGS: StartFlags = { listen: [] };

async function resolveOptions(...input: Parameters<typeof resolveConfig>) {
  return (await resolveConfig(...input)).options;
}

describe("the config file", () => {
  test("may have comments and trailing commas; its paths start at its own folder", async () => {
    const file = configFile(
      "comments",
      '{\n  // where\n  "modulesDir": "mods", /* and */ "stateDir": "/var/x", "staticDir": null,\n}\n',
    );
    const { options } = await loadConfig("/", file);
    expect(options).toEqual({ modulesDir: join(dirname(file), "mods"), stateDir: "/var/x", staticDir: null });
  });

  test("is hrmr.json of the working directory, if there is one", async () => {
    const file = configFile("here", '{ "threads": 2 }');
    expect((await loadConfig(dirname(file))).options.threads).toBe(2);
    expect(await loadConfig(root)).toEqual({ file: null, options: {} });
  });

  test("a syntax error is told with line, column and the line itself", async () => {
    const file = configFile("syntax", '{\n  "threads": 2,\n  "watch" true\n}\n');
    const error = await failureOf(loadConfig(root, file));
    expect(error.message).toStartWith(`${file}:3:11: `);
    expect(error.hint).toContain('"watch" true');
  });

  test("all mistakes are told at once, each with its key", () => {
    const value = {
      listn: [],
      threads: 0,
      listen: ["http://x:1"],
      watch: "yes",
      modulesDir: "",
      maxQueued: 5,
      control: { commands: "everyone" },
      limits: { maxBodyByts: 1, maxPipelined: 1.5 },
      timeouts: { idleMs: -1 },
      tls: { sni: [{ certFil: "x", serverNames: ["A.example"] }, 3] },
      modules: { greet: { enabled: 1, external: "x", timeouts: { loadM: 3 } }, chat: 3 },
    };
    expect(
      findMistakes(value)
        .map(({ message }) => message)
        .sort(),
    ).toEqual([
      'control.commands must be one of "anyone", "loopback", "token", "off", not "everyone"',
      "limits.maxBodyByts: there is no such key. Did you mean limits.maxBodyBytes?",
      "limits.maxPipelined must be a whole number from 1, not 1.5",
      'listen[0] must be tcp://host:port, tls://host:port, udp://host:port or unix:///path, not "http://x:1"',
      "listn: there is no such key. Did you mean listen?",
      "maxQueued: there is no such key. Did you mean limits.maxQueued?",
      "modules.chat must be an object, not 3",
      "modules.greet.enabled must be true or false, not 1",
      'modules.greet.external must be a list of texts, not "x"',
      "modules.greet.timeouts.loadM: there is no such key. Did you mean modules.greet.timeouts.loadMs?",
      'modulesDir must be a path or null, not ""',
      "threads must be a whole number from 1 to 256, not 0",
      "timeouts.idleMs must be a whole number from 0 to 2147483647, not -1",
      "tls.sni[0].certFil: there is no such key. Did you mean tls.sni[0].certFile?",
      "tls.sni[0].certFile is missing",
      "tls.sni[0].keyFile is missing",
      'tls.sni[0].serverNames[0] must be a lower-case host name, not "A.example"',
      "tls.sni[1] must be an object, not 3",
      'watch must be true or false, not "yes"',
    ]);
  });

  test.each([
    ["commands", "control.commands"],
    ["healthEndpoint", "http.health"],
    ["port", "listen"],
  ])("%s, which is a key no more or never was one, leads to %s", (old, now) => {
    expect(findMistakes({ [old]: 1 }).map(({ message }) => message)).toEqual([
      `${old}: there is no such key. Did you mean ${now}?`,
    ]);
  });

  test("a name that every object has is a key no more than others", async () => {
    const file = configFile(
      "proto",
      '{ "__proto__": { "x": 1 }, "constructor": 1, "limits": { "__proto__": 1 }, "modules": { "toString": {} } }',
    );
    expect((await failureOf(loadConfig(root, file))).message.split("\n").slice(1)).toEqual([
      "  hrmr.json:1:3: __proto__: there is no such key.",
      "  hrmr.json:1:28: constructor: there is no such key.",
      "  hrmr.json:1:58: limits.__proto__: there is no such key.",
    ]);
  });

  test("a module's own settings are not the server's to judge", () => {
    expect(
      findMistakes({
        $schema: "x",
        modules: { greet: { enabled: false, external: ["sharp"], anything: { at: ["all"] } } },
      }),
    ).toEqual([]);
  });

  test.each(["[]", "3", "null", '"text"'])("%s instead of an object is refused", async (text) => {
    expect((await failureOf(loadConfig(root, configFile("shape", text)))).message).toContain("must hold an object");
  });

  test("an empty one gives the defaults, and they pass themselves", () => {
    const options: Options = CONFIG_SCHEMA.parse({});
    expect(options).toEqual(defaultOptions());
    expect(CONFIG_SCHEMA.parse(options)).toEqual(options);
    // Each its own copy.
    expect(CONFIG_SCHEMA.parse({}).http.use).not.toBe(options.http.use);
  });

  test("what hrmr init shows in comments is every key, with its default", async () => {
    const shown = readFileSync(join(import.meta.dir, "../../examples/init/hrmr.json"), "utf8").replace(
      /^( *)\/\/ (?=")/gm,
      "$1",
    );
    const { options } = await loadConfig(root, configFile("shown", shown));
    const { modules: _, ...defaults } = { ...defaultOptions(), modulesDir: join(root, "shown", "modules") };
    expect(options).toEqual({ ...defaults, modules: expect.any(Object) });
  });

  test("the program refuses a bad file with exit 1, before it starts anything", async () => {
    const { exitCode, stdout, stderr } = await runProgram([
      "--config",
      configFile("program", '{ "prot": 1, "threads": "x" }'),
    ]);
    expect(stderr).toContain("has 2 mistakes:");
    expect(stderr).toContain('threads must be a whole number from 1 to 256, not "x"');
    expect(stdout).toBe("");
    expect(exitCode).toBe(1);
  });

  test("a file that was named and is not there is refused", async () => {
    const { exitCode, stderr } = await runProgram(["--config", join(root, "none.json")]);
    expect(stderr).toContain(`Cannot read the config file ${join(root, "none.json")} (ENOENT).`);
    expect(exitCode).toBe(1);
  });

  test("its line and column are right in the program too", async () => {
    const file = configFile("program-syntax", '{\n  "threads": ]\n}\n');
    expect((await runProgram(["start", "-c", file])).stderr).toStartWith(`${file}:2:14: `);
  });
});

describe("where an option comes from", () => {
  test("flags beat the environment, which beats the file, which beats the defaults", async () => {
    const file = configFile(
      "order",
      '{ "listen": ["tcp://0.0.0.0:1", "unix:///x"], "threads": 2, "limits": { "maxBodyBytes": 5 } }',
    );
    const cwd = dirname(file);
    const fromFile = await resolveOptions(NO_FLAGS, {}, cwd);
    expect([fromFile.listen, fromFile.threads]).toEqual([["tcp://0.0.0.0:1", "unix:///x"], 2]);
    expect(fromFile.limits).toEqual({ ...DEFAULT_LIMITS, maxBodyBytes: 5 });
    const env = { HRMR_PORT: "3", HRMR_THREADS: "3" };
    const fromEnvironment = await resolveOptions(NO_FLAGS, env, cwd);
    expect([fromEnvironment.listen, fromEnvironment.threads]).toEqual([["tcp://0.0.0.0:3", "unix:///x"], 3]);
    const fromFlags = await resolveOptions({ listen: [], port: "4", host: "::1", threads: "4" }, env, cwd);
    expect([fromFlags.listen, fromFlags.threads]).toEqual([["tcp://[::1]:4", "unix:///x"], 4]);
    expect((await resolveOptions({ listen: ["udp://a:5"] }, env, cwd)).listen).toEqual(["udp://a:5"]);
  });

  test("nothing said gives the defaults", async () => {
    expect(await resolveOptions(NO_FLAGS, { HRMR_PORT: "" }, root)).toEqual(defaultOptions());
  });

  test("paths of flags start at the working directory", async () => {
    const options = await resolveOptions({ listen: [], modules: "m", static: "s", state: "/t" }, {}, "/w");
    expect([options.modulesDir, options.staticDir, options.stateDir]).toEqual(["/w/m", "/w/s", "/t"]);
  });

  test("a project named by its config file brings its modules folder", async () => {
    const file = configFile("project", "{}");
    mkdirSync(join(dirname(file), "modules"));
    expect((await resolveOptions({ listen: [], config: file }, {}, "/")).modulesDir).toBe(
      join(dirname(file), "modules"),
    );
  });
});

describe("listen URLs", () => {
  test.each(["tcp://127.0.0.1:0", "udp://[::1]:53", "tcp://localhost:65535", "unix:///run/x y.sock"])(
    "%s is read and written back",
    (url) => {
      const address = parseListen(url);
      expect(address === null ? null : formatListen(address)).toBe(url);
    },
  );

  test.each([
    "",
    "8080",
    "tcp://",
    "tcp://a",
    "tcp://a:65536",
    "tcp://::1:80",
    "tcp://a b:1",
    "unix://x",
    "unix://",
    "http://a:1",
    "tcp://a:-1",
  ])("%j is refused", (url) => expect(parseListen(url)).toBeNull());
});

test("the nearest name counts a swap as one change, and nothing is near what is far", () => {
  expect(nearest("prot", ["port", "host"])).toBe("port");
  expect(nearest("maxbodybytes", ["maxBodyBytes", "maxHeaderBytes"])).toBe("maxBodyBytes");
  expect(nearest("frobnicate", ["port", "host"])).toBeNull();
});
