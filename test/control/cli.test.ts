/** The commands against a server that runs: what an operator does in a day. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ModuleStatus, ServerStatus } from "../../src/observe/snapshot";
import { isAlive } from "../../src/supervise/takeover/lock";
import { ask } from "../support/client";
import { callProgram } from "../support/call-program";
import { type Hub, moduleSource, shareHub, withHub } from "../support/hub";
import { type ProgramResult, runProgram, startProgram } from "../support/program";

const GREET = moduleSource('{ routes: { GREET: () => "hello 1\\n" } }');
const FILES = { "modules/greet.ts": GREET };

/** The real program. */
const run = (hub: Hub, ...args: string[]): Promise<ProgramResult> => runProgram(args, { cwd: hub.dir });
const call = (hub: Hub, ...args: string[]): Promise<ProgramResult> => callProgram(args, { cwd: hub.dir });

async function statusOf(hub: Hub): Promise<ServerStatus> {
  const { stdout, stderr, exitCode } = await call(hub, "status", "--json");
  expect([exitCode, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout) as ServerStatus;
}

const moduleOf = ({ modules }: ServerStatus, name: string): ModuleStatus =>
  modules.find((module) => module.name === name) as ModuleStatus;

describe("a server in this folder", () => {
  const withGreet = shareHub(FILES);

  test("is shown by status and modules", () =>
    withGreet(async (hub) => {
      expect(await hub.ask("GREET")).toBe("hello 1\n");
      const { exitCode, stdout } = await run(hub, "status");
      expect(exitCode).toBe(0);
      expect(stdout).toStartWith(`hrmr 1.0.0  pid ${hub.program.pid}  serving  up `);
      expect(stdout).toContain(`listening    tcp://127.0.0.1:${hub.port}\n`);
      expect(stdout).toMatch(/^greet +serving +v1 +[0-9a-f]{7} +1 +1 +0 /m);
      expect(moduleOf(await statusOf(hub), "greet")).toMatchObject({
        state: "serving",
        generation: 1,
        routes: ["GREET"],
        calls: 1,
        errors: 0,
      });
      const modules = await call(hub, "modules");
      expect(modules.stdout).toContain('greet  v1  serving  modules/greet.ts\n  "GREET"\n');
    }));

  test("keeps a second one out of its folder, and serves on", () =>
    withGreet(async (hub) => {
      const second = await runProgram(["start", "--port", "0"], { cwd: hub.dir });
      expect(second.exitCode).toBe(1);
      expect(second.stderr).toContain(`pid ${hub.program.pid}`);
      expect((await statusOf(hub)).pid).toBe(hub.program.pid);
      expect(await hub.ask("GREET")).toBe("hello 1\n");
    }));

  test("reloads what changed and tells so, and keeps the old version when the new one fails", () =>
    withGreet(async (hub) => {
      hub.write("modules/greet.ts", GREET.replace("hello 1", "hello 2"));
      const good = await run(hub, "reload", "greet");
      expect([good.exitCode, good.stderr]).toEqual([0, ""]);
      expect(good.stdout).toStartWith("OK greet v2 (was v1) swapped in ");
      expect(await hub.ask("GREET")).toBe("hello 2\n");

      hub.write("modules/greet.ts", "export default {");
      const bad = await run(hub, "reload");
      expect([bad.exitCode, bad.stdout]).toEqual([1, ""]);
      expect(bad.stderr).toStartWith("ERR 1 module failed");
      expect(bad.stderr).toContain("greet was not loaded: modules/greet.ts:1:16");
      expect(await hub.ask("GREET")).toBe("hello 2\n");
      const { stdout, exitCode } = await call(hub, "status");
      expect(exitCode).toBe(0);
      expect(stdout).toContain("  degraded  up ");
      expect(stdout).toContain("greet was not loaded, v2 goes on serving: modules/greet.ts:1:16");

      const unknown = await call(hub, "reload", "nobody", "--json");
      expect(unknown.exitCode).toBe(1);
      expect(JSON.parse(unknown.stdout)).toMatchObject({ ok: false, modules: [{ name: "nobody", outcome: "failed" }] });
    }));

  test("is stopped: what is under way is finished first, and --force cuts it", () => {
    const hold = moduleSource(
      '{ routes: { HOLD: { async connect(connection) { await connection.write("held\\n"); await new Promise(() => {}); } } } }',
    );
    return withHub({ "modules/hold.ts": hold }, [], async (hub) => {
      const client = await hub.connect();
      await client.send("HOLD");
      await client.waitFor("held\n");
      const late = await call(hub, "stop", "--timeout", "1");
      expect([late.exitCode, late.stdout]).toEqual([1, ""]);
      expect(late.stderr).toContain(`pid ${hub.program.pid}, still finishes what is under way, after 1 s.`);
      expect((await statusOf(hub)).state).toBe("draining");
      expect(await run(hub, "stop", "--force")).toEqual({
        exitCode: 0,
        stdout: `hrmr has stopped (pid ${hub.program.pid}).\n`,
        stderr: "",
      });
      expect(await hub.program.exited).toBe(0);
      expect(existsSync(join(hub.dir, ".hrmr/control.sock"))).toBe(false);
      expect((await call(hub, "stop")).exitCode).toBe(1);
    });
  });

  test("that was killed is told to be dead, and another one starts in its place", () =>
    withHub(FILES, [], async (hub) => {
      hub.program.signal("SIGKILL");
      await hub.program.exited;
      expect(existsSync(join(hub.dir, ".hrmr/control.sock"))).toBe(true);
      const dead = await call(hub, "stop");
      expect([dead.exitCode, dead.stdout]).toEqual([1, ""]);
      expect(dead.stderr).toStartWith(`No hrmr server runs here: nobody answers at ${hub.dir}/.hrmr/control.sock. `);

      const next = await startProgram(["--port", "0"], { cwd: hub.dir });
      try {
        expect((await statusOf(hub)).pid).toBe(next.pid);
        expect(readFileSync(join(hub.dir, ".hrmr/lock"), "utf8")).toStartWith(`${next.pid}\n`);
      } finally {
        await next.stop();
      }
    }));
});

test("is found from the folders of its project, and a new module lands in its modules folder", () =>
  withHub({ ...FILES, "lib/deep/x.ts": "" }, [], async (hub) => {
    for (const folder of ["modules", "lib/deep"]) {
      const { stdout } = await callProgram(["status", "--json"], { cwd: join(hub.dir, folder) });
      expect((JSON.parse(stdout) as ServerStatus).pid).toBe(hub.program.pid);
    }
    expect((await runProgram(["new", "fresh"], { cwd: join(hub.dir, "lib/deep") })).stdout).toContain(
      "wrote  ../../modules/fresh.ts",
    );
    expect(existsSync(join(hub.dir, "modules/fresh.ts"))).toBe(true);
  }));

test("two servers on one machine do not get into each other's way", () =>
  withHub(FILES, [], (first) =>
    withHub({ "modules/greet.ts": GREET.replace("hello 1", "hello 2") }, [], async (second) => {
      expect([(await statusOf(first)).pid, (await statusOf(second)).pid]).toEqual([
        first.program.pid,
        second.program.pid,
      ]);
      expect((await run(first, "stop")).exitCode).toBe(0);
      expect(await second.ask("GREET")).toBe("hello 2\n");
    }),
  ));

describe("a server of two processes", () => {
  test("shows them, and replaces them one after another by restart", () =>
    withHub(FILES, ["--set", "processes=2"], async (hub) => {
      const before = await statusOf(hub);
      expect(before.processes.map(({ slot }) => slot)).toEqual([1, 2]);
      expect((await call(hub, "status")).stdout).toContain("processes    2 of 2 processes, 0 lost and replaced\n");
      const { exitCode, stdout } = await call(hub, "restart");
      expect(exitCode).toBe(0);
      expect(stdout).toStartWith("OK ");
      const after = await statusOf(hub);
      expect(after.pid).toBe(before.pid);
      const pids = new Set(before.processes.map(({ pid }) => pid));
      expect(after.processes.filter(({ isDraining }) => !isDraining).some(({ pid }) => pids.has(pid))).toBe(false);
      expect(await hub.ask("GREET")).toBe("hello 1\n");
    }));

  test("hands over to a new one by upgrade, which then is the one that stop stops", () =>
    withHub(FILES, ["--set", "processes=2"], async (hub) => {
      const { exitCode, stdout, stderr } = await run(hub, "upgrade", "--json");
      expect([exitCode, stderr]).toEqual([0, ""]);
      const { pid } = JSON.parse(stdout) as { pid: number };
      try {
        expect(pid).not.toBe(hub.program.pid);
        expect((await statusOf(hub)).pid).toBe(pid);
        expect(await ask(hub.port, "GREET")).toBe("hello 1\n");
        expect(await run(hub, "stop")).toEqual({ exitCode: 0, stdout: `hrmr has stopped (pid ${pid}).\n`, stderr: "" });
        expect(await hub.program.exited).toBe(0);
        expect(existsSync(join(hub.dir, ".hrmr/lock"))).toBe(false);
      } finally {
        // Should it be left over from a failure above: nobody else knows of it.
        if (isAlive(pid)) process.kill(pid, "SIGKILL");
      }
    }));
});
