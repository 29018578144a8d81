/** One task over all versions of its module: its due times, the run under way, and counts. */
import type { TaskRun } from "../../module/contract";
import type { BoundTask } from "../../module/route";
import { isInterval, parseWhen, type When } from "../../module/shape/when";
import type { TaskSnapshot } from "../../observe/snapshot";
import { DueTimes, resumedMark } from "./due";
import type { LastRun, TaskRecord } from "./records";

/** A run under way. */
interface UnderWay {
  readonly startedAtMs: number;
  readonly task: BoundTask;
  /** Its time is over, and its code goes on. By performance.now(): when it is given up. null: it has time left. */
  givenUpAt: number | null;
}

const NEVER: When = { next: () => null };

export class TaskState {
  readonly module: string;
  readonly name: string;
  /** Of the newest version that serves. */
  task: BoundTask;
  underWay: UnderWay | null = null;
  /** A run of another process that has left, and may still go on there. */
  elsewhere: { readonly pid: number; readonly untilMs: number } | null = null;
  last: LastRun | null;
  runs = 0;
  failures = 0;
  skipped = 0;
  #timeZone: string | null;
  #key: string;
  #due: DueTimes;

  /**
   * @param timeZone for tasks without one of their own; null: the system's
   * @param record   from before; null: none
   */
  constructor(task: BoundTask, timeZone: string | null, record: TaskRecord | null, nowMs: number) {
    this.module = task.module;
    this.name = task.key;
    this.task = task;
    this.#timeZone = timeZone;
    this.#key = keyOf(task, timeZone);
    this.#due = dueTimes(task, timeZone, record, nowMs);
    this.last = record?.last ?? null;
    this.elsewhere = record?.busy ?? null;
  }

  /** Brings it to the version that serves. @param wasAway no version has had it for a while */
  renew(task: BoundTask, timeZone: string | null, nowMs: number, wasAway: boolean): void {
    if (task === this.task && timeZone === this.#timeZone) return;
    this.task = task;
    this.#timeZone = timeZone;
    const key = keyOf(task, this.#timeZone);
    if (key === this.#key && !wasAway) return;
    this.#due = dueTimes(task, this.#timeZone, { mark: this.#due.mark, when: this.#key }, nowMs);
    this.#key = key;
  }

  get nextAt(): number | null {
    return this.#due.nextAt;
  }

  take(nowMs: number): number | null {
    return this.#due.take(nowMs);
  }

  /** @param nowPerf by performance.now() @returns whether a run would be beside another one */
  isBusy(nowMs: number, nowPerf: number): boolean {
    if (this.elsewhere !== null && (nowMs >= this.elsewhere.untilMs || !isAlive(this.elsewhere.pid)))
      this.elsewhere = null;
    if (this.underWay !== null && isGivenUp(this.underWay, nowPerf)) this.underWay = null;
    return this.elsewhere !== null || this.underWay !== null;
  }

  runFor(why: TaskRun["why"], dueAtMs: number): TaskRun {
    return { task: this.name, why, dueAt: new Date(dueAtMs) };
  }

  /** @param busy the process leaves, and the run under way goes on in it until then; null: it does not leave */
  record(busy: TaskRecord["busy"]): TaskRecord {
    const { last } = this;
    return {
      mark: this.#due.mark,
      when: this.#key,
      ...(last === null ? null : { last }),
      ...(busy === undefined ? null : { busy }),
    };
  }

  snapshot(): TaskSnapshot {
    const { when, timeZone, catchUp, description } = this.task.task;
    return {
      name: this.name,
      when,
      timeZone: isInterval(when) ? null : (timeZone ?? this.#timeZone),
      catchUp,
      description,
      isRunning: this.underWay !== null,
      nextAt: this.nextAt === null ? null : new Date(this.nextAt).toISOString(),
      last: this.last,
      runs: this.runs,
      failures: this.failures,
      skipped: this.skipped,
    };
  }
}

function dueTimes(task: BoundTask, zone: string | null, record: TaskRecord | null, nowMs: number): DueTimes {
  const { catchUp } = task.task;
  return new DueTimes(whenOf(task, zone), resumedMark(record, keyOf(task, zone), catchUp, nowMs));
}

/** The shape was checked; a line such as 29 February of one year only may have come to its end since. */
function whenOf({ task: { when, timeZone } }: BoundTask, zone: string | null): When {
  try {
    return parseWhen(when, timeZone ?? zone);
  } catch {
    return NEVER;
  }
}

function keyOf({ task: { when, timeZone } }: BoundTask, zone: string | null): string {
  return isInterval(when) ? when : `${when} ${timeZone ?? zone ?? ""}`.trim();
}

function isGivenUp({ givenUpAt, task }: UnderWay, nowPerf: number): boolean {
  // The code of a version that is disposed goes on no more.
  return givenUpAt !== null && (nowPerf >= givenUpAt || task.generation.isDisposed);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
