/** Entry of a pool thread: loads generations and runs their handlers, as the main thread says. */
import { registerHrmrModule } from "../module/api";
import type { Handle, Log } from "../module/contract";
import { describeError, ModuleError } from "../module/describe-error";
import { type LoadedModule, loadModule } from "../module/load";
import { errorData, type LogFields } from "../observe/log-fields";
import { showValue } from "../observe/log-format";
import type { LoadSpec } from "./spec";
import { type CallBatch, failureOf, type ReplyBatch, type ToMain, type ToWorker } from "./messages";
import { type Resident, WorkerCalls } from "./worker-calls";
import { fetchHandler } from "./worker-fetch";
import { PoolResponse } from "./worker-response";

/** The part of a Worker's global scope that is used here; the DOM's types are not loaded. */
interface WorkerScope {
  onmessage: ((event: { data: CallBatch | ToWorker }) => void) | null;
  postMessage(data: ReplyBatch | ToMain): void;
}

const scope = globalThis as unknown as WorkerScope;
const post = (message: ToMain): void => scope.postMessage(message);

interface ThreadLog extends Log {
  withFields(fields: LogFields): ThreadLog;
}

/** @param place stands before each message */
function makeLog(fields: LogFields, place: string): ThreadLog {
  const say =
    (level: "debug" | "info" | "warn" | "error") =>
    (...values: unknown[]): void => {
      const thrown = fields.error ?? values.find((value) => value instanceof Error);
      // Copied here: on its way to the main thread an error would lose what it has of its own.
      const error = thrown === undefined ? {} : { error: errorData(thrown) };
      post({ type: "log", level, text: place + values.map((value) => showValue(value, false)).join(" "), fields: { ...fields, ...error } });
    };
  return {
    debug: say("debug"),
    info: say("info"),
    warn: say("warn"),
    error: say("error"),
    withFields: (more) => makeLog({ ...fields, ...more }, place),
  };
}

const log = makeLog({}, "");

const GLOBALS = { Response: PoolResponse };

let calls: WorkerCalls;
let host: number;
let loadTimeoutMs: number;

scope.onmessage = ({ data }) => {
  if (Array.isArray(data)) calls.receive(data);
  else obey(data);
};

// What escapes a module's graph (a listener on `process`, say) must not end the thread and other modules' calls with it.
process.on("uncaughtException", (error) => log.error(`uncaught on pool thread ${host}: ${describeThrown(error)}`));
process.on("unhandledRejection", (error) => log.error(`unhandled rejection on pool thread ${host}: ${describeThrown(error)}`));

function obey(message: ToWorker): void {
  switch (message.type) {
    case "init":
      ({ host, loadTimeoutMs } = message);
      calls = new WorkerCalls(
        message.shared,
        (batch) => scope.postMessage(batch),
        (seq, parts) => post({ type: "want", seq, parts }),
      );
      return registerHrmrModule();
    case "load":
      return answer(load(message.spec, message.previousId));
    case "retire":
      return answer(retire(message.id));
    case "cancel":
      return calls.cancel(message.seq, message.reason);
    case "credit":
      return calls.addCredit(message.seq);
    case "part":
      return calls.receiveBody(message.seq, message.part);
    case "ping":
      return post({ type: "pong", ping: message.ping });
  }
}

function answer(work: Promise<string[]>): void {
  work.then(
    (notes) => post({ type: "done", notes }),
    (error) => post({ type: "failed", module: error instanceof ModuleError ? error.toData() : null, error: failureOf(error) }),
  );
}

async function load(spec: LoadSpec, previousId: number | null): Promise<string[]> {
  const own = makeLog({ module: spec.name, generation: spec.generation }, `on pool thread ${host}: `);
  const onError = (error: unknown, kind: string): void => own.withFields({ error }).error(`${kind}: ${describeThrown(error)}`);
  const module = await loadModule(spec, { globals: GLOBALS, host, log: own, onError, timeoutMs: spec.loadMs ?? loadTimeoutMs });
  try {
    const notes: string[] = [];
    const handed = await handoffFrom(previousId, notes);
    post({ type: "stage" });
    await module.start(handed);
    calls.residents.set(spec.id, residentOf(module));
    return notes;
  } catch (error) {
    await module.dispose();
    throw error;
  }
}

async function handoffFrom(previousId: number | null, notes: string[]): Promise<unknown> {
  const previous = previousId === null ? undefined : calls.residents.get(previousId);
  if (previous === undefined) return undefined;
  post({ type: "stage" });
  const handed = await previous.module.handoff();
  if (handed === null) return undefined;
  if ("data" in handed) return handed.data;
  notes.push(`its state was not handed over on pool thread ${host}: ${handed.error}`);
  return undefined;
}

async function retire(id: number): Promise<string[]> {
  const resident = calls.residents.get(id);
  calls.residents.delete(id);
  await resident?.module.dispose();
  collectSoon();
  return [];
}

let isCollectDue = false;

/** An old graph is garbage that only a full collection finds. It waits a little, so that a reload of many modules pays for one. */
function collectSoon(): void {
  if (isCollectDue) return;
  isCollectDue = true;
  setTimeout(() => {
    isCollectDue = false;
    Bun.gc(true);
  }, 20);
}

function residentOf(module: LoadedModule): Resident {
  const handlers: (Handle | undefined)[] = [];
  for (const { spec, handler } of module.shape.routes) {
    // A "handle" route holds a Handle: readShape checked it.
    if (spec.run !== "pool") continue;
    if (spec.kind === "handle") handlers[spec.index] = handler as unknown as Handle;
    else if (spec.kind === "fetch") handlers[spec.index] = fetchHandler(spec.key, handler as unknown as Parameters<typeof fetchHandler>[1]);
  }
  return { module, handlers, context: module.context };
}

function describeThrown(error: unknown): string {
  return error instanceof Error ? String(error.stack) : describeError(error);
}
