/**
 * Runs the tasks of all modules at their times, in the background process of the server. The state of a task belongs to
 * its name, whichever version serves: so a reload neither loses nor repeats a run.
 */
import type { ServerLog } from "../../observe/log/log";
import type { Background } from "../../module/background";
import type { TaskRun } from "../../module/contract";
import type { BoundTask } from "../../module/route";
import type { ServiceError } from "../../module/service/error";
import type { TaskSnapshot } from "../../observe/snapshot";
import { asHost } from "../../system/leave-graph";
import { messageOf, UserError } from "../../config/user-error";
import type { BegunRun } from "./begin-task";
import type { TaskOutcome } from "./outcome";
import { readRecords, type TaskRecords, writeRecords } from "./records";
import { TaskState } from "./task-state";

interface Scheduled {
  /** null: no version serves now. */
  readonly live: { readonly tasks: ReadonlyMap<string, BoundTask> } | null;
}

interface ScheduleOptions {
  readonly modules: () => ReadonlyMap<string, Scheduled>;
  /** Whether its tasks may run now: its `start`, for example, has ended. */
  readonly isReady: (module: string) => boolean;
  readonly run: (task: BoundTask, run: TaskRun) => BegunRun;
  /** The limit of a task, in milliseconds. 0: none */
  readonly limitMs: (task: BoundTask) => number;
  readonly background: Background;
  /** See records.ts. */
  readonly file: string;
  /** For tasks without one of their own. null: the system's. */
  readonly timeZone: () => string | null;
  readonly log: ServerLog;
  readonly clock?: Clock;
}

/** The time, for tests to set. */
interface Clock {
  /** In milliseconds since 1970. */
  now(): number;
  /** @returns clears it */
  wake(fn: () => void, delayMs: number): () => void;
}

const CLOCK: Clock = {
  now: () => Date.now(),
  wake: (fn, delayMs) => {
    const timer = asHost(() => setTimeout(fn, delayMs));
    return () => clearTimeout(timer);
  },
};

/** The longest sleep. After it, a clock that was set forward is noticed. */
const MAX_SLEEP_MS = 10_000;
/** Pause before a module that is not ready is checked again. */
const READY_MS = 100;
/** If a run ignores its deadline, its task does not run again for this many times its limit. */
const LATE_FACTOR = 10;

export class Schedule {
  readonly #options: ScheduleOptions;
  readonly #clock: Clock;
  /** By module and task. */
  readonly #states = new Map<string, Map<string, TaskState>>();
  /** Of tasks that no version has had since this process took over. */
  #records: TaskRecords = new Map();
  #stopTimer: (() => void) | null = null;
  #idle: (() => void) | null = null;
  #hasFailedToWrite = false;

  constructor(options: ScheduleOptions) {
    this.#options = options;
    this.#clock = options.clock ?? CLOCK;
    options.background.watch((left) => (left === null ? this.#take() : this.#release()));
  }

  /** The versions that serve, or the time zone, have changed. */
  swapped(): void {
    this.#look();
  }

  /**
   * Runs a task now, besides its times.
   *
   * @returns its outcome, when it has ended. @throws UserError if there is no such task, or it runs already
   */
  async runNow(module: string, name: string): Promise<TaskOutcome> {
    this.#look();
    const state = this.#states.get(module)?.get(name);
    if (state === undefined || this.#taskOf(state) === undefined) throw this.#noTask(module, name);
    if (state.isBusy(this.#clock.now(), performance.now()))
      throw new UserError(`The task "${name}" of module "${module}" runs already.`, {
        code: "TASK_RUNS",
        hint: "Try again when that run has ended; `hrmr status` shows it.",
      });
    return await this.#run(state, state.runFor("asked", this.#clock.now()));
  }

  /** The tasks of a module in this process. Empty unless it is the background process. */
  snapshot(module: string): TaskSnapshot[] {
    if (!this.#options.background.isHere) return [];
    return [...(this.#states.get(module)?.values() ?? [])]
      .filter((state) => this.#taskOf(state) !== undefined)
      .map((state) => state.snapshot());
  }

  /** Resolves when no run is under way, or after so long. In milliseconds; 0: no limit. */
  async drain(drainMs: number): Promise<void> {
    if (!this.#isRunning()) return;
    const idle = Promise.withResolvers<void>();
    this.#idle = idle.resolve;
    const stop = drainMs === 0 ? null : this.#clock.wake(idle.resolve, drainMs);
    await idle.promise;
    stop?.();
  }

  /** Stops waiting for runs under way. */
  cut(): void {
    this.#idle?.();
  }

  // ---- the role ----

  #take(): void {
    this.#records = readRecords(this.#options.file);
    this.#look();
  }

  #release(): void {
    this.#stopTimer?.();
    this.#stopTimer = null;
    if (this.#states.size > 0) this.#write(true);
  }

  // ---- times ----

  #look(): void {
    this.#stopTimer?.();
    this.#stopTimer = null;
    if (!this.#options.background.isHere) return;
    const nowMs = this.#clock.now();
    this.#follow(nowMs);
    const due: [TaskState, TaskRun][] = [];
    let wakeAt = Infinity;
    let hasPassed = false;
    for (const state of this.#active()) {
      if (!this.#options.isReady(state.module)) {
        if (state.nextAt !== null && state.nextAt <= nowMs) wakeAt = Math.min(wakeAt, nowMs + READY_MS);
        else wakeAt = Math.min(wakeAt, state.nextAt ?? Infinity);
        continue;
      }
      const dueAt = state.take(nowMs);
      wakeAt = Math.min(wakeAt, state.nextAt ?? Infinity);
      if (dueAt === null) continue;
      hasPassed = true;
      if (state.isBusy(nowMs, performance.now())) state.skipped++;
      else due.push([state, state.runFor(dueAt < nowMs - MAX_SLEEP_MS ? "missed" : "due", dueAt)]);
    }
    // Before the runs: if this process dies in one of them, the next one does not repeat it.
    if (hasPassed) this.#write(false);
    for (const [state, run] of due) void this.#run(state, run);
    this.#sleep(wakeAt, nowMs);
  }

  #sleep(wakeAt: number, nowMs: number): void {
    if (wakeAt === Infinity) return;
    const delayMs = Math.min(MAX_SLEEP_MS, Math.max(1, wakeAt - nowMs));
    this.#stopTimer = this.#clock.wake(() => this.#look(), delayMs);
  }

  /** Brings the states to the versions that serve. */
  #follow(nowMs: number): void {
    const modules = this.#options.modules();
    for (const [name, { live }] of modules) {
      const states = this.#states.get(name);
      if (live === null || (live.tasks.size === 0 && states === undefined)) continue;
      this.#followModule(states ?? new Map(), name, live.tasks, nowMs);
    }
    for (const [name, states] of this.#states) if (!modules.has(name)) this.#drop(name, states, [...states.values()]);
  }

  #followModule(
    states: Map<string, TaskState>,
    module: string,
    tasks: ReadonlyMap<string, BoundTask>,
    nowMs: number,
  ): void {
    this.#states.set(module, states);
    for (const [name, task] of tasks) {
      const state = states.get(name);
      if (state === undefined) states.set(name, this.#stateFor(task, nowMs));
      else state.renew(task, this.#options.timeZone(), nowMs, this.#wasAway(state, nowMs));
    }
    this.#drop(
      module,
      states,
      [...states.values()].filter(({ name }) => !tasks.has(name)),
    );
  }

  /** While no version served, due times passed without a run: the next one is asked about them as at a start. */
  #wasAway(state: TaskState, nowMs: number): boolean {
    return state.nextAt !== null && state.nextAt < nowMs - MAX_SLEEP_MS;
  }

  #stateFor(task: BoundTask, nowMs: number): TaskState {
    const record = this.#records.get(task.module)?.get(task.key) ?? null;
    this.#records.get(task.module)?.delete(task.key);
    return new TaskState(task, this.#options.timeZone(), record, nowMs);
  }

  /** A task with a run under way stays until that has ended: if the task comes back, it must not run beside it. */
  #drop(module: string, states: Map<string, TaskState>, gone: readonly TaskState[]): void {
    for (const state of gone) if (!state.isBusy(this.#clock.now(), performance.now())) states.delete(state.name);
    if (states.size === 0) this.#states.delete(module);
  }

  *#active(): Iterable<TaskState> {
    for (const states of this.#states.values())
      for (const state of states.values()) if (this.#taskOf(state) !== undefined) yield state;
  }

  /** undefined: the version that serves does not have it, or none serves. */
  #taskOf({ module, name }: TaskState): BoundTask | undefined {
    return this.#options.modules().get(module)?.live?.tasks.get(name);
  }

  // ---- a run ----

  async #run(state: TaskState, run: TaskRun): Promise<TaskOutcome> {
    const { task } = state;
    const startedAt = performance.now();
    const startedAtMs = this.#clock.now();
    const underWay: NonNullable<TaskState["underWay"]> = { startedAtMs, task, givenUpAt: null };
    state.underWay = underWay;
    state.runs++;
    const begun = this.#options.run(task, run);
    void begun.ended.then(() => {
      if (state.underWay === underWay) state.underWay = null;
      this.#ended();
    });
    let error: string | null = null;
    try {
      await begun.answer;
    } catch (thrown) {
      error = this.#failed(state, thrown as ServiceError);
      underWay.givenUpAt = performance.now() + LATE_FACTOR * this.#options.limitMs(task);
    }
    this.#ended();
    const durationMs = Math.round((performance.now() - startedAt) * 1000) / 1000;
    state.last = { at: new Date(startedAtMs).toISOString(), why: run.why, durationMs, error };
    return { module: state.module, task: state.name, version: task.generation.number, durationMs, error };
  }

  #failed(state: TaskState, error: ServiceError): string {
    state.failures++;
    const text = messageOf(error);
    // The other failures were logged with the module's own error.
    if (error.code !== "FAILED" && error.code !== "TIMEOUT") {
      const { name: module, number: generation } = state.task.generation;
      this.#options.log.withFields({ module, generation }).warn(`its task "${state.name}" failed: ${text}`);
    }
    return text;
  }

  #ended(): void {
    if (!this.#isRunning()) this.#idle?.();
  }

  /** Whether a run is under way that has time left. */
  #isRunning(): boolean {
    for (const states of this.#states.values())
      for (const { underWay } of states.values()) if (underWay?.givenUpAt === null) return true;
    return false;
  }

  // ---- the file ----

  #write(isLeaving: boolean): void {
    const { file, log } = this.#options;
    const nowMs = this.#clock.now();
    const all: TaskRecords = new Map([...this.#records].map(([module, records]) => [module, new Map(records)]));
    for (const [module, states] of this.#states) {
      const records = all.get(module) ?? new Map();
      for (const state of states.values()) records.set(state.name, state.record(this.#busy(state, isLeaving)));
      all.set(module, records);
    }
    try {
      writeRecords(file, all, nowMs);
      this.#hasFailedToWrite = false;
    } catch (error) {
      if (this.#hasFailedToWrite) return;
      this.#hasFailedToWrite = true;
      log
        .withFields({ error })
        .warn(
          `the file of the schedules cannot be written, so a restart will not make up missed runs: ${messageOf(error)}`,
        );
    }
  }

  #busy({ underWay }: TaskState, isLeaving: boolean): { pid: number; untilMs: number } | undefined {
    if (!isLeaving || underWay === null) return undefined;
    const limitMs = this.#options.limitMs(underWay.task);
    const untilMs = limitMs === 0 ? Number.MAX_SAFE_INTEGER : underWay.startedAtMs + limitMs;
    return { pid: process.pid, untilMs };
  }

  #noTask(module: string, name: string): UserError {
    const modules = this.#options.modules();
    const code = "NO_SUCH_TASK";
    const entry = modules.get(module);
    const able = [...modules].filter(([, { live }]) => (live?.tasks.size ?? 0) > 0).map(([each]) => each);
    const listed = able.length === 0 ? "No module has a schedule." : `Modules with a schedule: ${able.join(", ")}.`;
    if (entry === undefined) return new UserError(`There is no module "${module}".`, { code, hint: listed });
    if (entry.live === null)
      return new UserError(`No version of module "${module}" serves.`, { code, hint: "`hrmr status` tells why." });
    const tasks = [...entry.live.tasks.keys()].map((each) => JSON.stringify(each)).join(", ");
    const hint = tasks === "" ? listed : `It has ${tasks}.`;
    return new UserError(`Module "${module}" has no task "${name}".`, { code, hint });
  }
}
