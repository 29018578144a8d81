/** Schedules over the lives of processes: a takeover, a restart, a start after a while. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { type Hub, withHub } from "../support/hub";
import { runProgram, startProgram } from "../support/program";
import { servingPids, withProcesses } from "../support/supervised";
import { until } from "../support/until";

/** A module that writes each run into `runs.txt`: task, why, when it was due, process. */
function ticking(tasks: string): string {
  return `import { appendFileSync } from "node:fs";
const note = (_context, run) =>
  appendFileSync("runs.txt", [run.task.replaceAll(" ", "_"), run.why, run.dueAt.getTime(), process.pid].join(" ") + "\\n");
export default { schedule: { ${tasks} } };
`;
}

interface Run {
  readonly task: string;
  readonly why: string;
  readonly dueAt: number;
  readonly pid: number;
}

function runsIn({ dir }: Pick<Hub, "dir">): Run[] {
  const file = join(dir, "runs.txt");
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => {
    const [task = "", why = "", dueAt, pid] = line.split(" ");
    return { task, why, dueAt: Number(dueAt), pid: Number(pid) };
  });
}

/** Each due second was run once, by whichever process. */
function expectEachOnce(runs: readonly Run[]): void {
  const times = runs.map(({ dueAt }) => dueAt);
  expect(times).toEqual([...new Set(times)]);
}

test("of two processes one runs the tasks; if it is killed, the other one goes on and repeats none", () =>
  withProcesses(
    2,
    async (hub) => {
      const pids = await servingPids(hub);
      await until("two runs", () => runsIn(hub).length >= 2);
      const first = runsIn(hub)[0]?.pid as number;
      expect(new Set(runsIn(hub).map(({ pid }) => pid))).toEqual(new Set([first]));
      expect(pids).toContain(first);
      process.kill(first, "SIGKILL");
      await until("runs of the other one", () => runsIn(hub).filter(({ pid }) => pid !== first).length >= 2);
      expectEachOnce(runsIn(hub));
      const { stdout } = await runProgram(["run", "ticks", "every 1s"], { cwd: hub.dir });
      expect(stdout).toStartWith('OK ticks v1 ran "every 1s"');
      expect(runsIn(hub).some(({ why }) => why === "asked")).toBe(true);
    },
    { "modules/ticks.ts": ticking(`"every 1s": note`) },
  ));

test("a restart of the processes repeats no run, and the one under way in an old process is not begun beside it", () =>
  withProcesses(
    2,
    async (hub) => {
      await until("a run", () => runsIn(hub).length >= 1 && existsSync(join(hub.dir, "long.txt")));
      expect((await runProgram(["restart"], { cwd: hub.dir })).stdout).toContain("OK 2 processes replaced");
      const old = runsIn(hub)[0]?.pid as number;
      await until("runs of a new process", () => runsIn(hub).filter(({ pid }) => pid !== old).length >= 2);
      expectEachOnce(runsIn(hub).filter(({ task }) => task === "every_1s"));
      expect(readFileSync(join(hub.dir, "long.txt"), "utf8")).toBe("begun\n");
      writeFileSync(join(hub.dir, "go.txt"), "");
      const steps = () => readFileSync(join(hub.dir, "long.txt"), "utf8");
      await until("it was begun again", () => steps().split("begun").length > 2);
      expect(steps()).toStartWith("begun\nended\nbegun\n");
    },
    {
      "modules/ticks.ts": ticking(`"every 1s": note`),
      "modules/long.ts": `import { appendFileSync, existsSync } from "node:fs";
export default { schedule: { "every 1s": async () => {
  appendFileSync("long.txt", "begun\\n");
  while (!existsSync("go.txt")) await Bun.sleep(5);
  appendFileSync("long.txt", "ended\\n");
} } };
`,
    },
  ));

test("one run that was missed while no server ran is made up with catchUp, and none without", () =>
  withHub(
    {
      "modules/ticks.ts": ticking(
        `caught: { when: "@yearly", timeZone: "UTC", catchUp: true, run: note }, let: { when: "@yearly", timeZone: "UTC", run: note }, "every 1s": note`,
      ),
    },
    [],
    async (hub) => {
      const file = join(hub.dir, "data/schedule.json");
      await until("a run", () => runsIn(hub).length > 0);
      await hub.program.stop();
      expect(runsIn(hub).filter(({ task }) => task !== "every_1s")).toEqual([]);
      // As if the server had not run for years.
      const { tasks } = JSON.parse(readFileSync(file, "utf8")) as {
        tasks: { ticks: Record<string, { mark: number }> };
      };
      for (const record of Object.values(tasks.ticks)) record.mark = Date.parse("2024-06-01T00:00:00Z");
      // The records of tasks that nobody has are dropped after 400 days; these are asked for first.
      writeFileSync(file, JSON.stringify({ version: 1, tasks }));
      const again = await startProgram(["--port", "0"], { cwd: hub.dir });
      try {
        const before = runsIn(hub).length;
        await until("runs of the new server", () => runsIn(hub).length >= before + 3);
        const caught = runsIn(hub).filter(({ task }) => task !== "every_1s");
        expect(caught).toMatchObject([{ task: "caught", why: "missed", dueAt: Date.parse("2025-01-01T00:00:00Z") }]);
        const seconds = runsIn(hub)
          .slice(before)
          .filter(({ task }) => task === "every_1s");
        expectEachOnce(seconds);
      } finally {
        await again.stop();
      }
    },
  ));

test("a file of the schedules that holds rubbish is replaced, and the tasks begin anew", () =>
  withHub(
    { "modules/ticks.ts": ticking(`"every 1s": note`), "data/schedule.json": '{"version":1,"tasks":{"ticks":[7' },
    [],
    async (hub) => {
      await until("two runs", () => runsIn(hub).length >= 2);
      expectEachOnce(runsIn(hub));
      expect(JSON.parse(readFileSync(join(hub.dir, "data/schedule.json"), "utf8"))).toMatchObject({ version: 1 });
    },
  ));
