/**
 * Loads a new version first in a Worker, where it can do no harm. An endless loop at top level stops its thread for
 * ever, but a Worker can be ended.
 */
import type { LoadSpec } from "../version";
import { ModuleError, thrownError, wholeFileError, type ModuleErrorData } from "../graph/describe-error";
import { loadModule } from "../graph/load";

/** The Worker's own side of its channel. */
export interface ProbePort {
  postMessage(message: ProbeAnswer | typeof READY): void;
  addEventListener(type: "message", listener: (event: MessageEvent<ProbeRequest>) => void): void;
}

const READY = "ready";

interface ProbeRequest {
  readonly spec: LoadSpec;
  readonly timeoutMs: number;
}

interface ProbeAnswer {
  readonly id: number;
  /** null: the version can be loaded. */
  readonly error: ModuleErrorData | null;
}

interface ProbeOptions {
  /**
   * From the request to the answer, without the thread's own start. In milliseconds. Default 5000. 0 waits for ever.
   */
  readonly loadTimeoutMs?: number;
  /**
   * Default: probe-worker beside this file; in the compiled binary all entries lie side by side (--entry-naming
   * '[name].[ext]').
   */
  readonly workerUrl?: string;
  /** How long the thread may take to begin. In milliseconds. Default 10000. */
  readonly startMs?: number;
}

const DEFAULT_TIMEOUT_MS = 5000;
/** Limit for the thread's own start, which runs only hrmr's code. In milliseconds. */
const START_MS = 10_000;
// The Worker's own deadline reports a top-level await with the module's name. This much later, only a loop can be the
// reason.
const GRACE_MS = 250;
// A collection stops the thread for some milliseconds. It comes after a burst of checks, and from time to time during a
// long one.
const IDLE_GC_MS = 200;
const CHECKS_PER_GC = 20;

/**
 * Loads bundles in one Worker, one after another. The Worker starts with the first check and stays. It does not keep
 * the process alive.
 */
export class Probe {
  readonly #timeoutMs: number;
  readonly #workerUrl: string;
  readonly #startMs: number;
  #worker: Promise<Worker> | null = null;
  #last: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(options: ProbeOptions = {}) {
    this.#timeoutMs = options.loadTimeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#workerUrl = options.workerUrl ?? new URL("./probe-worker.ts", import.meta.url).href;
    this.#startMs = options.startMs ?? START_MS;
  }

  /**
   * Imports the bundle and checks its shape; runs none of its lifecycle functions.
   *
   * @throws ModuleError why this version must not be loaded; a plain Error if the Worker cannot be started or the probe
   *   was closed
   */
  check(spec: LoadSpec): Promise<void> {
    const checked = this.#last.then(() => this.#check(spec));
    this.#last = checked.catch(() => undefined);
    return checked;
  }

  /** Ends the Worker; a check under way is rejected. */
  close(): void {
    this.#isClosed = true;
    void this.#worker?.then((worker) => worker.terminate());
    this.#worker = null;
  }

  async #check(spec: LoadSpec): Promise<void> {
    if (this.#isClosed) throw new Error("The probe is closed");
    this.#worker ??= startWorker(this.#workerUrl, this.#startMs);
    const starting = this.#worker;
    try {
      await askWorker(await starting, spec, spec.loadMs ?? this.#timeoutMs);
    } catch (error) {
      // The Worker survives only its own answers.
      if (!(error instanceof LoadRefused)) await this.#discard(starting);
      throw error instanceof LoadRefused || error instanceof WorkerGone ? error.cause : error;
    }
  }

  async #discard(starting: Promise<Worker>): Promise<void> {
    if (this.#worker === starting) this.#worker = null;
    await starting.then((worker) => worker.terminate()).catch(() => undefined);
  }
}

/** The Worker's answer about a version that it could not load. */
class LoadRefused extends Error {}

/** The Worker gave no answer. `cause` is the conclusion about the version. */
class WorkerGone extends Error {}

async function startWorker(url: string, startMs: number): Promise<Worker> {
  const started = Promise.withResolvers<Worker>();
  const worker = new Worker(url, { name: "hrmr probe", env: { ...process.env } as Record<string, string> });
  const timer = setTimeout(() => {
    started.reject(new Error(`Cannot start the probe thread: it did not begin within ${startMs} ms`));
    worker.terminate();
  }, startMs);
  // Not "open": that comes even if the file is missing.
  worker.addEventListener("message", () => started.resolve(worker), { once: true });
  worker.addEventListener(
    "error",
    (event) => started.reject(new Error(`Cannot start the probe thread: ${event.message}`)),
    { once: true },
  );
  worker.addEventListener("close", () => started.reject(new Error("Cannot start the probe thread: it ended at once")), {
    once: true,
  });
  try {
    return await started.promise;
  } finally {
    clearTimeout(timer);
    worker.unref();
  }
}

function askWorker(worker: Worker, spec: LoadSpec, timeoutMs: number): Promise<void> {
  const answered = Promise.withResolvers<void>();
  // It may be rejected before anybody waits for it.
  answered.promise.catch(() => {});
  const gone = (message: string): void =>
    answered.reject(new WorkerGone(message, { cause: wholeFileError(spec.name, spec.source, message) }));
  const onMessage = ({ data }: MessageEvent<ProbeAnswer>): void => {
    // The answer to an abandoned check.
    if (data.id !== spec.id) return;
    if (data.error === null) answered.resolve();
    else answered.reject(new LoadRefused(data.error.message, { cause: ModuleError.fromData(data.error) }));
  };
  const onClose = (event: CloseEvent): void =>
    gone(`ended its thread while loading, with exit code ${event.code} (process.exit?)`);
  const onDeadline = (): void =>
    gone(`did not finish loading within ${timeoutMs} ms: an endless loop, or a top-level await that never settles`);
  const timer = timeoutMs === 0 ? undefined : setTimeout(onDeadline, timeoutMs + GRACE_MS);
  worker.addEventListener("message", onMessage);
  worker.addEventListener("close", onClose);
  // An idle thread does not keep the process alive. A thread that owes an answer does.
  worker.ref();
  worker.postMessage({ spec, timeoutMs } satisfies ProbeRequest);
  return answered.promise.finally(() => {
    clearTimeout(timer);
    worker.removeEventListener("message", onMessage);
    worker.removeEventListener("close", onClose);
    worker.unref();
  });
}

/**
 * The Worker's side: answers each request in its turn.
 *
 * @param globals  as for `loadModule`
 */
export function serveProbe(port: ProbePort, globals: Record<string, unknown>): void {
  let idle: Timer | undefined;
  let checks = 0;
  // Remains of module code (a rejection after its graph is gone) must not end the thread.
  process.on("uncaughtException", () => undefined);
  process.on("unhandledRejection", () => undefined);
  port.addEventListener("message", async ({ data }) => {
    clearTimeout(idle);
    const error = await probeLoad(data.spec, { globals, timeoutMs: data.timeoutMs });
    port.postMessage({ id: data.spec.id, error });
    if (++checks % CHECKS_PER_GC === 0) Bun.gc(true);
    else idle = setTimeout(() => Bun.gc(true), IDLE_GC_MS);
  });
  port.postMessage(READY);
}

/** Loads a version in this thread and drops it. @returns its error, or null */
async function probeLoad(
  spec: LoadSpec,
  options: { globals: Record<string, unknown>; timeoutMs: number },
): Promise<ModuleErrorData | null> {
  let stray: unknown = NOTHING;
  const onError = (error: unknown): void => {
    if (stray === NOTHING) stray = error;
  };
  try {
    const globals = { console: SILENT_CONSOLE, ...options.globals };
    const module = await loadModule(spec, {
      globals,
      timeoutMs: options.timeoutMs,
      host: "main",
      log: SILENT,
      onError,
    });
    await module.dispose();
    return stray === NOTHING ? null : thrownError(spec.name, spec.source, stray, "while loading").toData();
  } catch (error) {
    return thrownError(spec.name, spec.source, error, "").toData();
  }
}

const NOTHING = Symbol("nothing");
const ignore = (): void => undefined;
// Lines that a module prints at top level appear when it is really loaded.
const SILENT_CONSOLE = Object.fromEntries(Object.keys(console).map((name) => [name, ignore]));
const SILENT = { debug: ignore, info: ignore, warn: ignore, error: ignore };
