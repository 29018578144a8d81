/** Loads one version of a module into a graph of its own, and ends it again. */
import { placeOf, readPlace } from "../../config/places";
import { messageOf } from "../../config/user-error";
import { readdirSync, readlinkSync, statSync } from "node:fs";
import type { LoadSpec } from "../version";
import type { ModuleContext, StopReason, StoreTransaction } from "../contract";
import { type ContextSources, makeContext } from "./context";
import { underDeadline } from "../../system/deadline";
import { applyEnvironment } from "../../system/environment";
import { ModuleError, thrownError, wholeFileError } from "./describe-error";
import { claimGlobals, globalsNow, globalsOf, removeListenersOf, watchSharedObjects } from "./globals-watch";
import { cutRequestsOf, watchRequests } from "./requests";
import { GraphTimers } from "./timers";
import type { LeftBehind } from "./leaks";
import { leadsTo } from "../build/links";
import { isC } from "../c/sources";
import { Mark, MARKS, MODULE, NO_ROUTE, ROUTE } from "./marks";
import { isSchema, readConfig, SettingsError } from "../shape/config";
import { callsServices, withFrames } from "../service/framed";
import { type ModuleShape, readShape } from "../shape/shape";
import { migrate, MigrationError } from "./migrate";

interface LoadOptions extends ContextSources {
  /** Global names of the module that differ from the server's: Request, Response, fetch. */
  readonly globals: Record<string, unknown>;
  /** An error or a rejection that module code left unhandled. */
  readonly onError: (error: unknown, kind: string) => void;
  /**
   * For the import, for setup and check together, for start, stop, handoff and dispose each. In milliseconds. 0 waits
   * for ever.
   */
  readonly timeoutMs: number;
}

/** The result of `handoff`: data for the next setup, or why there is none. */
export type Handoff = { readonly data: unknown } | { readonly error: string };

/** One version of a module in one host. Drop all references to it, and to its values, after `dispose`. */
export interface LoadedModule {
  readonly shape: ModuleShape;
  /** The authors' context argument. `state` is undefined before `start`. */
  readonly context: ModuleContext;
  /** Calls `fn` inside the graph. @throws what `fn` throws; ERR_INVALID_STATE after `dispose` */
  run<A extends unknown[], R>(fn: (...args: A) => R, ...args: A): R;
  /**
   * Runs the migrations that the store has not had yet, in their order.
   *
   * @param onRan gets the name of each that has run
   * @throws ModuleError that names the first that failed; those before it stay
   */
  migrate(onRan: (name: string) => void): Promise<void>;
  /** Runs setup, then check. Rejects with a ModuleError; the caller then disposes. */
  start(handoff: unknown): Promise<void>;
  /**
   * Runs the author's `start`, from the present turn of the loop on. Rejects with a ModuleError. Then it may be called
   * again; it waits twice for a `start` that was late and has not ended.
   */
  goLive(): Promise<void>;
  /** Runs the author's `stop`, from the present turn of the loop on. Rejects with a ModuleError. */
  endLife(reason: StopReason): Promise<void>;
  /** null: the module has no `handoff`. Never rejects. */
  handoff(): Promise<Handoff | null>;
  /**
   * Runs the author's dispose, then closes what the module opened. Idempotent. Never rejects: a failing dispose is
   * logged.
   *
   * @returns the things that dispose had left open
   */
  dispose(): Promise<LeftBehind>;
  /** Empty once the module's code is out of memory. null: its code is not in this process. */
  readonly remains: WeakRef<object> | null;
  /** @param count the number of calls that have not answered yet, for the watchdog in another thread (`running.ts`) */
  noteUnderWay(count: number): void;
}

/**
 * Imports the bundle of `spec` into a new graph and checks its shape. Runs none of its lifecycle functions.
 *
 * @throws ModuleError for a throw at top level, a load that does not end in time, or a wrong shape; the graph is
 *   disposed then
 */
export async function loadModule(spec: LoadSpec, options: LoadOptions): Promise<LoadedModule> {
  watchSharedObjects();
  watchRequests();
  applyEnvironment(spec.environment, spec.id);
  const mark = new Mark({ module: spec.name, generation: spec.generation });
  const timers = new GraphTimers(mark);
  const graph = new Bun.ModuleGraph({ globals: { ...timers.globals, ...options.globals }, onError: options.onError });
  const before = globalsNow();
  // Bun remembers the first target of a link. A link above the state folder may have been switched since.
  const file = leadsTo(spec.file) || spec.file;
  try {
    const imported = mark.during(() => graph.import<ModuleExports>(`${file}?v=${spec.id}`));
    const exported = await inTime(imported, options.timeoutMs, spec, "did not finish loading", " (top-level await?)");
    const read = mark.run(NO_ROUTE, () => graph.run(readShapeOf, spec, exported), []);
    const config = mark.run(NO_ROUTE, () => graph.run(readConfig, spec.name, spec.config, read.schema), []);
    const shape = callsServices(file, read.services.length > 0) ? withFrames(read) : read;
    warnOfGlobals(spec, options.log, claimGlobals(mark.number, before));
    mark.nameRoutes([
      ...shape.routes.map(({ spec: { key } }) => key),
      ...shape.services.map(({ spec: { name } }) => name),
      ...shape.handlers.map(({ spec: { pattern } }) => pattern),
      ...shape.tasks.map(({ spec: { name } }) => name),
    ]);
    return new Loaded({ ...spec, config }, options, { graph, mark, timers, shape, remains: new WeakRef(exported) });
  } catch (error) {
    endGraph({ graph, mark, timers }, false);
    if (error instanceof SettingsError) throw settingsError(spec, error);
    throw thrownError(spec.name, spec.source, error, "");
  }
}

/** The result of a load. */
interface Parts extends GraphParts {
  readonly shape: ModuleShape;
  readonly remains: WeakRef<object>;
}

/** The exports of a module that count. */
interface ModuleExports {
  readonly default?: unknown;
  readonly middleware?: unknown;
  readonly config?: unknown;
}

function readShapeOf({ name, config, source }: LoadSpec, exported: ModuleExports): ModuleShape {
  // A module in C has no other host than its process, so its `start` needs no routes to find it.
  const settings = isC(source) ? { ...config, run: "process" } : config;
  const shape = readShape(name, exported.default, exported.middleware, settings);
  // An app has no definition. Another export of that name may be for another framework.
  return isSchema(exported.config) ? { ...shape, schema: shape.schema ?? exported.config } : shape;
}

/** Placed in the config file, not in the author's. */
function settingsError({ name, places = {} }: LoadSpec, { mistakes }: SettingsError): ModuleError {
  const lines = mistakes.map(({ path, message }) => ({ place: placeOf(places, ["modules", name, ...path]), message }));
  const [first, ...others] = lines;
  const { file, line, column } = readPlace(first?.place ?? "");
  return new ModuleError(
    name,
    first?.message ?? "",
    { file, line, column, frame: "" },
    others.map(({ place, message }) => `${place}: ${message}`),
  );
}

function warnOfGlobals(spec: LoadSpec, log: ContextSources["log"], names: readonly string[]): void {
  if (names.length === 0) return;
  log.warn(
    `Module "${spec.name}" set ${names.join(", ")} on globalThis: that is shared with all modules and outlives a reload. Export it, or keep it in the module.`,
  );
}

/**
 * How often a try waits for a `start` that was late, before it calls `start` again: two at a time would open everything
 * twice.
 */
const LATE_WAITS = 2;

class Loaded implements LoadedModule {
  readonly shape: ModuleShape;
  readonly context: ModuleContext;
  readonly remains: WeakRef<object>;
  readonly #parts: GraphParts;
  /** From `#parts`, for `run`. */
  readonly #graph: Bun.ModuleGraph;
  readonly #number: number;
  readonly #spec: LoadSpec;
  readonly #options: LoadOptions;
  /**
   * The part of this load that the context refers to. The context may live long after the load, and must not keep the
   * module's code in memory.
   */
  readonly #cell: { state: unknown } = { state: undefined };
  #hasStarted = false;
  /** The last call of `start`, if it has not failed, and how often a later try has waited for it. */
  #lastStart: { readonly work: Promise<unknown>; waits: number } | null = null;
  #ending: Promise<LeftBehind> | null = null;

  constructor(spec: LoadSpec, options: LoadOptions, { shape, remains, ...parts }: Parts) {
    this.#spec = spec;
    this.#options = options;
    this.#parts = parts;
    this.#graph = parts.graph;
    this.#number = parts.mark.number;
    this.shape = shape;
    this.remains = remains;
    const cell = this.#cell;
    this.context = makeContext(spec, options, () => cell.state);
  }

  /** Every message's call passes here. It is `Mark.run`, written out, with the route that the caller has noted. */
  run<A extends unknown[], R>(fn: (...args: A) => R, ...args: A): R {
    const before = MARKS[MODULE] as number;
    MARKS[MODULE] = this.#number;
    try {
      // Spread arguments cost two arrays a call until the function is optimised fully. Handlers have two arguments;
      // middleware and the handlers of WebSockets have three.
      const call = fn as (...args: unknown[]) => R;
      if (args.length === 2) return this.#graph.run(call, args[0], args[1]);
      if (args.length === 3) return this.#graph.run(call, args[0], args[1], args[2]);
      return this.#graph.run(fn, ...args);
    } finally {
      MARKS[MODULE] = before;
      MARKS[ROUTE] = NO_ROUTE;
    }
  }

  noteUnderWay(count: number): void {
    this.#parts.mark.noteUnderWay(count);
  }

  async migrate(onRan: (name: string) => void): Promise<void> {
    const { migrations } = this.shape;
    if (migrations.length === 0) return;
    const { name: module, generation: version, source } = this.#spec;
    const { timeoutMs } = this.#options;
    const byName = new Map(migrations.map((migration) => [migration.name, migration]));
    const run = (name: string, tx: StoreTransaction): unknown =>
      this.#parts.mark.during(async () => this.run(async () => await byName.get(name)?.run(tx)));
    try {
      await migrate(this.context.store, { module, version, names: [...byName.keys()], timeoutMs, run, onRan });
    } catch (error) {
      const failed = error instanceof MigrationError ? error : null;
      throw thrownError(module, source, failed?.cause ?? error, failed?.message ?? "its migrations could not run");
    }
  }

  async start(handoff: unknown): Promise<void> {
    const { timeoutMs } = this.#options;
    const startedMs = performance.now();
    const { definition } = this.shape;
    if (definition.setup !== undefined) {
      this.#cell.state = await this.#call("setup", timeoutMs, () => definition.setup?.(this.context, handoff));
    }
    this.#hasStarted = true;
    if (definition.check === undefined) return;
    const leftMs = timeoutMs === 0 ? 0 : Math.max(1, timeoutMs - (performance.now() - startedMs));
    const isAccepted = await this.#call("check", leftMs, () => definition.check?.(this.context));
    if (isAccepted === false) throw wholeFileError(this.#spec.name, this.#spec.source, "check returned false");
  }

  async goLive(): Promise<void> {
    const { definition } = this.shape;
    if (definition.start === undefined) return;
    await this.#call("start", this.#options.timeoutMs, () => this.#begun());
  }

  /** The author's `start`: a call that was late and may still succeed, or a new one. */
  #begun(): Promise<unknown> {
    const late = this.#lastStart;
    if (late !== null && late.waits++ < LATE_WAITS) return late.work;
    const { definition } = this.shape;
    const work = (async () => definition.start?.(this.context))();
    const begun = { work, waits: 0 };
    this.#lastStart = begun;
    work.catch(() => {
      if (this.#lastStart === begun) this.#lastStart = null;
    });
    return work;
  }

  async endLife(reason: StopReason): Promise<void> {
    const { definition } = this.shape;
    if (definition.stop === undefined) return;
    await this.#call("stop", this.#options.timeoutMs, () => definition.stop?.(this.context, reason));
  }

  async handoff(): Promise<Handoff | null> {
    const { definition } = this.shape;
    if (definition.handoff === undefined || !this.#hasStarted) return null;
    try {
      const data = await this.#call("handoff", this.#options.timeoutMs, () => definition.handoff?.(this.#cell.state));
      return { data: copyOf(data) };
    } catch (error) {
      return { error: messageOf(error) };
    }
  }

  dispose(): Promise<LeftBehind> {
    this.#ending ??= this.#dispose();
    return this.#ending;
  }

  async #dispose(): Promise<LeftBehind> {
    const { definition } = this.shape;
    try {
      // dispose must not undo a setup that did not finish.
      if (definition.dispose !== undefined && this.#hasStarted) {
        await this.#call("dispose", this.#options.timeoutMs, () => definition.dispose?.(this.#cell.state));
      }
    } catch (error) {
      const failed = thrownError(this.#spec.name, this.#spec.source, error, "");
      this.#options.log.warn(`${failed.message} (${failed.position})`);
    }
    this.#options.shared?.leave(this.#spec.id);
    const left = endGraph(this.#parts, typeof this.#options.host === "string");
    this.#cell.state = undefined;
    return left;
  }

  // Rejects with a ModuleError. The deadline's timer is the host's: a timer of the graph would end with it.
  async #call<R>(what: string, timeoutMs: number, fn: () => R | Promise<R>): Promise<Awaited<R>> {
    const { name, source } = this.#spec;
    const before = globalsNow();
    try {
      const running = this.#parts.mark.during(async () => this.run(fn));
      return await inTime(running, timeoutMs, this.#spec, `${what} did not finish`, "");
    } catch (error) {
      throw thrownError(name, source, error, `${what} failed`);
    } finally {
      claimGlobals(this.#parts.mark.number, before);
    }
  }
}

function copyOf(data: unknown): unknown {
  try {
    return structuredClone(data);
  } catch (cause) {
    throw new Error(`handoff returned data that cannot be copied: ${messageOf(cause)}`, { cause });
  }
}

function inTime<T>(work: Promise<T>, timeoutMs: number, spec: LoadSpec, late: string, hint: string): Promise<T> {
  if (timeoutMs === 0) return work;
  const message = `${late} within ${Math.round(timeoutMs)} ms${hint}`;
  return underDeadline(work, timeoutMs, wholeFileError(spec.name, spec.source, message));
}

/** A graph and the records about it. */
interface GraphParts {
  readonly graph: Bun.ModuleGraph;
  readonly mark: Mark;
  readonly timers: GraphTimers;
}

const DESCRIPTORS = "/proc/self/fd";
/**
 * With more open descriptors they are not compared: each takes some microseconds, and the loop stands still meanwhile.
 */
const MAX_DESCRIPTORS = 1000;
/** Bun's threads read sources, folders and /proc at any time. */
const SOURCE = /\.(?:[cm]?[jt]sx?|json)$/;

/**
 * Closes everything that the module opened, and reports it.
 *
 * @param ownsProcess whether it runs on the process's main thread. On another one, a busy main thread may have closed
 *   descriptors
 */
export function endGraph({ graph, mark, timers }: GraphParts, ownsProcess: boolean): LeftBehind {
  const armed = timers.armed;
  const requests = cutRequestsOf(graph);
  const before = ownsProcess ? openDescriptors() : [];
  // In one synchronous call: this thread opens and closes nothing else between the two looks.
  graph.dispose();
  const descriptors = before.filter(([number, target]) => targetOf(number) !== target && !isTransient(target)).length;
  timers.forget();
  mark.drop();
  return { listeners: removeListenersOf(graph), globals: globalsOf(mark.number), timers: armed, requests, descriptors };
}

/** @returns number and target of each: `socket:[4711]`, the path of a file. Empty if they cannot be listed */
function openDescriptors(): [number: string, target: string][] {
  try {
    const numbers = readdirSync(DESCRIPTORS);
    if (numbers.length > MAX_DESCRIPTORS) return [];
    return numbers.map((number) => [number, targetOf(number)]);
  } catch {
    return [];
  }
}

/** @returns "" if it is not open */
function targetOf(number: string): string {
  try {
    return readlinkSync(`${DESCRIPTORS}/${number}`);
  } catch {
    return "";
  }
}

/** Whether another thread may have had it open for a moment, or it was closed before the look. */
function isTransient(target: string): boolean {
  if (target === "" || target.startsWith("/proc/") || SOURCE.test(target)) return true;
  return target.startsWith("/") && statSync(target, { throwIfNoEntry: false })?.isDirectory() === true;
}
