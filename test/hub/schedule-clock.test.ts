/** The schedule with a clock that the test sets: no timer, no server. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { Schedule } from "../../src/hub/schedule/schedule";
import { BackgroundRole } from "../../src/module/background";
import type { BoundTask } from "../../src/module/route";

const NOON = Date.parse("2026-03-10T12:00:00Z");

/** A schedule of one module "m" in a folder of its own. */
class Bench {
  nowMs = NOON;
  readonly runs: string[] = [];
  readonly background = new BackgroundRole();
  readonly schedule: Schedule;
  isReady = true;
  #wake: { readonly fn: () => void; readonly atMs: number } | null = null;
  #open: (() => void)[] = [];
  #live: { readonly tasks: ReadonlyMap<string, BoundTask> } | null = null;

  constructor(dir: string) {
    this.schedule = new Schedule({
      modules: () => new Map([["m", { live: this.#live }]]),
      isReady: () => this.isReady,
      run: (task, { why, dueAt }) => {
        this.runs.push(`${task.generation.number} ${why} ${dueAt.toISOString().slice(11, 19)}`);
        const ended = Promise.withResolvers<void>();
        this.#open.push(ended.resolve);
        return { answer: ended.promise, ended: ended.promise };
      },
      limitMs: () => 30_000,
      background: this.background,
      file: join(dir, "schedule.json"),
      timeZone: () => "UTC",
      log: undefined as never,
      clock: {
        now: () => this.nowMs,
        wake: (fn, delayMs) => {
          const wake = { fn, atMs: this.nowMs + delayMs };
          this.#wake = wake;
          return () => void (this.#wake === wake && (this.#wake = null));
        },
      },
    });
  }

  serve(number: number, when: string, catchUp = false): void {
    const task = { name: "t", index: 0, run: "inline", when, timeZone: null, catchUp, timeoutMs: 0, description: "" };
    const generation = { name: "m", number, isDisposed: false };
    const bound = { key: "t", module: "m", generation, task } as unknown as BoundTask;
    this.#live = { tasks: new Map([["t", bound]]) };
    this.schedule.swapped();
  }

  remove(): void {
    this.#live = null;
    this.schedule.swapped();
  }

  /** Lets the time pass as it does: each timer is called at its time. */
  pass(ms: number): void {
    const until = this.nowMs + ms;
    while (this.#wake !== null && this.#wake.atMs <= until) {
      const { fn, atMs } = this.#wake;
      this.#wake = null;
      this.nowMs = Math.max(this.nowMs, atMs);
      fn();
    }
    this.nowMs = until;
  }

  async endRuns(): Promise<void> {
    for (const end of this.#open.splice(0)) end();
    await new Promise((resolve) => setImmediate(resolve));
  }

  get facts() {
    const [task] = this.schedule.snapshot("m");
    return task;
  }
}

async function withBench(use: (bench: Bench, dir: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-schedule-"));
  try {
    await use(new Bench(dir), dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test("nothing runs before this process has the role", () =>
  withBench(async (bench) => {
    bench.serve(1, "every 10s");
    bench.pass(60_000);
    expect(bench.runs).toEqual([]);
    bench.background.take();
    bench.pass(10_000);
    expect(bench.runs).toEqual(["1 due 12:01:10"]);
  }));

test("200 swaps lose no run and repeat none", () =>
  withBench(async (bench) => {
    bench.background.take();
    for (let version = 1; version <= 200; version++) {
      bench.serve(version, "every 1s");
      bench.pass(500);
      await bench.endRuns();
    }
    expect(bench.runs).toHaveLength(100);
    expect(new Set(bench.runs.map((run) => run.slice(-8))).size).toBe(100);
    expect(bench.facts).toMatchObject({ runs: 100, failures: 0, skipped: 0 });
  }));

test("due times under a run that goes on are skipped and counted, over a swap too", () =>
  withBench(async (bench) => {
    bench.background.take();
    bench.serve(1, "every 10s");
    bench.pass(10_000);
    bench.serve(2, "every 10s");
    bench.pass(30_000);
    expect(bench.runs).toEqual(["1 due 12:00:10"]);
    expect(bench.facts).toMatchObject({ isRunning: true, skipped: 3 });
    await bench.endRuns();
    bench.pass(10_000);
    expect(bench.runs).toEqual(["1 due 12:00:10", "2 due 12:00:50"]);
  }));

test("a clock that jumps a year makes one run, and one that is set back makes none at once", () =>
  withBench(async (bench) => {
    bench.background.take();
    bench.serve(1, "* * * * *");
    bench.nowMs += 365 * 86_400_000;
    bench.pass(10_000);
    await bench.endRuns();
    expect(bench.runs).toHaveLength(1);
    bench.nowMs -= 365 * 86_400_000;
    bench.schedule.swapped();
    bench.pass(30_000);
    expect(bench.runs).toHaveLength(1);
    bench.pass(60_000);
    expect(bench.runs).toHaveLength(2);
  }));

test("a run waits for the start of its module, and is not lost by the wait", () =>
  withBench(async (bench) => {
    bench.background.take();
    bench.serve(1, "every 10s");
    bench.isReady = false;
    bench.pass(12_000);
    expect(bench.runs).toEqual([]);
    bench.isReady = true;
    bench.pass(1000);
    expect(bench.runs).toEqual(["1 due 12:00:10"]);
  }));

test("a short absence of the version loses no run; after a long one it begins anew", () =>
  withBench(async (bench) => {
    bench.background.take();
    bench.serve(1, "every 10s");
    bench.remove();
    bench.pass(12_000);
    bench.serve(2, "every 10s");
    expect(bench.runs).toEqual(["2 due 12:00:10"]);
    await bench.endRuns();
    bench.serve(2, "0 0 1 1 *");
    bench.remove();
    bench.pass(366 * 86_400_000);
    bench.serve(3, "0 0 1 1 *");
    expect(bench.runs).toHaveLength(1);
  }));

test("another process goes on where the one before has stopped, and does not begin a run that goes on there", () =>
  withBench(async (bench, dir) => {
    bench.background.take();
    bench.serve(1, "every 10s");
    bench.pass(10_000);
    await bench.background.release("moved");
    const next = new Bench(dir);
    next.nowMs = bench.nowMs + 15_000;
    next.serve(1, "every 10s");
    next.background.take();
    // The record names this very process, which lives: the run of the first one may still go on.
    expect(next.runs).toEqual([]);
    expect(next.facts).toMatchObject({ skipped: 1 });
    next.pass(30_000);
    expect(next.runs).toEqual(["1 due 12:00:40"]);
  }));

test("with catchUp one run is made up after a start, and none without", () =>
  withBench(async (_, dir) => {
    for (const catchUp of [true, false]) {
      const before = new Bench(dir);
      before.background.take();
      before.serve(1, "0 * * * *", catchUp);
      before.pass(3_600_000);
      await before.endRuns();
      await before.background.release("shutdown");
      const after = new Bench(dir);
      after.nowMs = NOON + 10 * 3_600_000 + 60_000;
      after.background.take();
      after.serve(1, "0 * * * *", catchUp);
      expect(after.runs).toEqual(catchUp ? ["1 missed 14:00:00"] : []);
    }
  }));
