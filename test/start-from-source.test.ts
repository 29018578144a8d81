/**
 * A start from source finds its entry, its workers, its child processes and its own files by another way than the
 * binary. The rest of the tests run against the binary in CI. Process 1 from source: supervise/container-pid1.test.ts.
 */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Hub, makeProject, moduleSource } from "./support/hub";
import { type ProgramResult, runProgram, SOURCE_PROGRAM, startProgram } from "./support/program";
import { lives } from "./support/supervised";
import { eventually, until } from "./support/until";

const BLOCKER = `import { existsSync } from "node:fs";
${moduleSource(`{ routes: { "BLOCK": () => { while (!existsSync("go")); return "done"; } } }`)}`;
const everywhere = (version: string): string =>
  moduleSource(`{ routes: {
    "INLINE": () => "inline ${version}",
    "POOL": { run: "pool", handle: () => "pool ${version}" },
    "PROCESS": { run: "process", handle: () => "process ${version}" },
  } }`);

async function withProject(files: Record<string, string>, use: (dir: string) => Promise<void>): Promise<void> {
  const dir = makeProject(files);
  try {
    await use(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const hrmr = (dir: string, ...args: string[]): Promise<ProgramResult> =>
  runProgram(args, { cwd: dir, command: SOURCE_PROGRAM });

async function withSource(files: Record<string, string>, args: string[], use: (hub: Hub) => Promise<void>) {
  const dir = makeProject(files);
  const hub = new Hub(dir, await startProgram(["--port", "0", ...args], { cwd: dir, command: SOURCE_PROGRAM }));
  try {
    await use(hub);
  } finally {
    await hub.stop();
  }
}

test("two processes serve modules inline, on the pool, in a process of their own and in C, and the pages of hrmr", () =>
  withSource(
    {
      "modules/m.ts": everywhere("one"),
      "modules/sum.c": readFileSync(join(import.meta.dir, "../examples/c/sum.c"), "utf8"),
    },
    ["--processes", "2", "--threads", "1"],
    async (hub) => {
      const answers = async (): Promise<string[]> => {
        const words = ["INLINE", "POOL", "PROCESS"];
        return await Promise.all([...words, ...words].map((word) => hub.ask(word)));
      };
      const all = (version: string) => ["inline", "pool", "process"].map((where) => `${where} ${version}`);
      expect(await answers()).toEqual([...all("one"), ...all("one")]);
      expect(await hub.ask("SUM 1 2 39\n")).toBe("42 (sum 1)\n");
      expect(await (await fetch(hub.url)).text()).toContain("<html");
      hub.write("modules/m.ts", everywhere("two"));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK m v2 (was v1)");
      expect(await answers()).toEqual([...all("two"), ...all("two")]);
    },
  ));

test("a handler that blocks is named, and an upgrade starts the same program", () =>
  withSource(
    { "modules/m.ts": everywhere("one"), "modules/blocker.ts": BLOCKER },
    ["--set", "timeouts.blockedMs=150"],
    async (hub) => {
      const blocked = hub.ask("BLOCK");
      await hub.program.waitFor(/blocker v1 "BLOCK" has been blocking the event loop/);
      hub.write("go", "");
      expect(await blocked).toBe("done");
      const { stdout, exitCode } = await hrmr(hub.dir, "upgrade", "--json");
      const { pid } = JSON.parse(stdout) as { pid: number };
      expect(exitCode).toBe(0);
      expect(pid).not.toBe(hub.program.pid);
      await until("the end of the old process", () => !lives(hub.program.pid));
      expect(await hub.ask("POOL")).toBe("pool one");
      expect((await hrmr(hub.dir, "stop")).stdout).toContain("stopped");
    },
  ));

test("a server in the background, and the unit that starts one, are the same program", () =>
  withProject({ "modules/m.ts": everywhere("one") }, async (dir) => {
    const started = await hrmr(dir, "start", "-d", "--port", "0");
    try {
      expect([started.exitCode, started.stderr]).toEqual([0, ""]);
      // A server that is too busy to answer within two seconds is an error.
      await eventually(async () => {
        const { exitCode, stdout } = await hrmr(dir, "status", "--json");
        expect([exitCode, JSON.parse(stdout)]).toMatchObject([0, { state: "serving" }]);
      });
    } finally {
      expect((await hrmr(dir, "stop")).exitCode).toBe(0);
    }
    const unit = (await hrmr(dir, "service")).stdout;
    const [bun = "", main = ""] = SOURCE_PROGRAM.map((word) => RegExp.escape(word));
    // Flags of Bun are not paths.
    expect(unit).toMatch(new RegExp(`^ExecStart=${bun}(?: --[a-z-]+)* ${main} start`, "m"));
  }));

test("SIGKILL ends what the server started", () =>
  withSource({ "modules/m.ts": everywhere("one") }, ["--processes", "2"], async (hub) => {
    await hub.ask("PROCESS");
    // A process that is too busy to answer is not in the status.
    const pids = await until("two processes, each with the module's", async () => {
      const { processes, modules } = await hub.status();
      const all = [...processes, ...modules.flatMap((module) => module.processes)].map(({ pid }) => pid);
      return all.length >= 4 && all;
    });
    hub.program.signal("SIGKILL");
    await hub.program.exited;
    await until("all of its processes have ended", () => pids.every((pid) => !lives(pid)));
  }));

test("hrmr init and hrmr new write a project, also in C, and hrmr test tests it", () =>
  withProject({}, async (dir) => {
    expect((await hrmr(dir, "init", "hub")).exitCode).toBe(0);
    const hub = join(dir, "hub");
    expect((await hrmr(hub, "new", "wave", "--c")).stdout).toContain("wrote  modules/wave.c");
    mkdirSync(join(hub, "modules"), { recursive: true });
    writeFileSync(
      join(hub, "modules/wave.test.ts"),
      `import { expect, test } from "bun:test";
import { startTestServer } from "hrmr/test";
test("waves", async () => {
  await using server = await startTestServer();
  expect(await server.send("WAVE bob\\n")).toBe("Hello, bob\\n");
}, 60_000);
`,
    );
    const { exitCode, stdout, stderr } = await hrmr(hub, "test");
    expect(stdout + stderr).toContain(" 1 pass");
    expect(exitCode).toBe(0);
  }));
