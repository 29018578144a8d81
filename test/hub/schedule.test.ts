/** Schedules of modules, seen from outside: the runs that a server makes, and what it tells of them. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { type Hub, shareHub } from "../support/hub";
import { runProgram } from "../support/program";
import { eventually, until } from "../support/until";

/** A module whose tasks write each run into `NAME.txt`: task, why, when it was due, version. */
function ticking(name: string, tasks: string, rest = ""): string {
  return `import { appendFileSync, existsSync } from "node:fs";
const note = (context, run) =>
  appendFileSync("${name}.txt", [run.task, run.why, run.dueAt.getTime(), context.generation, context.name].join(" ") + "\\n");
export default { ${rest} schedule: { ${tasks} } };
`;
}

const NEVER = '"0 0 29 2 *"';

const onHub = shareHub(
  {
    "modules/second.ts": ticking("second", `"every 1s": (context, run) => note(context, run)`),
    "modules/apart.ts": ticking("apart", `"every 1s": (context, run) => note(context, run)`),
    "modules/asked.ts": ticking(
      "asked",
      `
      tidy: { when: ${NEVER}, description: "tidies up", run: async (context, run) => { await Bun.sleep(1); note(context, run); } },
      broken: { when: ${NEVER}, run() { throw new TypeError("no such table"); } },
      stuck: { when: ${NEVER}, timeoutMs: 30, run: () => new Promise(() => {}) },
      heeding: { when: ${NEVER}, timeoutMs: 30, run: (context) => new Promise((_, reject) => context.signal.addEventListener("abort", () => { note(context, { task: "aborted", why: "due", dueAt: new Date(0) }); reject(context.signal.reason); })) },
      busy: { when: ${NEVER}, run: async () => { while (!existsSync("go.txt")) await Bun.sleep(5); } },
      "a name: with spaces": { when: ${NEVER}, run: note }`,
    ),
    "modules/slow.ts": ticking(
      "slow",
      `"every 1s": { timeoutMs: 0, run: async (context, run) => { note(context, run); while (!existsSync("slow-go.txt")) await Bun.sleep(5); } }`,
    ),
    "hrmr.json":
      '{ "threads": 1, "timeouts": { "drainMs": 2000 }, "schedule": { "timeZone": "UTC" }, "http": { "metrics": "local" }, "modules": { "apart": { "run": "process" } } }',
  },
  [],
);

interface Run {
  task: string;
  why: string;
  dueAt: number;
  version: number;
}

function runsIn(hub: Hub, name: string): Run[] {
  const file = join(hub.dir, `${name}.txt`);
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split(" "))
    .map((words) => ({
      task: words.slice(0, -4).join(" "),
      why: words.at(-4) ?? "",
      dueAt: Number(words.at(-3)),
      version: Number(words.at(-2)),
    }));
}

async function taskOf(hub: Hub, module: string, name: string) {
  const { modules } = await hub.status();
  const found = modules.find((each) => each.name === module)?.tasks?.find((each) => each.name === name);
  if (found === undefined) throw new Error(`the status has no task ${name} of ${module}`);
  return found;
}

async function askMetrics(hub: Hub): Promise<{ body: string }> {
  return { body: await (await fetch(`${hub.url}/metrics`)).text() };
}

function run(hub: Hub, ...args: string[]) {
  return runProgram(["run", ...args], { cwd: hub.dir });
}

describe("a schedule", () => {
  test.each(["second", "apart"])("runs at its times, each once, wherever its module runs (%s)", (name) =>
    onHub(async (hub) => {
      const runs = await until("three runs", () => {
        const all = runsIn(hub, name);
        return all.length >= 3 ? all : null;
      });
      const times = runs.map(({ dueAt }) => dueAt);
      expect(new Set(times).size).toBe(times.length);
      expect(times.every((time) => time % 1000 === 0)).toBe(true);
      expect(times).toEqual(times.toSorted((a, b) => a - b));
    }),
  );

  test("is in the status: last run, next run, counts", () =>
    onHub(async (hub) => {
      await eventually(async () => {
        const { modules } = await hub.status();
        const task = modules.find(({ name }) => name === "second")?.tasks?.[0];
        expect(task).toMatchObject({
          name: "every 1s",
          when: "every 1s",
          failures: 0,
          last: { why: "due", error: null },
        });
        expect(Date.parse(task?.nextAt ?? "") % 1000).toBe(0);
        expect(task?.runs).toBeGreaterThan(0);
      });
      expect(await taskOf(hub, "asked", "tidy")).toMatchObject({ description: "tidies up", last: null, runs: 0 });
    }));

  test("goes on over reloads in step: no due time is lost, and none comes twice", () =>
    onHub(async (hub) => {
      const source = readFileSync(join(hub.dir, "modules/second.ts"), "utf8");
      const before = runsIn(hub, "second").length;
      for (let version = 2; version <= 9; version++) {
        hub.write("modules/second.ts", `${source}// ${version}\n`);
        expect(await hub.ask("RELOAD")).toStartWith("OK");
        await until("another run", () => runsIn(hub, "second").length > before + (version >> 2));
      }
      const times = runsIn(hub, "second").map(({ dueAt }) => dueAt);
      expect(new Set(times).size).toBe(times.length);
      expect(runsIn(hub, "second").at(-1)?.version).toBeGreaterThan(1);
      expect((await taskOf(hub, "second", "every 1s")).runs).toBeGreaterThanOrEqual(times.length);
    }));

  test("never runs beside itself: due times that pass meanwhile are counted as skipped, over a reload too", () =>
    onHub(async (hub) => {
      await until("the run began", () => runsIn(hub, "slow").length === 1);
      hub.write("modules/slow.ts", `${readFileSync(join(hub.dir, "modules/slow.ts"), "utf8")}// 2\n`);
      expect(await hub.ask("RELOAD")).toContain("slow v2");
      await until("two were skipped", async () => (await taskOf(hub, "slow", "every 1s")).skipped >= 2);
      expect(runsIn(hub, "slow")).toHaveLength(1);
      expect((await taskOf(hub, "slow", "every 1s")).isRunning).toBe(true);
      hub.write("slow-go.txt", "");
      await until("the new version runs", () => runsIn(hub, "slow").some(({ version }) => version === 2));
    }));
});

describe("tasks are told of", () => {
  test("by the metrics, in samples of module and task", () =>
    onHub(async (hub) => {
      const { body } = await askMetrics(hub);
      for (const name of ["runs_total", "failures_total", "skipped_total", "next_run_timestamp_seconds"])
        expect(body).toMatch(new RegExp(`^hrmr_task_${name}\\{module="second",task="every 1s"\\} \\d+`, "m"));
    }));

  test("by hrmr status, with the last and the next run", () =>
    onHub(async (hub) => {
      const { stdout } = await runProgram(["status"], { cwd: hub.dir });
      expect(stdout).toMatch(/second: "every 1s" ran .* ago in .*, next /);
      expect(stdout).toContain('asked: "tidy" (0 0 29 2 *)');
    }));

  test("by hrmr validate, with the next run", () =>
    onHub(async (hub) => {
      const { stdout } = await runProgram(["validate", "--port", "0"], { cwd: hub.dir });
      expect(stdout.replaceAll(/\s+/g, " ")).toMatch(/"tidy" is due at \d{4}-02-29T00:00:00Z/);
    }));
});

describe("hrmr run", () => {
  test("runs a task now, and answers when it has ended", () =>
    onHub(async (hub) => {
      const { exitCode, stdout } = await run(hub, "asked", "tidy");
      expect(stdout).toMatch(/^OK asked v1 ran "tidy" in \d+ ms\n$/);
      expect(exitCode).toBe(0);
      expect(runsIn(hub, "asked").filter(({ task }) => task === "tidy")).toMatchObject([{ why: "asked" }]);
      expect(await taskOf(hub, "asked", "tidy")).toMatchObject({ runs: 1, last: { why: "asked", error: null } });
      expect((await run(hub, "asked", "a name: with spaces")).exitCode).toBe(0);
    }));

  test("shows the error of a task that fails, and exits with 1", () =>
    onHub(async (hub) => {
      const { exitCode, stderr } = await run(hub, "asked", "broken");
      expect(stderr).toContain("no such table");
      expect(exitCode).toBe(1);
      expect(await taskOf(hub, "asked", "broken")).toMatchObject({ failures: 1, last: { error: expect.any(String) } });
      expect(hub.program.output()).toContain("no such table");
      const json = await run(hub, "asked", "broken", "--json");
      expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, module: "asked", task: "broken" });
    }));

  test("a run over its time fails, and its signal has aborted", () =>
    onHub(async (hub) => {
      for (const task of ["stuck", "heeding"]) {
        const { exitCode, stderr } = await run(hub, "asked", task);
        expect(stderr).toContain("30 ms");
        expect(exitCode).toBe(1);
      }
      expect(runsIn(hub, "asked").map(({ task }) => task)).toContain("aborted");
    }));

  test("a task that runs already is not begun again", () =>
    onHub(async (hub) => {
      const first = run(hub, "asked", "busy");
      await until("it runs", async () => (await taskOf(hub, "asked", "busy")).isRunning);
      const second = await run(hub, "asked", "busy");
      expect(second.stderr).toContain('The task "busy" of module "asked" runs already.');
      expect(second.exitCode).toBe(1);
      hub.write("go.txt", "");
      expect((await first).exitCode).toBe(0);
    }));

  test.each([
    [["asked", "nothing"], 'Module "asked" has no task "nothing".'],
    [["nobody", "tidy"], 'There is no module "nobody".'],
  ])("%p is answered with what there is", (args, problem) =>
    onHub(async (hub) => {
      const { exitCode, stderr } = await run(hub, ...args);
      expect(stderr).toContain(problem);
      expect(stderr).toContain("asked");
      expect(exitCode).toBe(1);
    }),
  );
});
