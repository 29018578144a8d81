/** A version of a module whose code is only in another process. The main thread knows its shape alone. */
import type { LoadSpec } from "../version";
import { makeContext, type Publish } from "./context";
import type { Framing, Log } from "../contract";
import { NOTHING_LEFT } from "./leaks";
import type { LoadedModule } from "./load";
import type { HandlerSpec, RouteSpec, ServiceSpec, TaskSpec, WebSocketSpec } from "../route";
import type { ModuleShape } from "../shape/shape";

/** A shape without its functions: it crosses processes. */
export interface RemoteShape {
  /**
   * Whether all of it runs in the process, and every route and service is described here completely. Otherwise the main
   * thread has to load the module too.
   */
  readonly isWhole: boolean;
  /** Empty unless `isWhole`. */
  readonly routes: readonly {
    readonly spec: RouteSpec;
    readonly framing: Exclude<Framing, (...args: never[]) => unknown>;
    /** Of a WebSocket route: without handlers. */
    readonly websocket?: WebSocketSpec;
  }[];
  /** Empty unless `isWhole`. */
  readonly services: readonly ServiceSpec[];
  /** Empty unless `isWhole`. */
  readonly handlers: readonly HandlerSpec[];
  /** Empty unless `isWhole`. */
  readonly tasks: readonly TaskSpec[];
  readonly reload: "swap" | "exclusive";
  readonly unavailable: string | Uint8Array | null;
  readonly life: ModuleShape["life"];
  readonly needs: ModuleShape["needs"];
  readonly collections: ModuleShape["collections"];
}

export function remoteShapeOf(shape: ModuleShape): RemoteShape {
  const { routes, services, handlers, tasks, reload, unavailable, middleware, life, needs, collections } = shape;
  const told: RemoteShape["routes"][number][] = [];
  for (const { spec, framing, websocket } of routes)
    if (spec.run === "process" && typeof framing !== "function")
      told.push(websocket === undefined ? { spec, framing } : { spec, framing, websocket });
  const areOthersThere = [...services, ...handlers, ...tasks].every(({ spec }) => spec.run === "process");
  // Migrations run in the main thread: once, and before any process has the version.
  const isElsewhere = middleware === null && shape.definition.program === undefined && shape.migrations.length === 0;
  const isWhole = isElsewhere && told.length === routes.length && areOthersThere && life?.host !== "main";
  const parts = {
    routes: isWhole ? told : [],
    services: isWhole ? services.map(({ spec }) => spec) : [],
    handlers: isWhole ? handlers.map(({ spec }) => spec) : [],
    tasks: isWhole ? tasks.map(({ spec }) => spec) : [],
  };
  return { isWhole, ...parts, reload, unavailable, life, needs, collections };
}

/** @param shape a whole one */
export function remoteModule(
  spec: LoadSpec,
  shape: RemoteShape,
  { log, publish }: { log: Log; publish?: Publish },
): LoadedModule {
  const { reload, unavailable, life, needs, collections } = shape;
  const routes = shape.routes.map((route) => ({ ...route, handler: notHere }));
  return {
    shape: {
      routes,
      services: shape.services.map((service) => ({ spec: service, handler: notHere })),
      handlers: shape.handlers.map((handler) => ({ spec: handler, handler: notHere })),
      tasks: shape.tasks.map((task) => ({ spec: task, handler: notHere })),
      definition: { routes: {}, ...(unavailable === null ? null : { unavailable }) },
      reload,
      unavailable,
      middleware: null,
      schema: null,
      life,
      needs,
      collections,
      migrations: [],
    },
    context: makeContext(spec, { host: "main", log, ...(publish === undefined ? null : { publish }) }, () => undefined),
    run: (fn, ...args) => fn(...args),
    migrate: () => Promise.resolve(),
    start: () => Promise.resolve(),
    goLive: () => Promise.resolve(),
    endLife: () => Promise.resolve(),
    handoff: () => Promise.resolve(null),
    dispose: () => Promise.resolve(NOTHING_LEFT),
    remains: null,
    noteUnderWay: () => {},
  };
}

/** The hosts call a route by its number. */
function notHere(): never {
  throw new Error(
    "This route of a module's process was called in the main thread. This is a bug in hrmr; please report it.",
  );
}
