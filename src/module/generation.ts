/**
 * A generation: one loaded version of one module in the main thread. It knows its open work, so that it can leave when
 * the last of it is done or cut.
 */
import type { LoadSpec } from "./version";
import { CallFigures } from "../observe/figures";
import type { Middleware, StopReason } from "./contract";
import type { LeftBehind } from "./graph/leaks";
import type { LoadedModule } from "./graph/load";
import type { ModuleShape } from "./shape/shape";
import type { BoundHandler, BoundRoute, BoundService, BoundTask, InFlight, InFlightKind, RouteOwner } from "./route";
import { isTool } from "./route";
import { tellBug } from "../observe/tell-bug";

export class Generation implements RouteOwner {
  readonly spec: LoadSpec;
  readonly id: number;
  readonly name: string;
  readonly number: number;
  readonly hash: string;
  readonly loadedAt = new Date();
  readonly context: object;
  readonly unavailable: string | Uint8Array | null;
  readonly reload: "swap" | "exclusive";
  /** A part of it runs in this thread, so setup does too. */
  readonly needsMain: boolean;
  /** A route runs on the pool. */
  readonly needsPool: boolean;
  /** A part of it runs in the module's own process. */
  readonly needsProcess: boolean;
  /** null: it has neither `start` nor `stop`. */
  readonly life: LoadedModule["shape"]["life"];
  /** Names of the modules that it needs. */
  readonly needs: readonly string[];
  /** Its collections in the store, with the indexes that it declares. */
  readonly collections: LoadedModule["shape"]["collections"];
  readonly routes: readonly BoundRoute[];
  /** By name. */
  readonly services: ReadonlyMap<string, BoundService>;
  /** Its handlers of events. */
  readonly handlers: readonly BoundHandler[];
  /** The tasks of its schedule, by name. */
  readonly tasks: ReadonlyMap<string, BoundTask>;
  readonly figures = new CallFigures();
  /** The middleware for `http.use`, as a route. null: the module has none. */
  readonly middleware: BoundRoute | null;
  isDisposed = false;
  readonly #module: LoadedModule;
  /** In no order. Each knows its index, so that a call costs no hashing. */
  readonly #inFlight: InFlight[] = [];
  #onIdle: (() => void) | null = null;

  constructor(spec: LoadSpec, module: LoadedModule) {
    this.spec = spec;
    this.id = spec.id;
    this.name = spec.name;
    this.number = spec.generation;
    this.hash = spec.hash;
    this.#module = module;
    this.context = module.context;
    this.unavailable = module.shape.definition?.unavailable ?? null;
    this.reload = module.shape.reload;
    const middleware = module.shape.middleware ?? null;
    this.life = module.shape.life;
    this.needs = module.shape.needs;
    this.collections = module.shape.collections;
    const { routes, services, handlers, tasks } = module.shape;
    const places = new Set([...routes, ...services, ...handlers, ...tasks].map(({ spec: { run } }) => run));
    const hasProgram = module.shape.definition?.program !== undefined;
    this.needsMain = middleware !== null || hasProgram || places.has("inline") || this.life?.host === "main";
    this.needsPool = places.has("pool");
    this.needsProcess = places.has("process") || this.life?.host === "process";
    this.routes = routes.map((route) => this.#bindRoute(route));
    this.services = new Map(services.map((service) => [service.spec.name, this.#bindService(service)]));
    this.handlers = handlers.map((handler) => this.#bindHandler(handler));
    this.tasks = new Map(tasks.map((task) => [task.spec.name, this.#bindTask(task)]));
    this.middleware = middleware === null ? null : this.#bindMiddleware(middleware);
  }

  /** It is loaded elsewhere too: see GenerationHost. */
  get needsHost(): boolean {
    return this.needsPool || this.needsProcess;
  }

  /** Calls, streams and connections under way. */
  get inFlight(): number {
    return this.#inFlight.length;
  }

  /** Open work, counted by kind. */
  get pinnedBy(): Partial<Record<InFlightKind, number>> {
    const counts: Partial<Record<InFlightKind, number>> = {};
    for (const { kind } of this.#inFlight) counts[kind] = (counts[kind] ?? 0) + 1;
    return counts;
  }

  /** Only work that may go on without end is open. */
  get isAllEndless(): boolean {
    for (const call of this.#inFlight) if (!call.isEndless) return false;
    return true;
  }

  run<A extends unknown[], R>(fn: (...args: A) => R, ...args: A): R {
    // See `run` of the loaded module.
    const call = fn as (...args: unknown[]) => R;
    if (args.length === 2) return this.#module.run(call, args[0], args[1]);
    if (args.length === 3) return this.#module.run(call, args[0], args[1], args[2]);
    return this.#module.run(fn, ...args);
  }

  enter(call: InFlight): void {
    if (call.inFlightAt >= 0) return;
    call.inFlightAt = this.#inFlight.length;
    this.#inFlight.push(call);
    this.#module.noteUnderWay(this.#inFlight.length);
  }

  leave(call: InFlight): void {
    const at = call.inFlightAt;
    if (at < 0) return;
    call.inFlightAt = -1;
    const last = this.#inFlight.pop() as InFlight;
    if (last !== call) {
      this.#inFlight[at] = last;
      last.inFlightAt = at;
    }
    this.#module.noteUnderWay(this.#inFlight.length);
    if (this.#inFlight.length === 0) this.#onIdle?.();
  }

  /** The migrations that the store has not had yet. @param onRan  gets the name of each. @throws ModuleError */
  migrate(onRan: (name: string) => void): Promise<void> {
    return this.#module.migrate(onRan);
  }

  /** setup and check. @throws ModuleError */
  start(handoff: unknown): Promise<void> {
    return this.#module.start(handoff);
  }

  /** The author's `start`, in this thread. @throws ModuleError */
  goLive(): Promise<void> {
    return this.#module.goLive();
  }

  /** The author's `stop`, in this thread. @throws ModuleError */
  endLife(reason: StopReason): Promise<void> {
    return this.#module.endLife(reason);
  }

  handoff(): ReturnType<LoadedModule["handoff"]> {
    return this.#module.handoff();
  }

  /** The same routes, answering that the module is unavailable. */
  unavailableRoutes(): BoundRoute[] {
    return this.routes.map((route) => ({ ...route, isUnavailable: true }));
  }

  /** A newer version serves: work that can go over to it does so now. */
  announceReplacement(): void {
    // A copy: when a call leaves, the last one takes its index.
    const calls = [...this.#inFlight];
    for (const call of calls) call.replaced?.();
  }

  /**
   * Waits until no work is open. At the deadline, work that is not endless is cut. Endless streams have no limit,
   * unless `cutAll` ends them.
   *
   * @param drainMs in milliseconds; 0 waits for ever
   * @param onCut gets the number of cuts at the deadline, if there were any
   */
  async drain(drainMs: number, onCut: (count: number) => void): Promise<void> {
    if (this.#inFlight.length === 0) return;
    const idle = new Promise<void>((resolve) => (this.#onIdle = resolve));
    const timer = drainMs > 0 ? setTimeout(() => this.#cutAtDeadline(drainMs, onCut), drainMs) : null;
    await idle;
    if (timer !== null) clearTimeout(timer);
    this.#onIdle = null;
  }

  /** Cuts everything under way, endless or not. @returns how many */
  cutAll(reason: string): number {
    return this.#cut([...this.#inFlight], reason);
  }

  /**
   * Runs dispose(state) and closes everything that the module opened. Idempotent. @returns the things that dispose had
   * left open
   */
  dispose(): Promise<LeftBehind> {
    this.isDisposed = true;
    return this.#module.dispose();
  }

  /** Empty once its code is out of memory. null: its code is not in this process. */

  /** Whether clients may call a service of it. */
  get hasProcedures(): boolean {
    return [...this.services.values()].some(({ service }) => service.isPublic);
  }

  /** Whether AI agents may. */
  get hasTools(): boolean {
    return [...this.services.values()].some(({ service }) => isTool(service));
  }

  get remains(): WeakRef<object> | null {
    return this.#module.remains;
  }

  #bindRoute({ spec, handler, framing, websocket, page }: ModuleShape["routes"][number]): BoundRoute {
    const keyBytes = Buffer.byteLength(spec.key);
    const bound = { ...this.#bound, ...spec, keyBytes, framing, handler };
    if (websocket === undefined) return bound;
    return {
      ...bound,
      websocket,
      ...(page === undefined ? null : { page: { ...bound, kind: "fetch", handler: page } }),
    };
  }

  #bindMiddleware(middleware: Middleware): BoundRoute {
    const spec = { key: "middleware", index: -1, kind: "fetch", run: "inline", timeoutMs: undefined } as const;
    return { ...spec, ...this.#bound, description: "", handler: middleware };
  }

  #bindService({ spec, handler }: ModuleShape["services"][number]): BoundService {
    const { name, run, timeoutMs, description } = spec;
    const index = this.routes.length + spec.index;
    const isFramed = this.#module.shape.isFramed === true;
    const bound = { ...this.#bound, name: `${this.name}.${name}`, isFramed };
    return { key: name, index, kind: "service", run, timeoutMs, description, ...bound, handler, service: spec };
  }

  #bindHandler({ spec: on, handler }: ModuleShape["handlers"][number]): BoundHandler {
    const index = this.routes.length + this.services.size + on.index;
    const spec = { key: on.pattern, index, kind: "event", run: on.run, timeoutMs: undefined } as const;
    return { ...spec, ...this.#bound, description: "", handler, on };
  }

  #bindTask({ spec, handler }: ModuleShape["tasks"][number]): BoundTask {
    const { name, run, timeoutMs, description } = spec;
    const index = this.routes.length + this.services.size + this.handlers.length + spec.index;
    const bound = { ...this.#bound, generation: this };
    return { key: name, index, kind: "task", run, timeoutMs, description, ...bound, handler, task: spec };
  }

  /** The fields that all bound parts share, except routes of the table. */
  get #bound(): Pick<BoundRoute, "module" | "keyBytes" | "framing" | "generation" | "isUnavailable"> {
    return { module: this.name, keyBytes: 0, framing: "chunk", generation: this, isUnavailable: false };
  }

  #cutAtDeadline(drainMs: number, onCut: (count: number) => void): void {
    const late = this.#inFlight.filter((call) => !call.isEndless);
    const count = this.#cut(
      late,
      `${this.name} v${this.number} was replaced, and ${drainMs} ms later this was still under way.`,
    );
    if (count > 0) onCut(count);
  }

  #cut(calls: InFlight[], reason: string): number {
    for (const call of calls) {
      try {
        call.cut(reason);
      } catch (error) {
        // The other calls, and a shutdown that waits for them, go on.
        tellBug(error);
      }
      this.leave(call);
    }
    return calls.length;
  }
}
