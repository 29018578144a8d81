/** The background process of a server of several, and the moves of its work. */
import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { electBackground } from "../../src/supervise/serve/background";
import { type Hub, shareHub } from "../support/hub";
import { lifeModule, type Step, stepsIn } from "../support/life";
import { runProgram } from "../support/program";
import { lives, servingPids, withProcesses } from "../support/supervised";
import { until } from "../support/until";

const process1 = { slot: 1, isReady: true, isLeaving: false, hasReleased: false };
const process2 = { ...process1, slot: 2 };
const process3 = { ...process1, slot: 3 };

test("a living background process keeps its role; otherwise the ready process with the lowest slot gets it", () => {
  expect(electBackground(null, [process3, process2, process1])).toBe(process1);
  expect(electBackground(process2, [process1, process2])).toBe(process2);
  expect(electBackground(null, [{ ...process1, isReady: false }, process2])).toBe(process2);
  expect(electBackground(null, [{ ...process1, isLeaving: true }, process3])).toBe(process3);
  expect(electBackground(null, [{ ...process1, hasReleased: true }])).toBeNull();
  expect(electBackground(null, [])).toBeNull();
});

const FILES = {
  "modules/gate.ts": lifeModule("gate"),
  "modules/each.ts": lifeModule("each", { options: `background: "process",` }),
};

/** With two processes. Each test begins with no steps, and the work in one of them. */
const inTwo = shareHub(FILES, ["--processes", "2"]);

async function withTwo(run: (hub: Hub, steps: (name?: string) => Step[], pids: readonly number[]) => Promise<void>) {
  await inTwo(async (hub) => {
    const pids = await servingPids(hub);
    await until("a background process", async () =>
      (await hub.status()).processes.some(({ isBackground }) => isBackground),
    );
    await until("the starts", async () => {
      const { modules } = await hub.status();
      return modules.filter(({ life }) => life?.state === "started").length === 2;
    });
    rmSync(join(hub.dir, "life.txt"), { force: true });
    await run(hub, (name = "gate") => stepsIn(hub).filter(({ text }) => text.startsWith(`${name} st`)), pids);
  });
}

async function backgroundOf(hub: Hub): Promise<number> {
  return (await hub.status()).processes.find(({ isBackground }) => isBackground)?.pid ?? 0;
}

test("another process takes the work over when the background process is killed, and the one in its place leaves it there", () =>
  withTwo(async (hub, steps, pids) => {
    const first = await backgroundOf(hub);
    process.kill(first, "SIGKILL");
    await until("another start", () => steps().length === 1);
    expect(steps()).toEqual([{ text: "gate start v1", pid: pids.find((pid) => pid !== first) as number }]);
    // background: "process" is in each.
    await until("the process in its place to start", () => steps("each").length === 1);
    expect(pids).not.toContain(steps("each")[0]?.pid as number);
    await servingPids(hub);
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    expect(steps()).toHaveLength(1);
    const { stdout } = await runProgram(["status"], { cwd: hub.dir });
    expect(stdout.match(/ background$/gm)).toHaveLength(1);
  }));

test("a background process that is told to end hands the work over before it is gone, and is replaced", () =>
  withTwo(async (hub, steps) => {
    const first = await backgroundOf(hub);
    process.kill(first, "SIGTERM");
    await until("the start in the other process", () => steps().length === 2);
    expect(steps().map(({ text }) => text)).toEqual(["gate stop v1 shutdown", "gate start v1"]);
    expect(steps().map(({ pid }) => pid === first)).toEqual([true, false]);
    await servingPids(hub);
    expect(await backgroundOf(hub)).toBe(steps()[1]?.pid as number);
  }));

test("a restart of the processes stops a module in the old process before it starts in a new one", () =>
  withTwo(async (hub, steps) => {
    const { stdout } = await runProgram(["restart"], { cwd: hub.dir });
    expect(stdout).toContain("OK 2 processes replaced");
    const pids = await servingPids(hub);
    await until("the start in a new process", () => pids.includes(steps().at(-1)?.pid ?? 0));
    for (const [at, { text }] of steps().entries())
      expect(text).toBe(at % 2 === 0 ? "gate stop v1 moved" : "gate start v1");
  }));

test("a reload stops and starts a module in the background process only", () =>
  withTwo(async (hub, steps) => {
    for (let version = 2; version < 5; version++) {
      hub.write("modules/gate.ts", lifeModule("gate", { options: `/* ${version} */` }));
      expect(await hub.ask("RELOAD gate\n")).toStartWith(`OK gate v${version}`);
      await until("the next start", () => steps().at(-1)?.text === `gate start v${version}`);
    }
    const wanted = [1, 2, 3].flatMap((each) => [`gate stop v${each} replaced`, `gate start v${each + 1}`]);
    expect(steps().map(({ text }) => text)).toEqual(wanted);
    expect(new Set(steps().map(({ pid }) => pid)).size).toBe(1);
    hub.remove("modules/gate.ts");
    expect(await hub.ask("RELOAD\n")).toContain("gate unloaded");
    await until("its stop", () => steps().at(-1)?.text === "gate stop v4 removed");
  }));

for (const processes of [1, 2])
  test(`a stop that hangs does not hold up hrmr stop --force, in ${processes} processes`, () =>
    withProcesses(
      processes,
      async (hub) => {
        await until("the start", () => stepsIn(hub).some(({ text }) => text === "hang start v1"));
        const { exitCode } = await runProgram(["stop", "--force"], { cwd: hub.dir });
        expect(exitCode).toBe(0);
        expect(await hub.program.exited).toBe(0);
      },
      { "modules/hang.ts": lifeModule("hang", { stop: "await new Promise(() => {});" }) },
      ["--set", "timeouts.loadMs=0"],
    ));

for (const processes of [1, 2])
  test(`an upgrade of ${processes} processes stops a module in the old server before it starts in the new one`, () =>
    withProcesses(
      processes,
      async (hub) => {
        const steps = () => stepsIn(hub).filter(({ text }) => text.startsWith("gate st"));
        await until("the start", () => steps().length === 1);
        const { stdout } = await runProgram(["upgrade"], { cwd: hub.dir });
        expect(stdout).toContain("serves, and pid");
        await until("the start in the new server", () => steps().length === 3);
        expect(steps().map(({ text }) => text)).toEqual(["gate start v1", "gate stop v1 moved", "gate start v1"]);
        expect(steps()[0]?.pid).not.toBe(steps()[2]?.pid as number);
        await until("the old server to be gone", () => !lives(hub.program.pid));
      },
      FILES,
    ));
