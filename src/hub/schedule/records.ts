/**
 * The file of the schedules, `schedule.json` in the data folder: how far each task is, so that another process of the
 * server, or its next start, goes on from there. It is replaced whole, without fsync: after a power cut it may be a few
 * runs old.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { makePrivateFolder, PRIVATE_FILE } from "../../system/private-files";

/** The last run of a task. */
export interface LastRun {
  /** ISO 8601. */
  readonly at: string;
  readonly why: "due" | "missed" | "asked";
  readonly durationMs: number;
  /** Why it failed; null: it did not. */
  readonly error: string | null;
}

export interface TaskRecord {
  /** All due times up to this one are handled. In milliseconds since 1970. */
  readonly mark: number;
  /** Its `when` and time zone. */
  readonly when: string;
  readonly last?: LastRun;
  /** A run goes on in a process that has left, at most until this time, in milliseconds since 1970. */
  readonly busy?: { readonly pid: number; readonly untilMs: number };
}

/** By module and task. */
export type TaskRecords = Map<string, Map<string, TaskRecord>>;

/** The file's name in the data folder. */
export const RECORDS_FILE = "schedule.json";
/** Records of tasks that no longer exist are dropped after this time. */
const MAX_AGE_MS = 400 * 86_400_000;

/** @returns none if there is no such file, or it cannot be read: the tasks begin anew then */
export function readRecords(file: string): TaskRecords {
  try {
    const { version, tasks } = JSON.parse(readFileSync(file, "utf8")) as { version: number; tasks: object };
    if (version !== 1) return new Map();
    return new Map(
      Object.entries(tasks).map(([module, records]) => [
        module,
        new Map(Object.entries(records as object).filter((each): each is [string, TaskRecord] => isRecord(each[1]))),
      ]),
    );
  } catch {
    return new Map();
  }
}

/** @throws Error an error of writing */
export function writeRecords(file: string, records: TaskRecords, nowMs: number): void {
  const tasks: Record<string, Record<string, TaskRecord>> = Object.create(null);
  for (const [module, all] of records) {
    const kept = [...all].filter(([, { mark }]) => mark > nowMs - MAX_AGE_MS);
    if (kept.length > 0) tasks[module] = Object.fromEntries(kept);
  }
  makePrivateFolder(dirname(file));
  const temporary = `${file}.${process.pid}.tmp`;
  writeFileSync(temporary, `${JSON.stringify({ version: 1, tasks })}\n`, { mode: PRIVATE_FILE });
  renameSync(temporary, file);
}

function isRecord(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { mark, when, last, busy } = value as Record<string, unknown>;
  const isObjectOrNone = (each: unknown): boolean =>
    each === undefined || (typeof each === "object" && each !== null && !Array.isArray(each));
  return Number.isFinite(mark) && typeof when === "string" && isObjectOrNone(last) && isObjectOrNone(busy);
}
