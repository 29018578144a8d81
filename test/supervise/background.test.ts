/** The background process of a server of several, and the moves of its work. */
import { expect, test } from "bun:test";
import { electBackground } from "../../src/supervise/serve/background";
import { lifeModule, stepsIn } from "../support/life";
import { runProgram } from "../support/program";
import { servingPids, withProcesses } from "../support/supervised";
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

test("one process of two starts a module, and another one takes over when it is killed; background: process is in each", () =>
  withProcesses(
    2,
    async (hub) => {
      const pids = await servingPids(hub);
      const starts = (name: string) => stepsIn(hub).filter(({ text }) => text.startsWith(`${name} start`));
      await until("all starts", () => starts("gate").length === 1 && starts("each").length === 2);
      expect(
        starts("each")
          .map(({ pid }) => pid)
          .sort(),
      ).toEqual([...pids].sort());
      const first = starts("gate")[0]?.pid as number;
      process.kill(first, "SIGKILL");
      await until("another start", () => starts("gate").length === 2);
      expect(starts("gate")[1]?.pid).toBe(pids.find((pid) => pid !== first) as number);
      // The process in its place leaves the work where it is.
      await until("the process in its place to start", () => starts("each").length === 3);
      await servingPids(hub);
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      expect(starts("gate")).toHaveLength(2);
      expect(stepsIn(hub).filter(({ text }) => text.startsWith("gate stop"))).toEqual([]);
    },
    FILES,
  ));

test("a restart of the processes stops a module in the old process before it starts in a new one", () =>
  withProcesses(
    2,
    async (hub) => {
      const steps = () => stepsIn(hub).filter(({ text }) => text.startsWith("gate st"));
      await until("the start", () => steps().length === 1);
      const { stdout } = await runProgram(["restart"], { cwd: hub.dir });
      expect(stdout).toContain("OK 2 processes replaced");
      const pids = await servingPids(hub);
      await until("the start in a new process", () => pids.includes(steps().at(-1)?.pid ?? 0));
      for (const [at, { text }] of steps().entries())
        expect(text).toBe(at % 2 === 0 ? "gate start v1" : "gate stop v1 moved");
    },
    FILES,
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
      },
      FILES,
    ));
