/** Begins a run of a task: like a call of a service, whose caller is the schedule. */
import { type CallServer, handlerMs } from "../../host/inline";
import type { TaskRun } from "../../module/contract";
import { isThenable } from "../../module/graph/returned";
import type { BoundTask } from "../../module/route";
import type { ServiceAnswer } from "../../module/service/calls";
import { Carried } from "../../module/service/values";
import { promised } from "../answer";
import type { FoundCall } from "../found-call";

/** A run that was begun. */
export interface BegunRun {
  /** Rejects with a ServiceError. */
  readonly answer: Promise<unknown>;
  /** Its code has ended, which may be later if it takes no notice of its deadline. Never rejects. */
  readonly ended: Promise<void>;
}

type Handler = (input: unknown, context: unknown) => unknown;
const SCHEDULE = { module: "schedule", generation: 0 };
const NO_LIMITS = { frame: null, timeoutMs: undefined, signal: undefined };

/** @param begin carries the call. Never throws. */
export function beginTask(
  task: BoundTask,
  run: TaskRun,
  server: CallServer,
  begin: (found: FoundCall, answer: ServiceAnswer) => unknown,
): BegunRun {
  const ended = Promise.withResolvers<void>();
  const over = (): void => ended.resolve();
  let isCalled = false;
  const tracked = (input: unknown, context: unknown): unknown => {
    isCalled = true;
    try {
      const result = (task.handler as Handler)(input, context);
      if (isThenable(result)) result.then(over, over);
      else over();
      return result;
    } catch (error) {
      over();
      throw error;
    }
  };
  const order = { caller: SCHEDULE, module: task.module, service: task.key, input: Carried.of(run), ...NO_LIMITS };
  const limitMs = handlerMs(server, task);
  const askedAt = performance.now();
  const deadlineAt = limitMs === 0 ? Infinity : askedAt + limitMs;
  const service = { ...task, handler: tracked };
  const name = `the task "${task.key}" of module "${task.module}"`;
  const answer = promised((to) => begin({ order, service, name, deadlineAt, server, askedAt }, to));
  // In another host, code that is late ends with its place.
  if (!isCalled) answer.then(over, over);
  return { answer, ended: ended.promise };
}
