/**
 * The commands that talk to a running server, as a person runs them, against operations that answer what a test wants.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { controlPath } from "../../src/control/paths";
import type { Operations, ReloadReport } from "../../src/reload/operations";
import { openControlSocket } from "../../src/control/server";
import type { ServerStatus } from "../../src/observe/snapshot";
import { lockFile } from "../../src/supervise/takeover/lock";
import { callProgram, type CallOptions } from "../support/call-program";
import { fakeOperations, MODULE, NO_AUDIT, STATUS, withControl } from "../support/control-fixture";
import { type ProgramResult, runProgram } from "../support/program";

let root: string;
beforeAll(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), "hrmr-cmd-")));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

let count = 0;

/** A folder with nothing in it. */
function freshDir(): string {
  const dir = join(root, `d${count++}`);
  mkdirSync(dir);
  return dir;
}

interface Ran extends ProgramResult {
  readonly asked: readonly string[];
}

/** Runs `hrmr ARGS --control …` against a control socket of its own: in this process, or the real program. */
async function run(args: string[], operations: Partial<Operations> = {}, runs = callProgram): Promise<Ran> {
  let ran: Ran | undefined;
  await withControl(operations, async ({ path, asked }) => {
    ran = { ...(await runs([...args, "--control", path])), asked };
  });
  return ran as Ran;
}

/** Serves at `path` while the program runs. */
async function runAgainst(path: string, args: string[], options: CallOptions): Promise<ProgramResult> {
  const server = await openControlSocket({
    path,
    operations: fakeOperations({ reload: async () => ({ ...REPORT, text: `OK at ${path}\n` }) }),
    log: { error: () => {} },
    audit: NO_AUDIT,
  });
  try {
    return await callProgram(args, options);
  } finally {
    await server.close();
  }
}

const REPORT: ReloadReport = { ok: true, text: "OK greet v2 loaded\n", modules: [], elapsedMs: 3, dropped: 0 };
const FAILED: ReloadReport = {
  ...REPORT,
  ok: false,
  text: "ERR 1 module failed\n  greet was not loaded: \u001b[31mboom\u001b[0m\u0007\n",
};

describe("hrmr reload", () => {
  test("waits for the verdict and prints it", async () => {
    expect(await run(["reload"], { reload: async () => REPORT })).toEqual({
      exitCode: 0,
      stdout: "OK greet v2 loaded\n",
      stderr: "",
      asked: ["reload all"],
    });
  });

  test("reloads the modules that are named, also one that looks like a flag", async () => {
    expect((await run(["reload", "greet", "chat"])).asked).toEqual(["reload greet chat"]);
    const { asked } = await runDashed();
    expect(asked).toEqual(["reload -x greet"]);
  });

  async function runDashed(): Promise<{ asked: readonly string[] }> {
    let noted: readonly string[] = [];
    await withControl({}, async ({ path, asked }) => {
      await callProgram(["reload", "--control", path, "--", "-x", "greet"]);
      noted = asked;
    });
    return { asked: noted };
  }

  test("exits with 1 when something failed, and tells it on stderr without what would drive the terminal", async () => {
    expect(await run(["reload"], { reload: async () => FAILED }, runProgram)).toMatchObject({
      exitCode: 1,
      stdout: "",
      stderr: "ERR 1 module failed\n  greet was not loaded: boom?\n",
    });
  });

  test("--json prints the report on stdout, also one of a failure", async () => {
    const good = await run(["reload", "--json"], { reload: async () => REPORT });
    expect([good.exitCode, JSON.parse(good.stdout)]).toEqual([0, REPORT]);
    const bad = await run(["reload", "--json"], { reload: async () => FAILED });
    expect([bad.exitCode, JSON.parse(bad.stdout), bad.stderr]).toEqual([1, FAILED, ""]);
  });
});

describe("hrmr restart and hrmr upgrade", () => {
  test("print what came of it, and exit with 1 when it failed", async () => {
    expect(await run(["restart"])).toMatchObject({
      exitCode: 0,
      stdout: "OK 2 processes replaced\n",
      stderr: "",
      asked: ["restart"],
    });
    expect(await run(["upgrade"])).toMatchObject({
      exitCode: 1,
      stdout: "",
      stderr: "ERR the new process did not start\n",
      asked: ["upgrade"],
    });
    expect(JSON.parse((await run(["upgrade", "--json"])).stdout)).toMatchObject({ ok: false });
  });
});

describe("hrmr stop", () => {
  /**
   * A server in a process of its own that ends `afterMs` after it was told to, and by force without so much as an
   * answer.
   */
  async function withServer(
    afterMs: number,
    test: (path: string, exited: Promise<number>) => Promise<void>,
  ): Promise<void> {
    const path = join(freshDir(), "c.sock");
    const source = `import { openControlSocket } from ${JSON.stringify(join(import.meta.dir, "../../src/control/server.ts"))};
import { fakeOperations, NO_AUDIT } from ${JSON.stringify(join(import.meta.dir, "../support", "control-fixture.ts"))};
const end = async () => { await server.close(); process.exit(0); };
const stop = (_, force) => void (force ? process.exit(0) : setTimeout(end, ${afterMs}));
const server = await openControlSocket({ path: ${JSON.stringify(path)}, operations: fakeOperations({ stop }), log: console, audit: NO_AUDIT });
console.log("ready");`;
    const child = Bun.spawn([process.execPath, "-e", source], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    try {
      expect(new TextDecoder().decode((await child.stdout.getReader().read()).value)).toBe("ready\n");
      await test(path, child.exited);
    } finally {
      child.kill("SIGKILL");
      await child.exited;
    }
  }

  test("returns when the server has gone, and not before", () =>
    withServer(300, async (path, exited) => {
      const startedAt = performance.now();
      const { exitCode, stdout, stderr } = await callProgram(["stop", "--control", path]);
      expect(performance.now() - startedAt).toBeGreaterThanOrEqual(300);
      expect([exitCode, stderr]).toEqual([0, ""]);
      expect(stdout).toMatch(/^hrmr has stopped \(pid \d+\)\.\n$/);
      expect(existsSync(path)).toBe(false);
      expect(await exited).toBe(0);
    }));

  test("--timeout gives up with 1 and says what to do, and --force ends it, also when it cannot answer any more", () =>
    withServer(600_000, async (path, exited) => {
      const late = await callProgram(["stop", "--timeout", "1", "--control", path]);
      expect(late).toMatchObject({ exitCode: 1, stdout: "" });
      expect(late.stderr).toMatch(
        /^The server, pid \d+, still finishes what is under way, after 1 s\.\n.*`hrmr stop --force` cuts it\.\n$/,
      );
      const forced = await callProgram(["stop", "--force", "--json", "--control", path]);
      expect(forced).toMatchObject({ exitCode: 0, stderr: "" });
      expect(JSON.parse(forced.stdout)).toEqual({ ok: true, pid: null, elapsedMs: expect.any(Number) });
      expect(await exited).toBe(0);
    }));
});

describe("a command without its server exits with 1 and one clear message", () => {
  const NAMES = ["stop", "reload", "restart", "upgrade", "status", "modules"];

  test.each(NAMES)("hrmr %s in a folder where none runs", async (command) => {
    const dir = freshDir();
    mkdirSync(join(dir, "modules"));
    expect(await callProgram([command], { cwd: dir })).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `No hrmr server runs here: there is no control socket at ${dir}/.hrmr/control.sock.\n\`hrmr start\` starts one. Name another server's socket with --control PATH, or go to its folder.\n`,
    });
    // Looking for a server makes nothing.
    expect(existsSync(join(dir, ".hrmr"))).toBe(false);
  });

  test("hrmr stop with the socket of a killed one", async () => {
    const path = join(freshDir(), "c.sock");
    const bind = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    await Bun.spawn([process.execPath, "-e", bind]).exited;
    const { exitCode, stderr } = await callProgram(["stop", "--control", path]);
    expect([exitCode, stderr]).toEqual([
      1,
      `No hrmr server runs here: nobody answers at ${path}. A server that was killed has left it behind.\n\`hrmr start\` starts one, and replaces that file.\n`,
    ]);
  });

  test("hrmr stop while a server holds the folder and has no socket", async () => {
    const dir = freshDir();
    mkdirSync(join(dir, ".hrmr"));
    const lock = lockFile(join(dir, ".hrmr/lock"));
    try {
      const { exitCode, stderr } = await callProgram(["stop"], { cwd: dir });
      expect([exitCode, stderr.split("\n")[0]]).toEqual([
        1,
        `The server of this folder, pid ${process.pid}, has no control socket at ${dir}/.hrmr/control.sock.`,
      ]);
    } finally {
      if ("release" in lock) lock.release();
    }
  });

  test("hrmr status of a file that is no socket", async () => {
    const path = join(freshDir(), "file");
    writeFileSync(path, "");
    const { exitCode, stderr } = await callProgram(["status", "--control", path]);
    expect([exitCode, stderr.split("\n")[0]]).toEqual([1, `The socket ${path} is not the control socket of hrmr.`]);
  });

  test.each([
    [["stop", "now"], 'hrmr stop takes no arguments, and "now" is one too many.'],
    [["stop", "--timeout", "soon"], '--timeout takes a whole number from 0 to 86400, not "soon".'],
    [["status", "--jsno"], "hrmr status has no flag --jsno."],
    [["reload", "--hard"], "hrmr reload has no flag --hard."],
    [["stpo"], 'hrmr has no command "stpo".'],
  ])("wrong usage exits with 2: hrmr %j", async (args, message) => {
    const { exitCode, stdout, stderr } = await callProgram(args);
    expect([exitCode, stdout, stderr.split("\n")[0]]).toEqual([2, "", message]);
  });
});

describe("the server is found", () => {
  const place = (dir: string, ...names: string[]): string => {
    const folder = join(dir, ...names.slice(0, -1));
    mkdirSync(folder, { recursive: true });
    return join(folder, names.at(-1) ?? "");
  };

  /** @returns which socket answered, or what went wrong */
  const reached = async (path: string, args: string[], options: CallOptions): Promise<string> => {
    const { stdout, stderr } = await runAgainst(path, ["reload", ...args], options);
    return stdout === `OK at ${path}\n` ? "reached" : stdout + stderr;
  };

  test("by --control and by HRMR_CONTROL, of which the flag counts", async () => {
    const dir = freshDir();
    const path = join(dir, "c.sock");
    expect(await reached(path, ["--control", "c.sock"], { cwd: dir })).toBe("reached");
    expect(await reached(path, [], { cwd: dir, env: { HRMR_CONTROL: path } })).toBe("reached");
    expect(await reached(path, ["--control", path], { cwd: dir, env: { HRMR_CONTROL: "/nowhere" } })).toBe("reached");
    expect(await reached(path, [], { cwd: dir, env: { HRMR_CONTROL: join(dir, "x") } })).toStartWith(
      `No hrmr server runs here: there is no control socket at ${dir}/x.\n`,
    );
  });

  test("in the state folder beside the modules: of this folder, of --modules, of --state, of the config file", async () => {
    const dir = freshDir();
    const elsewhere = freshDir();
    const path = place(dir, ".hrmr", "control.sock");
    mkdirSync(join(dir, "modules"));
    writeFileSync(join(dir, "hrmr.json"), "{}");
    expect(await reached(path, [], { cwd: dir })).toBe("reached");
    expect(await reached(path, ["--modules", join(dir, "modules")], { cwd: elsewhere })).toBe("reached");
    expect(await reached(path, ["--state", join(dir, ".hrmr")], { cwd: elsewhere })).toBe("reached");
    expect(await reached(path, ["-c", join(dir, "hrmr.json")], { cwd: elsewhere })).toBe("reached");
  });

  test("where the config file puts it", async () => {
    const dir = freshDir();
    writeFileSync(join(dir, "hrmr.json"), '{ "stateDir": "var/state" }');
    expect(await reached(place(dir, "var", "state", "control.sock"), [], { cwd: dir })).toBe("reached");
    writeFileSync(join(dir, "hrmr.json"), '{ "control": { "socket": "run/my.sock" } }');
    expect(await reached(place(dir, "run", "my.sock"), [], { cwd: dir })).toBe("reached");
  });

  test("in $RUNTIME_DIRECTORY, as systemd hands it to ExecReload", async () => {
    const dir = freshDir();
    const path = join(dir, "control.sock");
    expect(await reached(path, [], { cwd: freshDir(), env: { RUNTIME_DIRECTORY: `${dir}:/run/other` } })).toBe(
      "reached",
    );
  });

  test("in the folder for short paths when the state folder's is too long", async () => {
    const dir = join(freshDir(), "x".repeat(100));
    mkdirSync(join(dir, ".hrmr"), { recursive: true });
    expect(await reached(controlPath(join(dir, ".hrmr")), [], { cwd: dir })).toBe("reached");
  });

  test("although the config file is broken: who wants to stop a server need not mend it first", async () => {
    const dir = freshDir();
    const path = place(dir, ".hrmr", "control.sock");
    writeFileSync(join(dir, "hrmr.json"), '{ "limits": ');
    expect(await reached(path, [], { cwd: dir })).toBe("reached");
    expect(await reached(path, ["-c", join(dir, "hrmr.json")], { cwd: freshDir() })).toBe("reached");
    // Where there is no server, the mistake in the file is reported: the file may name the server's socket.
    const { exitCode, stderr } = await callProgram(["stop"], { cwd: dir });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("hrmr.json");
    expect(stderr).not.toContain("No hrmr server");
  });

  test("not when a config file is named that is not there", async () => {
    const dir = freshDir();
    const path = place(dir, ".hrmr", "control.sock");
    expect(await reached(path, ["-c", "other.json"], { cwd: dir })).toContain(`${dir}/other.json`);
  });
});

describe("hrmr status and hrmr modules", () => {
  const TROUBLED: ServerStatus = {
    ...STATUS,
    state: "degraded",
    wantedProcesses: 3,
    restarts: 2,
    processes: [
      {
        slot: 1,
        pid: 41,
        uptimeSeconds: 90,
        connections: 1,
        requests: 2,
        memoryBytes: 50_000_000,
        isDraining: false,
        isBackground: false,
      },
      {
        slot: 2,
        pid: 42,
        uptimeSeconds: 3,
        connections: 0,
        requests: 0,
        memoryBytes: 999,
        isDraining: true,
        isBackground: false,
      },
    ],
    modules: [
      {
        ...MODULE,
        old: [
          { generation: 10, inFlight: 1, pinnedBy: {} },
          { generation: 11, inFlight: 3, pinnedBy: { call: 2, websocket: 1, stream: 0 } },
        ],
      },
      {
        ...MODULE,
        name: "chat",
        state: "degraded",
        generation: 3,
        errors: 7,
        error: ["boom", 1, 2, 3, 4, 5, 6, 7].join("\n"),
      },
      {
        ...MODULE,
        name: "new",
        state: "failed",
        generation: null,
        hash: null,
        p50Ms: null,
        p99Ms: null,
        error: "no default export",
      },
    ],
    reloads: {
      ...STATUS.reloads,
      last: {
        at: new Date(Date.now() - 275_000_000).toISOString(),
        ok: false,
        elapsedMs: 4,
        dropped: 0,
        text: "ERR 2 modules failed\n  x\n",
        phases: {},
      },
    },
  };

  test("shows a server of one process on one screen, without colours where nobody looks", async () => {
    const { exitCode, stdout, stderr } = await run(["status"], {}, runProgram);
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(stdout).toBe(`hrmr 1.0.0  pid ${process.pid}  serving  up 3 d 4 h
listening    tcp://127.0.0.1:8080
             unix:///run/x.sock
connections  23 open (2 raw, 12 http1, 9 websocket), 1204 accepted, 3 refused
requests     1.23M (1.20M HTTP, 34567 raw), 12 errors
pool         4 threads, 1 busy, 0 queued
memory       61 MB

MODULE  STATE    VERSION  HASH     ROUTES  CALLS  ERRORS     P50     P99
greet   serving  v12      3f2a9c1       2  1.23M       0  0.4 ms  3.1 ms

last reload  none yet
`);
  });

  test("shows the processes of modules, and who is in quarantine", async () => {
    const modules: ServerStatus["modules"] = [
      {
        ...MODULE,
        state: "quarantined",
        processes: [
          { pid: 51, memoryBytes: 40_000_000, restarts: 0, state: "running" },
          { pid: 0, memoryBytes: 0, restarts: 5, state: "stopped" },
        ],
        quarantine: { reason: "it crashed 5 times within 60 s", nextTryAt: new Date(Date.now() - 1000).toISOString() },
      },
    ];
    const { stdout } = await run(["status"], { status: async () => ({ ...STATUS, modules }) });
    expect(stdout).toContain(`
greet has a process of its own: pid 51, running, 40 MB
greet has a process of its own: stopped, 5 lost and replaced
greet is in quarantine, and is tried again now: it crashed 5 times within 60 s
`);
  });

  test("shows lost processes, what failed, what keeps old versions, and the last reload; and exits with 0", async () => {
    const { exitCode, stdout } = await run(["status"], { status: async () => TROUBLED });
    expect(exitCode).toBe(0);
    expect(stdout.slice(stdout.indexOf("processes"))).toBe(`processes    1 of 3 processes, 2 lost and replaced
SLOT  PID  UP          CONNECTIONS  REQUESTS  MEMORY
   1   41  1 min 30 s            1         2   50 MB
   2   42  3 s                   0         0   999 B  draining

MODULE  STATE     VERSION  HASH     ROUTES  CALLS  ERRORS     P50     P99
greet   serving   v12      3f2a9c1       2  1.23M       0  0.4 ms  3.1 ms
chat    degraded  v3       3f2a9c1       2  1.23M       7  0.4 ms  3.1 ms
new     failed    -        -             2  1.23M       0       -       -

greet v10 was replaced and still has 1 under way
greet v11 was replaced and still has 2 calls, 1 websocket
chat was not loaded, v3 goes on serving: boom
  1
  2
  3
  4
  …
new was not loaded, nothing of it is served: no default export

last reload  3 d 4 h ago: ERR 2 modules failed
`);
  });

  test("--json prints the status as the socket gives it, however long", async () => {
    const modules = Array.from({ length: 2000 }, (_, at) => ({ ...MODULE, name: `module${at}` }));
    const { exitCode, stdout } = await run(
      ["status", "--json"],
      { status: async () => ({ ...STATUS, modules }) },
      runProgram,
    );
    expect(exitCode).toBe(0);
    expect(stdout.length).toBeGreaterThan(200_000);
    expect(JSON.parse(stdout)).toEqual({ ...STATUS, modules });
  });

  test("modules lists each with its source, state and routes", async () => {
    expect((await run(["modules"], { status: async () => TROUBLED })).stdout)
      .toBe(`greet  v12  serving  /srv/modules/greet.ts
  "GET /greet"
  "GREET\\n"
chat  v3  degraded  /srv/modules/greet.ts
  boom
  "GET /greet"
  "GREET\\n"
new  failed  /srv/modules/greet.ts
  no default export
  "GET /greet"
  "GREET\\n"
`);
    expect(JSON.parse((await run(["modules", "--json"])).stdout)).toEqual([MODULE]);
    expect((await run(["modules"], { status: async () => ({ ...STATUS, modules: [] }) })).stdout).toBe(
      "The server has no modules.\n",
    );
  });
});
