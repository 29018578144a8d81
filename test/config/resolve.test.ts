/**
 * Defaults, file, environment and flags, one over the other: the result, its origins, and the parts that a reload can
 * change.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StartFlags } from "../../src/cli/start/flags";
import { resolveConfig } from "../../src/cli/start/options";
import { readEnvironment, VARIABLES } from "../../src/config/resolve/environment";
import { CONFIG_KEYS } from "../../src/config/schema/key-list";
import { defaultOptions, type Options } from "../../src/config/options";
import {
  changedKeys,
  effectiveConfig,
  type ResolvedConfig,
  restartOnlyChanges,
} from "../../src/config/resolve/resolved";
import { maskUrls, quoted } from "../../src/config/quoted";
import { HARMLESS_SETTINGS, maskLine, maskSetting } from "../../src/config/resolve/secrets";
import { readSettings } from "../../modules/http/settings";
import { SETTINGS } from "../../modules/store/settings";
import type { UserError } from "../../src/config/user-error";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "hrmr-resolve-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A working directory with these files. */
function folder(files: Record<string, string> = {}): string {
  const dir = mkdtempSync(join(root, "cwd-"));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  return dir;
}

function resolve(
  flags: Partial<StartFlags> = {},
  env: Record<string, string> = {},
  cwd = folder(),
): Promise<ResolvedConfig> {
  return resolveConfig({ listen: [], ...flags }, env, cwd);
}

async function failure(promise: Promise<unknown>): Promise<UserError> {
  return await promise.then(
    () => {
      throw new Error("it was accepted");
    },
    (error: UserError) => error,
  );
}

describe("the config file", () => {
  const same = {
    "hrmr.json":
      '{ "threads": 2, "limits": { "maxQueued": 7 }, "modules": { "a": { "list": [1] } }, "tls": { "clientCaFile": "ca.pem" } }',
    "hrmr.toml": 'threads = 2\n[limits]\nmaxQueued = 7\n[modules.a]\nlist = [1]\n[tls]\nclientCaFile = "ca.pem"\n',
    "hrmr.yaml": "threads: 2\nlimits:\n  maxQueued: 7\nmodules:\n  a:\n    list: [1]\ntls:\n  clientCaFile: ca.pem\n",
  };

  test.each(Object.entries(same))("may be %s, and means the same", async (name, text) => {
    const cwd = folder({ [name]: text });
    const { options, file } = await resolve({}, {}, cwd);
    expect(options.places?.["modules.a"]).toStartWith(name);
    delete options.places;
    const expected = defaultOptions();
    expected.tls.clientCaFile = join(cwd, "ca.pem");
    expected.limits.maxQueued = 7;
    expect(options).toEqual({ ...expected, threads: 2, modules: { a: { list: [1] } } });
    expect(file).toBe(join(cwd, name));
  });

  test("may be named by HRMR_CONFIG, and a flag goes before that", async () => {
    const cwd = folder({ "one.yml": "threads: 1", "two.toml": "threads = 2" });
    expect((await resolve({}, { HRMR_CONFIG: "one.yml" }, cwd)).options.threads).toBe(1);
    expect((await resolve({ config: "two.toml" }, { HRMR_CONFIG: "one.yml" }, cwd)).options.threads).toBe(2);
  });

  test("is one: two of them are refused by name, unless one is named", async () => {
    const cwd = folder({ "hrmr.toml": "", "hrmr.yaml": "" });
    const error = await failure(resolve({}, {}, cwd));
    expect([error.code, error.message]).toEqual([
      "TWO_CONFIGS",
      `There are two config files in ${cwd}: hrmr.toml and hrmr.yaml.`,
    ]);
    expect((await resolve({ config: "hrmr.yaml" }, {}, cwd)).file).toBe(join(cwd, "hrmr.yaml"));
  });

  test.each(["hrmr.yaml", "hrmr.toml"])("%s without a key gives the defaults", async (name) => {
    expect((await resolve({}, {}, folder({ [name]: "# nothing yet\n" }))).options).toEqual(defaultOptions());
  });
});

describe("the environment", () => {
  test("has a variable for every key but a list of objects, and each reaches its key", async () => {
    const reached = new Set([...VARIABLES.values()].map(({ name }) => name));
    expect([...CONFIG_KEYS.keys()].filter((name) => !reached.has(name))).toEqual(["tls.sni"]);
    const text = (name: string, initial: unknown) => {
      if (name === "listen") return "tcp://a:1, unix:///b";
      if (name === "http.use" || name === "http.localNames") return "a,b";
      if (name === "control.listen") return "tcp://a:1";
      if (name === "access.required") return "true";
      if (name === "schedule.timeZone") return "Europe/Berlin";
      if (name === "store.url") return "sqlite:///some/path";
      if (name === "versions.maxErrorShare") return "0.25";
      if (typeof initial === "boolean") return String(!initial);
      if (typeof initial === "number") return String(initial + 1);
      const choices = /^one of (.*)$/.exec(CONFIG_KEYS.get(name)?.takes ?? "")?.[1];
      return choices === undefined
        ? "/some/path"
        : (JSON.parse(`[${choices}]`).findLast((each: string) => each !== initial) as string);
    };
    const env = Object.fromEntries(
      [...VARIABLES].map(([variable, { name, default: initial }]) => [variable, text(name, initial)]),
    );
    const { options, origins, notes } = await resolve({}, env);
    expect(changedKeys(defaultOptions(), options)).toEqual(
      [...CONFIG_KEYS.keys()].filter((name) => name !== "tls.sni"),
    );
    expect([options.listen, options.http.use]).toEqual([
      ["tcp://a:1", "unix:///b"],
      ["a", "b"],
    ]);
    expect(origins.get("limits.maxWebSocketMessageBytes")).toBe("HRMR_LIMITS_MAX_WEB_SOCKET_MESSAGE_BYTES");
    expect(notes).toEqual([]);
  });

  test("is refused with every bad variable named", async () => {
    const env = {
      HRMR_THREADS: "x",
      HRMR_PORT: "99999",
      HRMR_LOG_LEVEL: "loud",
      HRMR_WATCH: "yes",
      HRMR_LISTEN: "a:1",
    };
    const error = await failure(resolve({}, env));
    expect(error.message.split("\n").sort()).toEqual([
      'HRMR_LISTEN in the environment must be a list of tcp://host:port, tls://host:port, udp://host:port or unix:///path, not ["a:1"].',
      'HRMR_LOG_LEVEL in the environment must be one of "critical", "error", "warn", "info", "debug", "trace", not "loud".',
      'HRMR_PORT in the environment must be a whole number from 0 to 65535, not "99999".',
      'HRMR_THREADS in the environment must be a whole number from 1 to 256, not "x".',
      'HRMR_WATCH in the environment must be true or false, not "yes".',
    ]);
    expect([error.code, error.exitCode]).toEqual(["BAD_ENVIRONMENT", 2]);
  });

  test("may have names that hrmr does not know: a note tells the nearest, and those that are its own are left alone", () => {
    const own = {
      HRMR_ROLE: "x",
      HRMR_CONTROL: "x",
      HRMR_BIN: "x",
      HRMR_INTERNAL_X: "x",
      HRMR_CONFIG: "x",
      HRMR_THREADS: "",
    };
    const { values, notes } = readEnvironment({ HRMR_LIMIT_MAX_QUEUED: "1", HRMR_QQ: "2", HOME: "/", ...own }, "/");
    expect(values).toEqual([]);
    expect(notes).toEqual([
      "HRMR_LIMIT_MAX_QUEUED in the environment is no setting of hrmr, and is ignored. Did you mean HRMR_LIMITS_MAX_QUEUED?",
      "HRMR_QQ in the environment is no setting of hrmr, and is ignored.",
    ]);
  });

  test("has paths that start at the working directory, and null for a key that can be null", async () => {
    const cwd = folder({ "hrmr.json": '{ "staticDir": "s", "pidFile": "p" }' });
    const { options } = await resolve({}, { HRMR_STATIC_DIR: "null", HRMR_PID_FILE: "run/x.pid" }, cwd);
    expect([options.staticDir, options.pidFile]).toEqual([null, join(cwd, "run/x.pid")]);
  });
});

describe("flags", () => {
  test("set their keys", async () => {
    const cwd = folder();
    const flags = {
      processes: "0",
      "pid-file": "h.pid",
      "log-level": "debug",
      "log-format": "json",
      "log-file": "h.log",
      "access-log": true,
      control: "c.sock",
      commands: "off",
      "health-endpoint": false,
      "ready-endpoint": false,
      "stats-endpoint": false,
      "metrics-endpoint": false,
    };
    const { options, origins } = await resolve(flags, { HRMR_PROCESSES: "5" }, cwd);
    expect(options).toEqual({
      ...defaultOptions(),
      processes: 0,
      pidFile: join(cwd, "h.pid"),
      log: { ...defaultOptions().log, level: "debug", format: "json", file: join(cwd, "h.log"), access: true },
      control: { ...defaultOptions().control, commands: "off", socket: join(cwd, "c.sock") },
      http: { health: "off", ready: "off", stats: "off", metrics: "off", localNames: [], use: [] },
    });
    expect([origins.get("processes"), origins.get("http.stats"), origins.get("log.access")]).toEqual([
      "--processes",
      "--no-stats-endpoint",
      "--access-log",
    ]);
  });

  test("switch an endpoint on that the file switched off, and leave alone who may see it", async () => {
    const cwd = folder({ "hrmr.json": '{ "http": { "stats": "off", "metrics": "anyone" } }' });
    const { options } = await resolve({ "stats-endpoint": true, "metrics-endpoint": true }, {}, cwd);
    expect([options.http.stats, options.http.metrics]).toEqual(["local", "anyone"]);
  });
});

describe("--set", () => {
  test("takes any key, read as the schema wants it: numbers, lists by comma or JSON, null, paths", async () => {
    const cwd = folder({ "hrmr.json": '{ "limits": { "maxQueued": 1, "maxPipelined": 5 }, "stateDir": "s" }' });
    const sni = '[{"serverNames":["a"],"certFile":"a.pem","keyFile":"b.pem"}]';
    const set = [
      "limits.maxQueued=2",
      "limits.maxQueued=3",
      "watch=true",
      "http.use=a, b",
      'listen=["tcp://a:1"]',
      `tls.sni=${sni}`,
      "tls.certFile=c.pem",
      "tls.keyFile=k.pem",
      "stateDir=null",
    ];
    const { options, origins } = await resolve({ set }, { HRMR_LIMITS_MAX_QUEUED: "9" }, cwd);
    expect([options.limits.maxQueued, options.limits.maxPipelined, options.watch]).toEqual([3, 5, true]);
    expect([options.http.use, options.listen, options.stateDir]).toEqual([["a", "b"], ["tcp://a:1"], null]);
    expect(options.tls.sni).toEqual([
      { serverNames: ["a"], certFile: join(cwd, "a.pem"), keyFile: join(cwd, "b.pem") },
    ]);
    expect(options.tls.certFile).toBe(join(cwd, "c.pem"));
    expect([origins.get("limits.maxQueued"), origins.get("limits.maxPipelined")]).toEqual(["--set", "hrmr.json:1"]);
  });

  test("takes a module's settings, as JSON or text, beside those of the file", async () => {
    const cwd = folder({
      "hrmr.json": '{ "modules": { "a": { "name": "file",\n "db": { "host": "x", "port": 1 } } } }',
    });
    const set = [
      "modules.a.count=3",
      "modules.a.greeting=Good morning",
      "modules.a.db.port=2",
      "modules.a.timeouts.loadMs=9",
      'modules.b={"on": true}',
    ];
    const { options, origins } = await resolve({ set }, {}, cwd);
    expect(options.modules).toEqual({
      a: { name: "file", db: { host: "x", port: 2 }, count: 3, greeting: "Good morning", timeouts: { loadMs: 9 } },
      b: { on: true },
    });
    const ofModules = Object.fromEntries([...origins].filter(([name]) => name.startsWith("modules.")));
    expect(ofModules).toEqual({
      "modules.a.name": "hrmr.json:1",
      "modules.a.db": "--set",
      "modules.a.count": "--set",
      "modules.a.greeting": "--set",
      "modules.a.timeouts.loadMs": "--set",
      "modules.b.on": "--set",
    });
  });

  test("cannot reach what all objects share", async () => {
    await resolve({ set: ["modules.__proto__.polluted=1"] });
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    const error = await failure(resolve({ set: ["__proto__.polluted=1", "limits.constructor=1"] }));
    expect(error.message.split("\n")).toHaveLength(2);
  });
});

describe("keys that must agree", () => {
  test.each([
    ['{\n"tls": { "certFile": "a" } }', "hrmr.json:2:10: tls.certFile is set, and tls.keyFile is not."],
    ['{\n"tls": { "keyFile": "a" } }', "hrmr.json:2:10: tls.keyFile is set, and tls.certFile is not."],
    [
      '{ "tls": {\n"clientCert": "require" } }',
      'hrmr.json:2:1: tls.clientCert is "require", and tls.clientCaFile is not set.',
    ],
    [
      '{ "control": {\n"listen": "tcp://a:1" } }',
      "hrmr.json:2:1: control.listen is set, and control.tokenFile is not.",
    ],
  ])("%j is told with its line, and beside all other mistakes", async (text, message) => {
    const cwd = folder({ "hrmr.json": text });
    expect((await failure(resolve({}, {}, cwd))).message).toStartWith(`${cwd}/hrmr.json has a mistake:\n  ${message}`);
    const worse = folder({ "hrmr.json": text.replace("{", '{ "watch": 1,') });
    const both = (await failure(resolve({}, {}, worse))).message;
    expect(both).toContain("watch must be true or false, not 1");
    expect(both).toContain(message.slice(message.indexOf(": ")));
  });

  test("may be completed from elsewhere, and name who asked for the other one", async () => {
    const cwd = folder({ "hrmr.json": '{ "control": { "tokenFile": "t" } }' });
    const set = ["control.listen=tcp://a:1"];
    expect((await resolve({ set }, {}, cwd)).options.control.listen).toBe("tcp://a:1");
    const error = await failure(resolve({ set }));
    expect(error.message).toStartWith("The configuration has a mistake:\n  --set: control.listen is set, and");
    const variable = await failure(resolve({}, { HRMR_TLS_KEY_FILE: "k" }, cwd));
    expect(variable.message).toContain("HRMR_TLS_KEY_FILE: tls.keyFile is set");
  });
});

test("every value has its origin: default, the file's line, the variable, the flag", async () => {
  const cwd = folder({
    "hrmr.json": '{\n"threads": 2,\n"watch": true, "limits": {\n"maxQueued": 3 }, "modules": {\n"a": {} } }',
  });
  const { origins } = await resolve({ port: "1" }, { HRMR_THREADS: "3" }, cwd);
  expect([...origins.keys()]).toEqual([...CONFIG_KEYS.keys(), "modules.a"]);
  const named = ["threads", "watch", "limits.maxQueued", "limits.maxPipelined", "listen", "modules.a"].map((name) =>
    origins.get(name),
  );
  expect(named).toEqual(["HRMR_THREADS", "hrmr.json:3", "hrmr.json:4", "default", "--port", "hrmr.json:5"]);
  expect((await resolve({}, { HRMR_HOST: "::1" }, cwd)).origins.get("listen")).toBe("HRMR_HOST");
});

describe("at a reload", () => {
  function changed(change: (options: Options) => void): { changed: string[]; restart: string[] } {
    const [old, next] = [defaultOptions(), defaultOptions()];
    change(next);
    return { changed: changedKeys(old, next), restart: restartOnlyChanges(old, next) };
  }

  test("the keys that changed are named, modules' settings too", () => {
    const difference = changed((options) => {
      options.limits.maxQueued = 1;
      options.http.use = ["a"];
      options.modules = { a: { x: 1, timeouts: { loadMs: 2 } }, b: {} };
    });
    expect(difference.changed).toEqual([
      "limits.maxQueued",
      "http.use",
      "modules.a.x",
      "modules.a.timeouts.loadMs",
      "modules.b",
    ]);
    expect(difference.restart).toEqual([]);
  });

  test("those that need a restart are told apart", () => {
    const restart = [...CONFIG_KEYS.values()].filter((key) => key.restart === true).map(({ name }) => name);
    expect(restart).toEqual(
      [
        "listen",
        "modulesDir",
        "staticDir",
        "stateDir",
        "dataDir",
        "threads",
        "processes",
        "pidFile",
        "resume",
        "control.socket",
      ].concat([
        "control.listen",
        "http2.enabled",
        "http2.maxControlFramesPerSecond",
        "http2.maxResetsPerSecond",
        "http2.maxConcurrentStreams",
        "http2.initialWindowBytes",
        "http2.maxFrameBytes",
        "http2.maxHeaderBytes",
      ]),
    );
    const difference = changed((options) => {
      options.listen = ["tcp://a:1"];
      options.http2.enabled = false;
      options.log.level = "debug";
    });
    expect(difference).toEqual({
      changed: ["listen", "log.level", "http2.enabled"],
      restart: ["listen", "http2.enabled"],
    });
  });

  test("the same input gives the same configuration, and the file is read anew", async () => {
    const cwd = folder({ "hrmr.json": '{ "threads": 2 }' });
    const first = await resolve({}, {}, cwd);
    expect(changedKeys(first.options, (await resolve({}, {}, cwd)).options)).toEqual([]);
    writeFileSync(join(cwd, "hrmr.json"), '{ "threads": 3 }');
    expect(changedKeys(first.options, (await resolve({}, {}, cwd)).options)).toEqual(["threads"]);
  });
});

describe("secrets", () => {
  // Names that tell, and names that do not.
  const SECRET_NAMES =
    "password pass PASS auth jwt bearer authorization dsn accessKeyId webhook url salt private cookie redis name greeting db.password".split(
      " ",
    );
  const shownOf = (settings: Record<string, unknown>, module = "app") =>
    Object.fromEntries(
      Object.entries(settings).map(([key, value]) => [key, maskSetting(["modules", module, key], value)]),
    );

  test.each(SECRET_NAMES)("a module's own setting %s is not shown, whatever it is", (name) => {
    for (const value of ["s3cret", 1234, ["s3cret"], { s3cret: "s3cret" }, [{ a: ["s3cret"] }]])
      expect(shownOf({ [name]: value })).toEqual({ [name]: "***" });
  });

  test("settings that are known to be harmless are shown", () => {
    const ofServer = { enabled: true, external: ["pg"], libs: ["z"], run: "pool", reload: "swap", maxMemoryMb: 64 };
    expect(shownOf(ofServer)).toEqual(ofServer);
    expect(maskSetting(["modules", "app", "timeouts", "handlerMs"], 5)).toBe(5);
    const blank = { on: true, none: null, empty: "", list: [], object: {} };
    expect(shownOf(blank)).toEqual(blank);
    // Of the modules that ship with hrmr, all but the tokens.
    const { root, ...ofSite } = readSettings({});
    expect(HARMLESS_SETTINGS["http"]).toEqual(["root", ...Object.keys(ofSite)]);
    const ofStore = SETTINGS["~standard"].validate({}) as { value: object };
    expect(HARMLESS_SETTINGS["store"]).toEqual(Object.keys(ofStore.value));
    expect(HARMLESS_SETTINGS["events"]).toEqual(["topics", "emit", "heartbeatMs"]);
    expect(shownOf({ root, cacheControl: { "*.css": "no-store" } }, "http")).toEqual({
      root,
      cacheControl: { "*.css": "no-store" },
    });
    expect(shownOf({ tokens: ["s3cret"], open: ["/a"] }, "access")).toEqual({ tokens: "***", open: ["/a"] });
    // Own modules of those names have own settings.
    expect(shownOf({ password: "s3cret" }, "http")).toEqual({ password: "***" });
    expect(shownOf({ root: "/x" }, "app")).toEqual({ root: "***" });
  });

  test.each([
    ["postgres://ada:s3@db/x", "postgres://***@db/x"],
    ["redis://:s3@h", "redis://***@h"],
    ["https://s3@h/", "https://***@h/"],
    ["amqp://u:s3/@s3@h/v", "amqp://***@h/v"],
    ["see mongodb+srv://u:s3@h and http://u:s3@i/", "see mongodb+srv://***@h and http://***@i/"],
    ["https://h/?api_key=s3&page=s3#access_token=s3", "https://h/?api_key=***&page=***#access_token=***"],
    ["unix:///run/x.sock?mode=0660", "unix:///run/x.sock?mode=0660"],
    ["tcp://127.0.0.1:80", "tcp://127.0.0.1:80"],
    ["me@example.org", "me@example.org"],
  ])("of the URL %s all is shown but user info and parameters", (url, shown) => {
    expect(maskUrls({ a: [url] })).toEqual({ a: [shown] });
    expect(quoted(url)).toBe(JSON.stringify(shown));
  });

  test.each([
    ['{"modules": {"app": {"password": "s3cret" "x": 1}}}', '{"modules": {"app": {"password": *** ***: ***}}}'],
    ['"password": s3cret,', '"password": ***,'],
    ['"password": "s3cret', '"password": ***'],
    ['"auth": "Bearer s3cret: x",', '"auth": ***,'],
    ["password = s3cret", "password = ***"],
    ["auth: Bearer s3cret: x", "auth: *** ***: ***"],
    ["- s3cret: x", "- s3cret: ***"],
    ["MIIEs3cret/+=", ""],
    ["MIIEs3cret==", ""],
    ['"watch" true,', '"watch" true,'],
    ['"pass" s3cret,', ""],
    ["s3cret", ""],
    ["[modules.app]", "[modules.app]"],
    ['  "threads": 2 2,', '"threads": 2 2,'],
    ["listen = tcp://u:p@h", "listen = tcp://***@h"],
    ["}}", "}}"],
  ])("of the line %s of a broken config file no value is shown that may be a secret", (line, shown) => {
    expect(maskLine(line)).toBe(shown);
  });

  test("a configuration is shown with its modules' secrets only on request", async () => {
    const cwd = folder();
    mkdirSync(join(cwd, "k"));
    const settings = {
      apiKey: "s3",
      users: [{ password: "s3", name: "ada" }],
      url: "postgres://ada:s3@db/x",
      on: true,
    };
    writeFileSync(join(cwd, "hrmr.json"), JSON.stringify({ control: { tokenFile: "k/t" }, modules: { a: settings } }));
    const resolved = await resolve({}, {}, cwd);
    const config = effectiveConfig(resolved);
    expect(JSON.stringify(config)).not.toContain("s3");
    expect(config.values["control.tokenFile"]?.value).toBe(join(cwd, "k/t"));
    expect(config.values["modules.a.users"]).toEqual({ value: "***", origin: "hrmr.json:1" });
    expect(config.values["modules.a.on"]?.value).toBe(true);
    expect(effectiveConfig(resolved, true).values["modules.a.users"]?.value).toEqual(settings.users);
  });
});
