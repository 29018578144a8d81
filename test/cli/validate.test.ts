/** `hrmr validate` says what `hrmr start` does: both run on the same project, and validate leaves it as it was. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { issueCertificate } from "../../src/cli/certificate/x509";
import type { Finding } from "../../src/supervise/preflight/findings";
import { makeProject, moduleSource } from "../support/hub";
import { callProgram } from "../support/call-program";
import { program, runProgram, startProgram } from "../support/program";
import { pairFiles, serverCertificate, TLS_FLAGS } from "../support/tls";
import { until } from "../support/until";

const GREET = { "modules/greet.ts": moduleSource(`{ routes: { "GREET": () => "hello\\n" } }`) };
const FREE = ["--port", "0"];
const TOKEN = "0123456789abcdef0123456789abcdef";
const certificate = serverCertificate();

let folder: string;
beforeAll(() => (folder = realpathSync(mkdtempSync(join(tmpdir(), "hrmr-check-")))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Validation {
  readonly exitCode: number | null;
  readonly ok: boolean;
  readonly errors: number;
  readonly warnings: number;
  readonly findings: Finding[];
}

/** @param run  how: by the program, or called in this process, which costs a tenth */
async function validate(
  dir: string,
  args: readonly string[],
  run: typeof runProgram = runProgram,
  env: Record<string, string> = {},
): Promise<Validation> {
  const before = listing(dir);
  const { exitCode, stdout, stderr } = await run(["validate", "--json", ...args], { cwd: dir, env });
  expect(stderr).toBe("");
  expect(listing(dir)).toEqual(before);
  return { exitCode, ...(JSON.parse(stdout) as Omit<Validation, "exitCode">) };
}

/** Every file with its size and times. */
function listing(dir: string): string[] {
  const names = readdirSync(dir, { recursive: true, encoding: "utf8" }).filter(
    (name) => !name.startsWith("node_modules"),
  );
  return names.sort().map((name) => {
    const { size, mtimeMs, ctimeMs } = lstatSync(join(dir, name));
    return `${name} ${size} ${mtimeMs} ${ctimeMs}`;
  });
}

const mistakesOf = ({ findings }: Validation): string[] =>
  findings.filter(({ state }) => state === "error").map(({ check, text }) => `${check}: ${text.split("\n")[0]}`);

interface Case {
  readonly files?: Record<string, string>;
  readonly args?: readonly string[];
  /** Makes the obstacle. @returns a function that removes it */
  readonly prepare?: (dir: string) => () => unknown;
}

async function inProject(
  { files = GREET, args = FREE, prepare }: Case,
  run: (dir: string, args: readonly string[]) => Promise<void>,
) {
  const dir = makeProject(files);
  const undo = prepare?.(dir);
  try {
    await run(
      dir,
      args.map((arg) => arg.replaceAll("DIR", dir)),
    );
  } finally {
    await undo?.();
    rmSync(dir, { recursive: true, force: true });
  }
}

const config = (value: object): Record<string, string> => ({ "hrmr.json": JSON.stringify(value) });
const file = (name: string, text: string, mode: number) => (dir: string) => {
  writeFileSync(join(dir, name), text, { mode });
  return () => undefined;
};

describe("what is in order for validate is served by start", () => {
  const inOrder: [string, Case][] = [
    ["a project", {}],
    ["no project at all", { files: {} }],
    [
      "a certificate",
      { files: { ...GREET, ...pairFiles(certificate) }, args: ["--listen", "tls://127.0.0.1:0", ...TLS_FLAGS] },
    ],
    ["an expired certificate", { files: { ...GREET, ...pairFiles(expired()) }, args: [...FREE, ...TLS_FLAGS] }],
    ["a unix socket", { args: ["--listen", "unix://DIR/s.sock"] }],
    [
      "a unix socket that a killed server left behind",
      { args: ["--listen", "unix://DIR/s.sock"], prepare: (dir) => staleSocket(join(dir, "s.sock")) },
    ],
    ["UDP", { args: ["--listen", "udp://127.0.0.1:0"] }],
    [
      "a token",
      {
        files: { ...GREET, ...config({ control: { commands: "token", tokenFile: "token" } }) },
        prepare: file("token", TOKEN, 0o600),
      },
    ],
    ["a log file", { args: [...FREE, "--log-file", "DIR/x.log"] }],
    ["a pid file", { args: [...FREE, "--pid-file", "DIR/x.pid"] }],
    [
      "a pid file that a killed server left behind",
      { args: [...FREE, "--pid-file", "DIR/x.pid"], prepare: file("x.pid", "99999999\n", 0o644) },
    ],
    ["a state folder elsewhere", { args: [...FREE, "--state", "DIR/deep/state"] }],
    ["a control socket elsewhere", { args: [...FREE, "--control", "DIR/c.sock"] }],
    ["two processes", { args: [...FREE, "--processes", "2"] }],
    ["more connections than descriptors", { args: [...FREE, "--set", "limits.maxConnections=100000000"] }],
    ["settings of a module that is not there", { files: { ...GREET, ...config({ modules: { late: { a: 1 } } }) } }],
    [
      "http.use",
      {
        files: {
          ...GREET,
          "modules/guard.ts": "export const middleware = (request, context, next) => next();",
          ...config({ http: { use: ["guard"] } }),
        },
      },
    ],
  ];

  test.each(inOrder)("%s", async (_, given) => {
    await inProject(given, async (dir, args) => {
      const result = await validate(dir, args, callProgram);
      expect(mistakesOf(result)).toEqual([]);
      expect(result).toMatchObject({ exitCode: 0, ok: true, errors: 0 });
    });
  });

  // One start for all of them costs less than a start for each.
  const everything: Case = {
    files: {
      ...GREET,
      ...pairFiles(expired()),
      "modules/guard.ts": "export const middleware = (request, context, next) => next();",
      ...config({
        control: { commands: "token", tokenFile: "token" },
        modules: { late: { a: 1 } },
        http: { use: ["guard"] },
      }),
    },
    args: [
      ...["tcp://127.0.0.1:0", "tls://127.0.0.1:0", "udp://127.0.0.1:0", "unix://DIR/s.sock"].flatMap((url) => [
        "--listen",
        url,
      ]),
      ...TLS_FLAGS,
      ..."--log-file DIR/x.log --pid-file DIR/x.pid --state DIR/deep/state --control DIR/c.sock".split(" "),
      ..."--processes 2 --set limits.maxConnections=100000000".split(" "),
    ],
    prepare: (dir) => {
      file("token", TOKEN, 0o600)(dir);
      file("x.pid", "99999999\n", 0o644)(dir);
      return staleSocket(join(dir, "s.sock"));
    },
  };
  test.each<[string, Case]>([
    ["all of these together", everything],
    ["no project at all", { files: {} }],
  ])("%s, by the program", async (_, given) => {
    await inProject(given, async (dir, args) => {
      const result = await validate(dir, args);
      expect(mistakesOf(result)).toEqual([]);
      expect(result).toMatchObject({ exitCode: 0, ok: true, errors: 0 });
      const server = await startProgram([...args], { cwd: dir });
      expect(server.output()).not.toContain("was not loaded");
      expect(await server.stop()).toBe(0);
    });
  });
});

// The mistakes that end a start are in authors/mistakes-operating.test.ts: each is a mistake for validate too.
describe("what is a mistake for validate is none less for start", () => {
  test("a module that cannot be loaded is a mistake, though start serves the others", async () => {
    const broken: Record<string, readonly [source: string, reason: string]> = {
      builds: [`import "./none";`, "none"],
      ends: [`process.exit(0);`, "process.exit"],
      exports: [`export const routes = {};`, "there is no default export"],
      loops: [`for (;;);`, "did not finish loading"],
      throws: [`throw new Error("on purpose");`, "on purpose"],
    };
    const sources = Object.entries(broken).map(([name, [source]]) => [`modules/${name}.ts`, source]);
    const files = { ...GREET, ...Object.fromEntries(sources), ...config({ timeouts: { loadMs: 1000 } }) };
    await inProject({ files }, async (dir, args) => {
      const { findings } = await validate(dir, args);
      const server = await startProgram([...args], { cwd: dir });
      const mistakes = findings.filter(({ state }) => state === "error");
      expect(mistakes.map(({ check }) => check).sort()).toEqual(Object.keys(broken).map((name) => `module ${name}`));
      for (const [name, [, reason]] of Object.entries(broken)) {
        expect(mistakes.find(({ check }) => check === `module ${name}`)?.text).toContain(reason);
        await server.waitFor(`"${name}"`);
        await server.waitFor(reason);
      }
      await server.stop();
    });
  });
});

test("every mistake is told at once, each with what to do", async () => {
  const files = { ...GREET, "modules/other.ts": GREET["modules/greet.ts"], "modules/broken.ts": "throw 1;" };
  const args = [
    "--listen",
    "tcp://203.0.113.7:0",
    "--listen",
    "unix:///none/s",
    "--pid-file",
    "none/p",
    "--log-file",
    "none/l",
    "--static",
    "none",
    ...TLS_FLAGS,
  ];
  await inProject({ files, args }, async (dir, given) => {
    const { exitCode, stdout } = await runProgram(["validate", ...given], { cwd: dir });
    const lines = stdout.trimEnd().split("\n");
    expect(lines.filter((line) => line.startsWith("error ")).map((line) => line.split(/ {2,}/)[1])).toEqual([
      "static folder",
      "certificates",
      "log file",
      "pid file",
      "listener tcp://203.0.113.7:0",
      "listener unix:///none/s",
      "module broken",
      "module other",
    ]);
    for (const [at, line] of lines.entries()) if (line.startsWith("error ")) expect(lines[at + 1]).toMatch(/^ {9}\S/);
    expect(lines.at(-1)).toBe("8 errors, 0 warnings");
    expect(exitCode).toBe(1);
    expect(existsSync(join(dir, ".hrmr"))).toBe(false);
  });
});

test("no setup and no check of a module runs, nor what it would make", async () => {
  const module = moduleSource(`{
    setup(context) { require("node:fs").writeFileSync(context.dataDir + "/x", ""); throw new Error("setup ran"); },
    check() { throw new Error("check ran"); },
    dispose() { throw new Error("dispose ran"); },
    routes: { "A": () => "" },
  }`);
  await inProject({ files: { "modules/a.ts": module } }, async (dir, args) => {
    const { findings, exitCode } = await validate(dir, args, callProgram);
    expect(exitCode).toBe(0);
    expect(findings.at(-1)).toMatchObject({
      check: "modules",
      text: "built and loaded, each by itself; their setup and check were not run",
    });
  });
});

test("nothing is left in the temporary folder, also when it is told to end in the middle", async () => {
  const temporary = join(folder, "tmp");
  mkdirSync(temporary);
  const env = { TMPDIR: temporary };
  await inProject({ files: { ...GREET, "modules/slow.ts": "await new Promise(() => {});" } }, async (dir, args) => {
    await validate(dir, [...args, "--set", "timeouts.loadMs=200"], runProgram, env);
    expect(readdirSync(temporary)).toEqual([]);
    const child = Bun.spawn([...program(), "validate", ...args], {
      cwd: dir,
      env: { ...process.env, ...env },
      stdout: "ignore",
      stderr: "ignore",
    });
    await until("it has a folder of its own", () => readdirSync(temporary).length === 1);
    child.kill("SIGTERM");
    expect(await child.exited).toBe(143);
    expect(readdirSync(temporary)).toEqual([]);
  });
});

test("what the running server of this folder holds is no mistake, and another's is", async () => {
  await inProject({}, async (dir) => {
    const args = ["--port", "0", "--pid-file", "x.pid", "--listen", "unix://DIR/s.sock"].slice(0, 4);
    const server = await startProgram(args, { cwd: dir });
    try {
      // The last that it writes by itself. `validate` compares the folder before and after.
      await until("the builds are kept", () =>
        ["greet", "http"].every((name) => existsSync(join(dir, ".hrmr/bundles", name, "inputs.json"))),
      );
      const same = await validate(dir, ["--port", String(server.port), "--pid-file", "x.pid"]);
      expect(mistakesOf(same)).toEqual([]);
      expect(same.findings).toContainEqual(
        expect.objectContaining({
          check: "state folder",
          text: `a server (pid ${server.pid}) runs with it: reload that one; a second one cannot be started`,
        }),
      );
      expect(same.findings.find(({ check }) => check.startsWith("listener"))?.text).toBe(
        `in use by the server of this state folder, pid ${server.pid}`,
      );
      const other = await validate(dir, ["--port", String(server.port), "--pid-file", "x.pid", "--state", "other"]);
      expect(mistakesOf(other)).toEqual([
        `pid file: Cannot start: a server (pid ${server.pid}) holds the pid file ${join(dir, "x.pid")} already.`,
        `listener tcp://127.0.0.1:${server.port}: Cannot listen on tcp://127.0.0.1:${server.port}: the port is in use (EADDRINUSE).`,
      ]);
      const busy = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
      expect(mistakesOf(await validate(dir, ["--port", String(busy.port)]))).toEqual([
        expect.stringContaining("the port is in use"),
      ]);
      busy.stop(true);
    } finally {
      await server.stop();
    }
  });
});

test("a raw route that takes HTTP requests is told of", async () => {
  const take = moduleSource(
    `{ routes: { "GET ": { takesHttp: true, handle: () => "mine\\n" }, "PUT ": () => "plain\\n" } }`,
  );
  await inProject({ files: { "modules/take.ts": take } }, async (dir, args) => {
    const { ok, findings } = await validate(dir, args, callProgram);
    expect(ok).toBe(true);
    expect(findings.filter(({ state }) => state === "warning")).toContainEqual(
      expect.objectContaining({ check: "module take", text: '"GET " takes HTTP requests' }),
    );
  });
});

test("what starts where is told, and needs that are not met are mistakes", async () => {
  const files = {
    "modules/once.ts": moduleSource(`{ start() {}, needs: ["each"] }`),
    "modules/each.ts": moduleSource(`{ start() {}, background: "process", routes: { "A": () => "" } }`),
    "modules/app.ts": moduleSource(`{ routes: { "APP": () => "" }, needs: ["onec"] }`),
    "modules/ping.ts": moduleSource(`{ routes: { "PING": () => "" }, needs: ["pong"] }`),
    "modules/pong.ts": moduleSource(`{ routes: { "PONG": () => "" }, needs: ["ping"] }`),
  };
  await inProject({ files }, async (dir, args) => {
    const { findings } = await validate(dir, args, callProgram);
    const told = findings.filter(({ check }) => /^module \w{3,4}$/.test(check) && check !== "module http");
    expect(told.map(({ check, text }) => `${check}: ${text}`)).toEqual([
      'module app: it needs the module "onec", which does not serve: did you mean "once"?',
      "module each: 1 route, starts in each process, modules/each.ts",
      "module once: 0 routes, starts in one process, modules/once.ts",
      "module ping: it needs itself in a circle: ping -> pong -> ping",
      "module pong: it needs itself in a circle: pong -> ping -> pong",
    ]);
  });
});

test("warnings do not make it invalid", async () => {
  const files = { ...GREET, ...config({ modules: { late: { a: 1 } } }), ...pairFiles(expired()) };
  const args = [
    "--listen",
    "tcp://0.0.0.0:0",
    "--commands",
    "anyone",
    "--set",
    "limits.maxConnections=100000000",
    ...TLS_FLAGS,
  ];
  await inProject({ files, args }, async (dir, given) => {
    const { exitCode, ok, errors, warnings, findings } = await validate(dir, given, callProgram);
    expect(findings.filter(({ state }) => state === "warning").map(({ check }) => check)).toEqual([
      "certificates",
      "commands",
      "descriptors",
      "module late",
    ]);
    expect({ exitCode, ok, errors, warnings }).toEqual({ exitCode: 0, ok: true, errors: 0, warnings: 4 });
  });
});

test.each([
  [["--prot", "0"], "hrmr validate has no flag --prot."],
  [["--port", "x"], "--port takes a whole number"],
  [["--daemonize"], "hrmr validate has no flag --daemonize."],
  [["here"], 'hrmr validate takes no arguments, and "here" is one too many.'],
])("wrong usage, %j, exits with 2", async (args, message) => {
  const { exitCode, stdout, stderr } = await callProgram(["validate", ...args]);
  expect(stderr).toStartWith(message);
  expect([exitCode, stdout]).toEqual([2, ""]);
});

test("a variable that cannot be read is wrong usage, as for start", async () => {
  const { exitCode, stderr } = await runProgram(["validate"], { env: { HRMR_PORT: "many" } });
  expect(stderr).toStartWith("HRMR_PORT");
  expect(exitCode).toBe(2);
});

function expired() {
  return issueCertificate({ commonName: "localhost", names: ["localhost"], days: -1 });
}

/** Its file is there, and nobody listens. */
function staleSocket(path: string): () => void {
  const made = Bun.spawnSync([
    process.execPath,
    "-e",
    `Bun.listen({ unix: ${JSON.stringify(path)}, socket: { data() {} } }); process.kill(process.pid, "SIGKILL");`,
  ]);
  expect(made.signalCode).toBe("SIGKILL");
  expect(existsSync(path)).toBe(true);
  return () => undefined;
}

test("procedures that other machines reach and that nobody has a token for are a mistake, as at a start", async () => {
  const dir = makeProject({
    "modules/kv.ts": moduleSource(`{ services: { get: { public: true, call: () => 1 }, own: () => 2 } }`),
  });
  try {
    const open = ["--listen", "tcp://0.0.0.0:0"];
    const { errors, findings } = await validate(dir, open, callProgram);
    expect(findings.find(({ check }) => check === "module kv")?.text).toContain("0 routes, 2 services, ");
    const [mistake] = findings.filter(({ state }) => state === "error");
    expect([errors, mistake?.check, mistake?.code]).toEqual([1, "access", "TOKENS_NEEDED"]);
    const started = await runProgram(["start", ...open], { cwd: dir });
    expect(started.stderr).toContain("there is no token that their clients could show (procedures)");
    expect((await validate(dir, FREE, callProgram)).errors).toBe(0);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
