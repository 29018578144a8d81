/**
 * The table of an operator's mistakes: one clear message, the right exit code, and nothing half done: no process, no
 * open port, no file that was not there before.
 */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import type { Finding } from "../../../src/supervise/preflight/findings";
import { callProgram } from "../../support/call-program";
import { freePort } from "../../support/free-port";
import { makeProject, moduleSource } from "../../support/hub";
import { program, runProgram, startProgram } from "../../support/program";
import { pairFiles, serverCertificate, TLS_FLAGS } from "../../support/tls";
import { eventually } from "../../support/until";

const GREET = { "modules/greet.ts": moduleSource(`{ routes: { "GREET": () => "hello\\n" } }`) };
const TOKEN = "0123456789abcdef0123456789abcdef";
const certificate = serverCertificate();
const stranger = serverCertificate("b.example");

/** `start`, on a free port that PORT stands for, unless the row says other. DIR stands for the project's folder. */
interface Row {
  readonly files?: Record<string, string>;
  readonly args?: readonly string[];
  readonly env?: Record<string, string>;
  /** Makes the obstacle. @returns a function that removes it */
  readonly prepare?: (dir: string) => () => unknown;
  /** Default 1. */
  readonly exitCode?: number;
  /** All of stderr, or its beginning as a pattern. */
  readonly says: string | RegExp;
  /** Files that it may leave. */
  readonly leaves?: readonly string[];
  /** The first line of the mistake that `validate` tells, if it is not that of stderr. null: it has no such flag. */
  readonly validate?: RegExp | null;
}

const START = ["start", "--port", "PORT"];
const start = (...args: string[]): string[] => [...START, ...args];
const SEE_START = "`hrmr help start` shows how it is used.\n";
const SEE_KEYS = "`hrmr config` lists the keys; modules.NAME.KEY is a setting of a module.\n";
const NO_SERVER =
  "No hrmr server runs here: there is no control socket at DIR/.hrmr/control.sock.\n`hrmr start` starts one. Name another server's socket with --control PATH, or go to its folder.\n";

const config = (value: object): Record<string, string> => ({ "hrmr.json": JSON.stringify(value) });
const withFile = (name: string, text: string, mode: number) => (dir: string) => {
  writeFileSync(join(dir, name), text, { mode });
  chmodSync(join(dir, name), mode);
  return () => undefined;
};
const busySocket = (name: string) => (dir: string) => {
  const listener = Bun.listen({ unix: join(dir, name), socket: { data() {} } });
  return () => listener.stop(true);
};

const USAGE: [string, Row][] = [
  [
    "a command that there is not",
    { args: ["strat"], exitCode: 2, says: 'hrmr has no command "strat".\nDid you mean hrmr start?\n' },
  ],
  [
    "a flag that there is not",
    { args: ["start", "--prot", "0"], exitCode: 2, says: "hrmr start has no flag --prot.\nDid you mean --port?\n" },
  ],
  ["a flag without its value", { args: ["start", "--port"], exitCode: 2, says: `--port needs a value.\n${SEE_START}` }],
  [
    "a port that is none",
    {
      args: ["start", "--port", "70000"],
      exitCode: 2,
      says: `--port takes a whole number from 0 to 65535, not "70000".\n${SEE_START}`,
    },
  ],
  [
    "an argument too many",
    {
      args: ["start", "here"],
      exitCode: 2,
      says: `hrmr start takes no arguments, and "here" is one too many.\n${SEE_START}`,
    },
  ],
  [
    "-1 processes",
    {
      args: start("--processes", "-1"),
      exitCode: 2,
      says: `--processes takes a whole number from 0 to 256, not "-1".\n${SEE_START}`,
    },
  ],
  [
    "-1 processes by -w",
    { args: start("-w", "-1"), exitCode: 2, says: `-w takes a whole number from 0 to 256, not "-1".\n${SEE_START}` },
  ],
  [
    "-1 processes by --set",
    {
      args: start("--set", "processes=-1"),
      exitCode: 2,
      says: `--set processes must be a whole number from 0 to 256, not -1.\n${SEE_KEYS}`,
    },
  ],
  [
    "-1 processes by the environment",
    {
      env: { HRMR_PROCESSES: "-1" },
      exitCode: 2,
      says: "HRMR_PROCESSES in the environment must be a whole number from 0 to 256, not -1.\nCorrect the variable, or unset it.\n",
    },
  ],
  [
    "0 threads",
    {
      args: start("--threads", "0"),
      exitCode: 2,
      says: `--threads takes a whole number from 1 to 256, not "0".\n${SEE_START}`,
    },
  ],
  [
    "a key that there is not by --set",
    {
      args: start("--set", "limits.maxBodyByte=1"),
      exitCode: 2,
      says: `--set limits.maxBodyByte: there is no such key. Did you mean limits.maxBodyBytes?\n${SEE_KEYS}`,
    },
  ],
  [
    "a log level that there is not",
    {
      args: start("-l", "loud"),
      exitCode: 2,
      says: /^-l takes critical, error, warn, info, debug, trace, not "loud"\.\n/,
    },
  ],
  [
    "an address that is none",
    {
      args: ["start", "--listen", "localhost:80"],
      exitCode: 2,
      says: '--listen cannot take "localhost:80".\nWrite tcp://host:port, tls://host:port, udp://host:port or unix:///path.\n',
    },
  ],
  [
    "--port beside --listen",
    {
      args: start("--listen", "tcp://127.0.0.1:0"),
      exitCode: 2,
      says: /^--port and --listen say different things\.\n/,
    },
  ],
  [
    "a key without a certificate",
    {
      args: start("--tls-key", "key.pem"),
      exitCode: 2,
      says: "--tls-key needs --tls-cert beside it.\n`hrmr cert` writes both files for development.\n",
    },
  ],
  [
    "a port in the environment that is none",
    {
      args: ["start"],
      env: { HRMR_PORT: "many" },
      exitCode: 2,
      says: 'HRMR_PORT in the environment must be a whole number from 0 to 65535, not "many".\nCorrect the variable, or unset it.\n',
    },
  ],
];

const FILES: [string, Row][] = [
  [
    "-1 processes in the config file",
    {
      files: { ...GREET, ...config({ processes: -1 }) },
      says: /^DIR\/hrmr\.json has a mistake:\n.*hrmr\.json:1:\d+.*processes must be a whole number from 0 to 256, not -1/,
    },
  ],
  [
    "a key that there is not in the config file",
    {
      files: { ...GREET, "hrmr.json": '{\n  "limit": {}\n}' },
      says: /^DIR\/hrmr\.json has a mistake:\n.*hrmr\.json:2:\d+.*limit.*Did you mean limits\?/,
    },
  ],
  [
    "a config file that is not JSON",
    { files: { ...GREET, "hrmr.json": '{ "threads": }' }, says: /^(Cannot read )?.*DIR\/hrmr\.json/ },
  ],
  [
    "a config file that is not there",
    { args: start("--config", "none.json"), says: /^Cannot read the config file DIR\/none\.json \(ENOENT\)\.\n/ },
  ],
  ["a config file that is a folder", { args: start("--config", "modules"), says: /^.*DIR\/modules/ }],
  [
    "a modules folder that is not there",
    {
      args: start("--modules", "none"),
      says: "The modules folder DIR/none does not exist.\nName an existing one with --modules DIR, or make a project with `hrmr init DIR`.\n",
    },
  ],
  [
    "a modules folder that is empty",
    {
      files: { "mods/notes.txt": "" },
      args: start("--modules", "mods"),
      says: "The modules folder DIR/mods is empty: it holds no module.\nAdd a module with `hrmr new NAME`, or make a project with `hrmr init DIR`.\n",
    },
  ],
  [
    "a static folder that is not there",
    {
      args: start("--static", "none"),
      says: "The static folder DIR/none does not exist.\nName an existing one with --static DIR.\n",
    },
  ],
  [
    "a state folder that is a file",
    {
      files: { ...GREET, state: "" },
      args: start("--state", "state"),
      says: "The state folder DIR/state cannot be written.\nGive this user the right to write to it, or name another with --state DIR.\n",
    },
  ],
  [
    "a static folder that is a file",
    {
      files: { ...GREET, page: "" },
      args: start("--static", "page"),
      says: /^.*DIR\/page is not a folder/,
    },
  ],
  [
    "a state folder below a file",
    {
      files: { ...GREET, state: "" },
      args: start("--state", "state/below"),
      says: /^The state folder DIR\/state\/below cannot be written\.\n/,
    },
  ],
  [
    "a certificate that is not there",
    {
      args: start(...TLS_FLAGS),
      says: "The TLS certificate DIR/cert.pem cannot be read (ENOENT).\nCheck the path; `hrmr cert` writes a certificate for development.\n",
    },
  ],
  [
    "a certificate that is none",
    {
      files: { ...GREET, "cert.pem": "x", "key.pem": "x" },
      args: start(...TLS_FLAGS),
      says: /^The TLS file DIR\/cert\.pem holds no certificate\.\n/,
    },
  ],
  [
    "a key of another certificate",
    {
      files: { ...GREET, ...pairFiles(certificate), "key.pem": stranger.keyPem },
      args: start(...TLS_FLAGS),
      says: /^The private key DIR\/key\.pem does not belong to the certificate DIR\/cert\.pem\.\n/,
    },
  ],
  [
    "tls:// without a certificate",
    {
      args: ["start", "--listen", "tls://127.0.0.1:PORT"],
      says: "Cannot listen on tls://127.0.0.1:PORT: there is no certificate.\nPass --tls-cert FILE --tls-key FILE; `hrmr cert` writes both for development.\n",
    },
  ],
  [
    "a log file in a folder that is not there",
    {
      args: start("--log-file", "none/x.log"),
      says: "Cannot open the log file DIR/none/x.log: its folder does not exist (ENOENT).\nSet log.file to a path that this user may write to, or leave it out: the log then goes to stderr.\n",
    },
  ],
  [
    "a log file that is a folder",
    {
      args: start("--log-file", "modules"),
      says: /^Cannot open the log file DIR\/modules: that is a folder \(EISDIR\)\.\n/,
    },
  ],
  [
    "a pid file in a folder that is not there",
    {
      args: start("--pid-file", "none/x.pid"),
      says: "Cannot lock DIR/none/x.pid: its folder does not exist.\nMake the folder, or name another file.\n",
    },
  ],
  [
    "a pid file that is a folder",
    {
      args: start("--pid-file", "modules"),
      says: "Cannot lock DIR/modules: it is a folder.\nRemove it, or name another file.\n",
    },
  ],
  [
    "a pid file that is a link",
    {
      args: start("--pid-file", "link"),
      prepare: (dir) => (symlinkSync("greet", join(dir, "link")), () => undefined),
      says: "Cannot lock DIR/link: it is a symbolic link.\nRemove it, or name the file that it points to.\n",
    },
  ],
  [
    "a control socket in a folder that is not there",
    {
      args: start("--control", "none/c.sock"),
      says: "Cannot open the control socket DIR/none/c.sock: there is no folder DIR/none.\nMake the folder, or name another socket as control.socket.\n",
    },
  ],
  [
    "a control socket where a file is",
    {
      args: start("--control", "modules/greet.ts"),
      says: "Cannot open the control socket DIR/modules/greet.ts: a file that is not a socket is there.\nRemove it, or name another path as control.socket.\n",
    },
  ],
  [
    "a control socket whose path is too long",
    {
      args: start("--control", `DIR/${"c".repeat(120)}`),
      says: /^The control socket's path DIR\/c+ is too long: a socket's path has at most 103 bytes\.\n/,
    },
  ],
  ["the policy token without a file", { args: start("--commands", "token"), says: /tokenFile/ }],
  [
    "a token file that is not there",
    {
      files: { ...GREET, ...config({ control: { commands: "token", tokenFile: "token" } }) },
      says: "The token file DIR/token cannot be read (ENOENT).\nCheck the path. Make one: (umask 077 && openssl rand -hex 24 > FILE).\n",
    },
  ],
  [
    "a token file that others may read",
    {
      files: { ...GREET, ...config({ control: { commands: "token", tokenFile: "token" } }) },
      prepare: withFile("token", TOKEN, 0o644),
      says: "The token file DIR/token may be read or written by others than its owner (mode 644).\nDo: chmod 600 DIR/token\n",
    },
  ],
  [
    "a token that is too short",
    {
      files: { ...GREET, ...config({ control: { commands: "token", tokenFile: "token" } }) },
      prepare: withFile("token", "short", 0o600),
      says: "The token file DIR/token holds 5 characters, and a token has at least 16.\nMake one: (umask 077 && openssl rand -hex 24 > FILE).\n",
    },
  ],
];

const PLACES: [string, Row][] = [
  [
    "a busy port",
    {
      args: ["start", "--port", "BUSY"],
      says: "Cannot listen on tcp://127.0.0.1:BUSY: the port is in use (EADDRINUSE).\nStop the other program, or pass --port 0 to take any free port.\n",
    },
  ],
  [
    "a busy port behind a free one",
    {
      args: ["start", "--listen", "tcp://127.0.0.1:PORT", "--listen", "tcp://127.0.0.1:BUSY"],
      says: /^Cannot listen on tcp:\/\/127\.0\.0\.1:BUSY: the port is in use/,
    },
  ],
  [
    "a busy port behind a unix socket",
    {
      args: ["start", "--listen", "unix://DIR/s.sock", "--listen", "tcp://127.0.0.1:BUSY"],
      says: /^Cannot listen on tcp:\/\/127\.0\.0\.1:BUSY: the port is in use/,
    },
  ],
  [
    "a busy port with two processes",
    {
      args: ["start", "--port", "BUSY", "--processes", "2"],
      says: /^Cannot listen on tcp:\/\/127\.0\.0\.1:BUSY: the port is in use/,
    },
  ],
  [
    "a busy port with a pid file",
    {
      args: ["start", "--port", "BUSY", "--pid-file", "x.pid"],
      says: /^Cannot listen on tcp:\/\/127\.0\.0\.1:BUSY: the port is in use/,
    },
  ],
  [
    "a busy port in the background",
    {
      args: ["start", "-d", "--port", "BUSY", "--pid-file", "x.pid"],
      says: "Cannot listen on tcp://127.0.0.1:BUSY: the port is in use (EADDRINUSE).\nStop the other program, or pass --port 0 to take any free port.\n",
      leaves: [".hrmr", ".hrmr/hrmr.log"],
      validate: null,
    },
  ],
  [
    "one port twice",
    {
      args: ["start", "--listen", "tcp://127.0.0.1:PORT", "--listen", "tcp://127.0.0.1:PORT"],
      says: /^Cannot listen on tcp:\/\/127\.0\.0\.1:PORT: the port is in use/,
    },
  ],
  [
    "a busy UDP port",
    {
      args: ["start", "--listen", "udp://127.0.0.1:BUSYUDP"],
      says: /^Cannot listen on udp:\/\/127\.0\.0\.1:BUSYUDP: the port is in use \(EADDRINUSE\)\.\n/,
    },
  ],
  [
    "an address of another machine",
    {
      args: ["start", "--host", "203.0.113.7", "--port", "PORT"],
      says: "Cannot listen on tcp://203.0.113.7:PORT: this machine has no such address (EADDRNOTAVAIL).\nUse 127.0.0.1, ::1, 0.0.0.0 or one of the machine's own addresses.\n",
    },
  ],
  [
    "a name that nobody has",
    {
      args: ["start", "--host", "nobody.invalid", "--port", "PORT"],
      says: /^Cannot listen on tcp:\/\/nobody\.invalid:PORT: /,
    },
  ],
  [
    "a unix socket in a folder that is not there",
    {
      args: ["start", "--listen", "unix://DIR/none/s.sock"],
      says: "Cannot listen on unix://DIR/none/s.sock: there is no such folder (ENOENT).\nMake the folder first, or choose another path.\n",
    },
  ],
  [
    "a unix socket that answers",
    {
      args: ["start", "--listen", "unix://DIR/s.sock"],
      prepare: busySocket("s.sock"),
      says: "Cannot listen on unix://DIR/s.sock: the socket is in use (EADDRINUSE).\nStop the other program, or choose another path.\n",
    },
  ],
  [
    "a unix socket where a file is",
    {
      args: ["start", "--listen", "unix://DIR/modules/greet.ts"],
      says: /^Cannot listen on unix:\/\/DIR\/modules\/greet\.ts: there is a file that is no socket of that name\./,
    },
  ],
];

const MODULES: [string, Row][] = [
  [
    "http.use of a module whose key another one has",
    {
      files: {
        ...GREET,
        "modules/other.ts": moduleSource(
          `{ routes: { "GREET": () => "" }, middleware: (request, _, next) => next(request) }`,
        ),
        ...config({ http: { use: ["other"] } }),
      },
      says: /^Module "other" cannot be used: modules\/other\.ts claims the prefix "GREET"/,
      validate: /^modules\/other\.ts claims the prefix "GREET"/,
    },
  ],
  [
    "http.use of what is not there",
    {
      files: { ...GREET, ...config({ http: { use: ["guard"] } }) },
      says: /^Module "guard" cannot be used: there is no such module, and http\.use names it\n/,
      validate: /^there is no such module, and http\.use names it/,
    },
  ],
  [
    "http.use of a module without middleware",
    {
      files: { ...GREET, ...config({ http: { use: ["greet"] } }) },
      says: /^Module "greet" cannot be used: .*it has no middleware/,
      validate: /it has no middleware/,
    },
  ],
];

const TALKING: [string, Row][] = [
  ...["stop", "status", "reload", "restart", "upgrade", "modules"].map((command): [string, Row] => [
    `${command} without a server`,
    { args: [command], says: NO_SERVER },
  ]),
  [
    "stop at a socket that is not there",
    {
      args: ["stop", "--control", "none.sock"],
      says: /^No hrmr server runs here: there is no control socket at DIR\/none\.sock\.\n/,
    },
  ],
  [
    "stop at what is no socket",
    {
      args: ["stop", "--control", "modules/greet.ts"],
      says: "The socket DIR/modules/greet.ts is not the control socket of hrmr.\nCheck the path; `hrmr status` in the server's folder finds it by itself.\n",
    },
  ],
  [
    "send to where nobody listens",
    {
      args: ["send", "127.0.0.1:PORT", "PING"],
      says: "Cannot connect to tcp://127.0.0.1:PORT (ECONNREFUSED).\nIs the server running, and is the address right? `hrmr` starts one here.\n",
    },
  ],
  [
    "send with a token file that is not there",
    {
      args: ["send", "127.0.0.1:PORT", "PING", "--token-file", "none"],
      says: /^The token file DIR\/none cannot be read \(ENOENT\)\.\n/,
    },
  ],
  [
    "config with a mistake in the file",
    {
      files: { ...GREET, "hrmr.json": '{ "threads": "many" }' },
      args: ["config"],
      says: /^DIR\/hrmr\.json has a mistake:\n.*hrmr\.json:1:\d+.*threads must be/,
    },
  ],
];

function listing(dir: string): string[] {
  const names = readdirSync(dir, { recursive: true, encoding: "utf8" });
  return names.filter((name) => !name.startsWith("node_modules")).sort();
}

/** Runs the row in a project of its own, with `run` in place of `runProgram`. */
async function check(row: Row, run: typeof runProgram = runProgram): Promise<void> {
  const dir = makeProject(row.files ?? GREET);
  const busy = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const udp = await Bun.udpSocket({ hostname: "127.0.0.1" });
  const free = freePort();
  const words: [string, string][] = [
    ["BUSYUDP", String(udp.port)],
    ["BUSY", String(busy.port)],
    ["PORT", String(free)],
    ["DIR", dir],
  ];
  const undo = row.prepare?.(dir);
  try {
    const before = listing(dir);
    // A flag is --port too.
    const args = (row.args ?? START).map((arg) =>
      arg.startsWith("--") ? arg : words.reduce((text, [word, value]) => text.replaceAll(word, value), arg),
    );
    const { exitCode, stdout, stderr } = await run(args, {
      cwd: dir,
      ...(row.env === undefined ? {} : { env: row.env }),
    });
    const told = [...words].reverse().reduce((text, [word, value]) => text.replaceAll(value, word), stderr);
    if (typeof row.says === "string") expect(told).toBe(row.says);
    else expect(told).toMatch(row.says);
    expect(told).not.toContain("    at ");
    expect([exitCode, stdout]).toEqual([row.exitCode ?? 1, ""]);
    const { leaves = [] } = row;
    const mayStay = (name: string): boolean =>
      leaves.includes(name) || leaves.some((each) => each.endsWith("/") && name.startsWith(each));
    expect(listing(dir).filter((name) => !before.includes(name) && !mayStay(name))).toEqual([]);
    expect(await isOpen(free)).toBe(false);
    if (run === runProgram && args[0] === "start") await checkValidate(row, args.slice(1), dir, stderr);
  } finally {
    await undo?.();
    busy.stop(true);
    udp.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** `validate` finds the mistake that `start` told on `stderr`, and no other. */
async function checkValidate(row: Row, args: readonly string[], dir: string, stderr: string): Promise<void> {
  if (row.validate === null) return;
  const env = row.env === undefined ? {} : { env: row.env };
  const { exitCode, stdout } = await callProgram(["validate", "--json", ...args], { cwd: dir, ...env });
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  const mistakes = findings.filter(({ state }) => state === "error").map(({ text }) => text.split("\n")[0]);
  expect(mistakes).toEqual([row.validate === undefined ? stderr.split("\n")[0] : expect.stringMatching(row.validate)]);
  expect(exitCode).toBe(1);
}

async function isOpen(port: number): Promise<boolean> {
  try {
    (await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } })).terminate();
    return true;
  } catch {
    return false;
  }
}

describe("wrong usage is told with exit code 2:", () => {
  // A command that begins no server is called here; the first of them by the program, too, as proof of its way out.
  test.each(USAGE)("%s", (_, row) => check(row, callProgram));
  test.each(USAGE.slice(0, 1))("%s, by the program", (_, row) => check(row));
});

describe("a start is refused with exit code 1, and leaves nothing; validate says the same:", () => {
  test.each([...FILES, ...PLACES, ...MODULES])("%s", (_, row) => check(row));
});

describe("who talks to a server that is not there is told so:", () => {
  test.each(TALKING)("%s", (_, row) => check(row, callProgram));
  test.each(TALKING.slice(0, 1))("%s, by the program", (_, row) => check(row));
});

describe("a second server", () => {
  test("on one state folder is refused, and the first goes on", () =>
    withServer(["--port", "0"], async (dir, server) => {
      const { exitCode, stdout, stderr } = await runProgram(["start", "--port", "0"], { cwd: dir });
      expect(stderr).toBe(
        `Cannot start: a server (pid ${server.pid}) runs with the state folder ${dir}/.hrmr already.\nStop it with \`hrmr stop\`, or keep this one's state elsewhere with --state DIR.\n`,
      );
      expect([exitCode, stdout]).toEqual([1, ""]);
      await eventually(async () => expect((await runProgram(["status"], { cwd: dir })).exitCode).toBe(0));
    }));

  test("on one pid file is refused, and takes neither the file nor a state folder with it", () =>
    withServer(["--port", "0", "--pid-file", "x.pid"], async (dir, server) => {
      const { exitCode, stdout, stderr } = await runProgram(
        ["start", "--port", "0", "--pid-file", "x.pid", "--state", "other"],
        {
          cwd: dir,
        },
      );
      expect(stderr).toBe(
        `Cannot start: a server (pid ${server.pid}) holds the pid file ${dir}/x.pid already.\nStop it first, or name another file with --pid-file.\n`,
      );
      expect([exitCode, stdout]).toEqual([1, ""]);
      expect(readFileSync(join(dir, "x.pid"), "utf8")).toBe(`${server.pid}\n`);
      expect(listing(dir)).not.toContain("other");
    }));

  test("on one port is refused, and the first goes on", () =>
    withServer(["--port", "0"], async (dir, server) => {
      const { exitCode, stderr } = await runProgram(["start", "--port", String(server.port), "--state", "other"], {
        cwd: dir,
      });
      expect(stderr).toStartWith(`Cannot listen on tcp://127.0.0.1:${server.port}: the port is in use (EADDRINUSE).\n`);
      expect(exitCode).toBe(1);
      expect(listing(dir)).not.toContain("other");
      expect((await runProgram(["send", `127.0.0.1:${server.port}`, "GREET"])).stdout).toBe("hello\n");
    }));
});

test("a server that was killed: stop says that nobody answers, and what it left is no obstacle to the next one", async () => {
  const dir = makeProject(GREET);
  const args = ["--listen", `unix://${dir}/s.sock`, "--pid-file", "x.pid"];
  try {
    const killed = await startProgram(args, { cwd: dir });
    killed.signal("SIGKILL");
    await killed.exited;
    expect(listing(dir)).toEqual(expect.arrayContaining(["s.sock", "x.pid", ".hrmr/lock", ".hrmr/control.sock"]));
    const { exitCode, stdout, stderr } = await runProgram(["stop"], { cwd: dir });
    expect(stderr).toStartWith(
      `No hrmr server runs here: nobody answers at ${dir}/.hrmr/control.sock. A server that was killed has left it behind.\n`,
    );
    expect([exitCode, stdout]).toEqual([1, ""]);
    const next = await startProgram(args, { cwd: dir });
    expect(readFileSync(join(dir, "x.pid"), "utf8")).toBe(`${next.pid}\n`);
    expect((await runProgram(["send", "unix:s.sock", "GREET"], { cwd: dir })).stdout).toBe("hello\n");
    expect(await next.stop()).toBe(0);
    const left = listing(dir);
    for (const name of ["s.sock", "x.pid", ".hrmr/lock", ".hrmr/control.sock"]) expect(left).not.toContain(name);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("too few descriptors lower the connections, and are told", async () => {
  const dir = makeProject(GREET);
  // Raised by Bun to the hard limit, so that this is the one to lower.
  const child = Bun.spawn(["sh", "-c", 'ulimit -n 200 && exec "$@"', "sh", ...program(), "start", "--port", "0"], {
    cwd: dir,
    stdout: "pipe",
    stderr: "pipe",
  });
  try {
    let text = "";
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (text.includes("LimitNOFILE")) break;
    }
    expect(text).toContain(
      "At most 100 connections, not 10000: the limit of open files allows no more (raise it: ulimit -n, or LimitNOFILE of systemd).\n",
    );
  } finally {
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    rmSync(dir, { recursive: true, force: true });
  }
});

// Root may read and write everything, so these run as somebody else: by setpriv, which needs root.
const NOBODY = 65_534;
const asNobody = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "env", "HOME=/tmp"];
const canBeNobody =
  process.getuid?.() === 0 &&
  Bun.which("setpriv") !== null &&
  Bun.spawnSync([...asNobody, ...program(), "version"]).exitCode === 0;
const PORT_START = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
const firstFreePort = existsSync(PORT_START) ? Number(readFileSync(PORT_START, "utf8")) : 1024;

const runAsNobody: typeof runProgram = async (args, { cwd = "/", env = {} } = {}) => {
  const child = Bun.spawn([...asNobody, ...program(), ...args], {
    cwd,
    env: { ...process.env, NO_COLOR: "1", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  await child.exited;
  clearTimeout(timer);
  return { exitCode: child.exitCode, stdout, stderr };
};

/** The project is nobody's, but for `name`, which is root's. */
const ownedByRoot = (name: string, mode: number) => (dir: string) => {
  for (const each of ["", ...listing(dir)]) chownSync(join(dir, each), NOBODY, NOBODY);
  chownSync(join(dir, name), 0, 0);
  chmodSync(join(dir, name), mode);
  return () => undefined;
};
const rootFolder = (name: string, mode: number) => (dir: string) => {
  mkdirSync(join(dir, name));
  return ownedByRoot(name, mode)(dir);
};
const PROTECTED: [string, Row][] = [
  [
    "a config file",
    {
      files: { ...GREET, "hrmr.json": "{}" },
      prepare: ownedByRoot("hrmr.json", 0o600),
      says: /^Cannot read the config file DIR\/hrmr\.json \(EACCES\)\.\n/,
    },
  ],
  [
    "a modules folder",
    {
      args: start("--modules", "modules"),
      prepare: ownedByRoot("modules", 0o700),
      says: "The modules folder DIR/modules cannot be read: permission denied.\nGive this user the right to read it, or name another.\n",
    },
  ],
  [
    "a static folder",
    {
      args: start("--static", "site"),
      prepare: rootFolder("site", 0o700),
      says: "The static folder DIR/site cannot be read: permission denied.\nGive this user the right to read it, or name another.\n",
    },
  ],
  [
    "a state folder",
    {
      args: start("--state", "state"),
      prepare: rootFolder("state", 0o755),
      says: "The state folder DIR/state cannot be written.\nGive this user the right to write to it, or name another with --state DIR.\n",
    },
  ],
  [
    "a private key",
    {
      files: { ...GREET, ...pairFiles(certificate) },
      args: start(...TLS_FLAGS),
      prepare: ownedByRoot("key.pem", 0o600),
      says: "The TLS private key DIR/key.pem cannot be read (EACCES).\nGive this user the right to read it.\n",
    },
  ],
  [
    "a token file",
    {
      files: { ...GREET, token: TOKEN, ...config({ control: { commands: "token", tokenFile: "token" } }) },
      prepare: ownedByRoot("token", 0o600),
      says: "The token file DIR/token cannot be read (EACCES).\nGive this user the right to read it, and nobody else.\n",
    },
  ],
  [
    "a log file",
    {
      files: { ...GREET, "x.log": "" },
      args: start("--log-file", "x.log"),
      prepare: ownedByRoot("x.log", 0o644),
      says: /^Cannot open the log file DIR\/x\.log: this user may not write there \(EACCES\)\.\n/,
    },
  ],
  [
    "a log file's folder",
    {
      args: start("--log-file", "logs/x.log"),
      prepare: rootFolder("logs", 0o755),
      says: /^Cannot open the log file DIR\/logs\/x\.log: this user may not write there \(EACCES\)\.\n/,
    },
  ],
  [
    "a pid file's folder",
    {
      args: start("--pid-file", "run/x.pid"),
      prepare: rootFolder("run", 0o755),
      says: "Cannot lock DIR/run/x.pid: it cannot be opened (EACCES).\nGive this user the right to write it, or name another file.\n",
    },
  ],
  [
    "a unix socket's folder",
    {
      args: ["start", "--listen", "unix://DIR/run/s.sock"],
      prepare: rootFolder("run", 0o755),
      says: "Cannot listen on unix://DIR/run/s.sock: permission denied (EACCES).\nChoose a folder that you may write to.\n",
    },
  ],
  [
    "a control socket's folder",
    {
      args: start("--control", "run/c.sock"),
      prepare: rootFolder("run", 0o755),
      says: "Cannot open the control socket DIR/run/c.sock: EACCES.\nGive this user the right to write to its folder, or name another as control.socket.\n",
    },
  ],
];

describe.skipIf(!canBeNobody)("what this user may not read or write is told by name:", () => {
  test.each(PROTECTED)("%s", (_, row) => check(row, runAsNobody));

  test.skipIf(!(firstFreePort > 80))("a port below 1024", () =>
    check(
      {
        args: ["start", "--port", "80"],
        prepare: ownedByRoot("modules", 0o755),
        says: "Cannot listen on tcp://127.0.0.1:80: permission denied (EACCES).\nPorts below 1024 need privileges: choose a higher one.\n",
      },
      runAsNobody,
    ),
  );

  // A project with several obstacles, since one run finds them all, but for those that hide others.
  interface Obstacles {
    readonly rows: readonly string[];
    readonly args?: readonly string[];
    /** Root's files and folders with their modes. A name that no file has becomes a folder. */
    readonly root: Record<string, number>;
  }
  const obstacles: Obstacles[] = [
    { rows: ["a config file"], root: { "hrmr.json": 0o600 } },
    { rows: ["a state folder"], args: ["--state", "state"], root: { state: 0o755 } },
    {
      rows: ["a modules folder", "a log file"],
      args: ["--modules", "modules", "--log-file", "x.log"],
      root: { modules: 0o700, "x.log": 0o644 },
    },
    {
      rows: PROTECTED.map(([name]) => name).filter((name) => /static|key|token|'s folder/.test(name)),
      args: [
        ..."--static site --log-file logs/x.log --pid-file run/x.pid --control run/c.sock".split(" "),
        "--listen",
        "unix://DIR/run/s.sock",
        ...TLS_FLAGS,
      ],
      root: { site: 0o700, logs: 0o755, run: 0o755, "key.pem": 0o600, token: 0o600 },
    },
  ];
  test("validate says the same", async () => {
    const files = {
      ...GREET,
      ...pairFiles(certificate),
      token: TOKEN,
      "x.log": "",
      ...config({ control: { commands: "token", tokenFile: "token" } }),
    };
    for (const { rows, args = [], root } of obstacles) {
      const dir = makeProject(files);
      try {
        for (const name of Object.keys(root)) if (!existsSync(join(dir, name))) mkdirSync(join(dir, name));
        chmodSync(join(dir, "token"), 0o600);
        for (const each of ["", ...listing(dir)]) chownSync(join(dir, each), NOBODY, NOBODY);
        for (const [name, mode] of Object.entries(root)) {
          chownSync(join(dir, name), 0, 0);
          chmodSync(join(dir, name), mode);
        }
        const given = args.map((arg) => arg.replaceAll("DIR", dir));
        const { exitCode, stdout } = await runAsNobody(["validate", "--json", ...given], { cwd: dir });
        const { findings } = JSON.parse(stdout.replaceAll(dir, "DIR")) as { findings: Finding[] };
        const mistakes = findings.filter(({ state }) => state === "error").map(({ text }) => `${text}\n`);
        for (const name of rows) {
          const says = PROTECTED.find(([each]) => each === name)?.[1].says ?? "";
          const isIt = (text: string) => (typeof says === "string" ? says.startsWith(text) : says.test(text));
          expect([name, mistakes.filter(isIt).length, mistakes]).toEqual([name, 1, mistakes]);
        }
        expect([mistakes.length, exitCode]).toEqual([rows.length, 1]);
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    }
    expect(obstacles.flatMap(({ rows }) => rows).sort()).toEqual(PROTECTED.map(([name]) => name).sort());
  });

  test("the control socket of another user's server", async () => {
    const dir = makeProject(GREET);
    const server = await startProgram(["--port", "0"], { cwd: dir });
    try {
      chmodSync(dir, 0o755);
      const { exitCode, stderr } = await runAsNobody(["stop"], { cwd: dir });
      expect(stderr).toStartWith(`This user may not use the control socket ${resolve(dir, ".hrmr/control.sock")}.\n`);
      expect(exitCode).toBe(1);
      await eventually(async () => expect((await runProgram(["status"], { cwd: dir })).exitCode).toBe(0));
    } finally {
      await server.stop();
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

async function withServer(
  args: string[],
  run: (dir: string, server: Awaited<ReturnType<typeof startProgram>>) => Promise<void>,
): Promise<void> {
  const dir = makeProject(GREET);
  const server = await startProgram(args, { cwd: dir });
  try {
    await run(dir, server);
  } finally {
    await server.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}
