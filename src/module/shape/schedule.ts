/** Checks a module's `schedule` and brings each task into one form: a function of a context and a run. */
import type { TaskContext, TaskRun } from "../contract";
import { isThenable } from "../graph/returned";
import type { RunsOn, TaskSpec } from "../route";
import { type Fields, isObject, kindOf, refuseUnknown, shapeError, shown, type Wrong } from "./errors";
import type { HostSettings } from "./settings";
import { checkTimeZone, isInterval, looksLikeWhen, parseWhen, WhenError } from "./when";

/** A task with the author's function. Call it through the graph's `run`. */
export interface ShapedTask {
  readonly spec: TaskSpec;
  /** Calls the author's function, and drops its result. */
  readonly handler: (run: TaskRun, context: TaskContext) => unknown;
}

/** The longest time of a timer. In milliseconds. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
const MAX_NAME_LETTERS = 128;
const OPTIONS = ["when", "run", "timeZone", "catchUp", "timeoutMs", "description"];
const EXAMPLE = 'schedule: { "every 10s": (context) => tidy(context) }';

/**
 * @param run      where the tasks run: as `start` does
 * @param settings `timeouts.handlerMs` of the module's settings is the default of `timeoutMs`, as for routes
 */
export function readSchedule(name: string, schedule: unknown, run: RunsOn, settings: HostSettings): ShapedTask[] {
  if (schedule === undefined) return [];
  if (!isObject(schedule) || Array.isArray(schedule))
    throw shapeError(name, `"schedule" is ${kindOf(schedule)}. Write ${EXAMPLE}`);
  return Object.entries(schedule).map(([key, task], index) => readTask(name, key, task, { index, run, settings }));
}

interface TaskPlace {
  readonly index: number;
  readonly run: RunsOn;
  readonly settings: HostSettings;
}

function readTask(module: string, name: string, task: unknown, { index, run, settings }: TaskPlace): ShapedTask {
  const wrong: Wrong = (problem) => shapeError(module, `task ${shown(name)}${problem}`);
  // eslint-disable-next-line no-control-regex -- names are printed, and typed into a shell
  if (name.trim() === "" || name.length > MAX_NAME_LETTERS || /[\x00-\x1f\x7f]/.test(name))
    throw wrong(` cannot have that name. Take 1 to ${MAX_NAME_LETTERS} letters, such as "tidy"`);
  const options: Fields = typeof task === "function" ? { run: task } : (task as Fields);
  if (!isObject(options))
    throw wrong(` is ${kindOf(task)}. Write a function, or an object with "when" and "run": ${EXAMPLE}`);
  refuseUnknown(wrong, options, OPTIONS);
  if (typeof options.run !== "function") throw wrong(`: "run" is ${kindOf(options.run)}, and must be a function`);
  const spec: TaskSpec = {
    name,
    index,
    run,
    ...readTimes(wrong, name, options),
    catchUp: readFlag(wrong, "catchUp", options.catchUp),
    timeoutMs: readTimeout(wrong, options.timeoutMs) ?? settings.handlerMs,
    description: readText(wrong, options.description),
  };
  const handler: ShapedTask["handler"] = (given, context) => {
    // As a method of its definition, since it may use `this`.
    const result = (options as unknown as Runs).run(context, given);
    return isThenable(result) ? Promise.resolve(result).then(() => undefined) : undefined;
  };
  return { spec, handler };
}

interface Runs {
  run(context: TaskContext, run: TaskRun): unknown;
}

function readTimes(wrong: Wrong, name: string, options: Fields): Pick<TaskSpec, "when" | "timeZone"> {
  const { timeZone = null } = options;
  const { when = looksLikeWhen(name) ? name : undefined } = options;
  if (when === undefined)
    throw wrong(
      ` does not say when it runs. Write { when: "*/5 * * * *", run }, or take the time as its key: ${EXAMPLE}`,
    );
  if (typeof when !== "string")
    throw wrong(`: "when" is ${kindOf(when)}, and must be a string, such as "every 10s" or "*/5 * * * *"`);
  if (timeZone !== null && typeof timeZone !== "string")
    throw wrong(`: "timeZone" is ${kindOf(timeZone)}, and must be an IANA name, such as "Europe/Berlin"`);
  try {
    if (timeZone !== null) checkTimeZone(timeZone);
  } catch (error) {
    throw wrong(`: "timeZone" ${shown(timeZone)} ${textOf(error)}`);
  }
  try {
    parseWhen(when, timeZone);
  } catch (error) {
    throw wrong(options.when === undefined ? ` ${textOf(error)}` : `: "when" ${shown(when)} ${textOf(error)}`);
  }
  if (timeZone !== null && isInterval(when))
    throw wrong(`: "timeZone" has no meaning for an interval. Leave it out, or write a cron line`);
  return { when: when.trim(), timeZone };
}

function textOf(error: unknown): string {
  if (error instanceof WhenError) return error.message;
  throw error;
}

function readTimeout(wrong: Wrong, timeoutMs: unknown): number | undefined {
  if (timeoutMs === undefined) return undefined;
  if (typeof timeoutMs === "number" && timeoutMs >= 0 && timeoutMs <= MAX_TIMEOUT_MS) return timeoutMs;
  throw wrong(`: "timeoutMs" is ${shown(timeoutMs)}, and must be a number from 0 (no limit) to ${MAX_TIMEOUT_MS}`);
}

function readText(wrong: Wrong, text: unknown): string {
  if (text === undefined) return "";
  if (typeof text === "string") return text;
  throw wrong(`: "description" is ${kindOf(text)}, and must be a string`);
}

function readFlag(wrong: Wrong, option: string, flag: unknown): boolean {
  if (flag === undefined || typeof flag === "boolean") return flag ?? false;
  throw wrong(`: "${option}" is ${shown(flag)}, and must be true or false`);
}
