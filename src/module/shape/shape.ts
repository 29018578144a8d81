/** Checks the exports of a module's file and brings them into one form. */
import { nearest } from "../../config/nearest";
import { EVENTS_ELSEWHERE } from "../c/socket-messages";
import type { FetchRoute, Framing, Middleware, ModuleDefinition, StandardSchema } from "../contract";
import type { CollectionSpec } from "../store/port";
import { readCollections } from "./collections";
import { readSchema } from "./config";
import { readHandlers, type ShapedHandler } from "./events";
import { hasWork, LIFE_OPTIONS, type LifeSpec, readLife, readNeeds } from "./life";
import { composeUse } from "./middleware";
import type { RouteKind, RouteSpec, RunsOn, WebSocketSpec } from "../route";
import { type Fields, isObject, isPlain, kindOf, refuseUnknown, shapeError, shown, type Wrong } from "./errors";
import { hostSettings, NO_SETTINGS, type HostSettings } from "./settings";
import { withProgram } from "./program";
import { readMigrations, type ShapedMigration } from "./migrations";
import { readSchedule, type ShapedTask } from "./schedule";
import { readServices, type ShapedService } from "./services";
import { readWebSocket } from "./websocket";

/** A route with the author's functions. Call them through the graph's `run`. */
interface ShapedRoute {
  readonly spec: RouteSpec;
  /** handle, fetch or connect; of a WebSocket route, its `upgrade`. */
  readonly handler: (...args: never[]) => unknown;
  /** "chunk" for routes without messages. */
  readonly framing: Framing;
  /** Of a WebSocket route only. */
  readonly websocket?: WebSocketSpec;
  /** Of a WebSocket route, the `fetch` for requests that ask for no upgrade. Default: none. */
  readonly page?: FetchRoute["fetch"];
}

export interface ModuleShape {
  readonly routes: readonly ShapedRoute[];
  readonly services: readonly ShapedService[];
  /** Its handlers of events. */
  readonly handlers: readonly ShapedHandler[];
  readonly tasks: readonly ShapedTask[];
  /** Its collections in the store, as far as they have indexes. */
  readonly collections: readonly CollectionSpec[];
  /** In their order. */
  readonly migrations: readonly ShapedMigration[];
  /** The author's export; for an app, a definition with the app as its only route. Call its functions as methods. */
  readonly definition: ModuleDefinition;
  readonly reload: "swap" | "exclusive";
  /** null: the HTTP 503 message. */
  readonly unavailable: string | Uint8Array | null;
  /** For modules in `http.use`. null: the module has none. */
  readonly middleware: Middleware | null;
  /** For its settings. null: the module has none, and gets them as they are. */
  readonly schema: StandardSchema | null;
  /** null: it has neither `start` nor `stop`. */
  readonly life: LifeSpec | null;
  /** Names of the modules that it needs. */
  readonly needs: readonly string[];
  /** It may call services: each call that it answers has a frame (module/service/frame.ts). Default false. */
  readonly isFramed?: boolean;
}

const MAX_KEY_BYTES = 256;
// The longest time of a timer.
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
const HOOKS = ["setup", "check", "handoff", "dispose", "start", "stop"];
const MODULE_OPTIONS = [
  "routes",
  "services",
  "on",
  "schedule",
  "collections",
  "migrations",
  "program",
  "reload",
  "unavailable",
  ...HOOKS,
  "use",
  "middleware",
  "config",
  ...LIFE_OPTIONS,
];
const KINDS = ["handle", "fetch", "connect", "websocket"];
const COMMON_ROUTE_OPTIONS = ["description", "timeoutMs"];
/** For routes whose key is the first bytes of a message. */
const RAW_ROUTE_OPTIONS = ["takesHttp", ...COMMON_ROUTE_OPTIONS];
const ROUTE_OPTIONS: Record<string, string[]> = {
  handle: ["handle", "framing", "run", ...RAW_ROUTE_OPTIONS],
  fetch: ["fetch", "run", ...COMMON_ROUTE_OPTIONS],
  connect: ["connect", "run", ...RAW_ROUTE_OPTIONS],
  websocket: ["websocket", "run", ...COMMON_ROUTE_OPTIONS],
};
const LENGTH_OPTIONS = ["prefixBytes", "endian", "includesPrefix", "offset"];
const EXAMPLE = 'export default defineModule({ routes: { "PING": () => "PONG\\n" } })';

/**
 * Reads a module's default export. Calls the author's getters: run it inside the module's graph.
 *
 * @param named the module's export `middleware`, used like that of a definition
 * @param config the module's settings: defaults for routes without `run` or `timeoutMs`, and how it is reloaded
 * @throws Error whose message names the module and the key, and says what to write
 */
export function readShape(
  name: string,
  exported: unknown,
  named?: unknown,
  config: Record<string, unknown> = NO_SETTINGS,
): ModuleShape {
  if (exported === undefined && typeof named === "function")
    return readShape(name, { routes: {}, middleware: named }, undefined, config);
  if (exported === undefined) throw shapeError(name, `there is no default export. Write ${EXAMPLE}`);
  if (!isObject(exported)) throw shapeError(name, `the default export is ${kindOf(exported)}. Write ${EXAMPLE}`);
  const settings = hostSettings(config);
  const written = isApp(exported) ? appDefinition(name, exported) : exported;
  const middleware = readMiddleware(name, written, named);
  checkDefinition(name, written, hasWork(written, middleware !== null));
  const definition = withProgram(name, written, settings);
  const use = readUse(name, definition.use);
  const routes = Object.entries((definition.routes ?? {}) as Fields).map(([key, route], index) =>
    behindUse(use, readRoute(name, key, route, index, settings)),
  );
  const services = readServices(name, definition.services, settings);
  const parts = [...routes, ...services].map(({ spec }) => spec);
  const life = readLife(name, definition, parts, { needsMain: middleware !== null, run: settings.run });
  return {
    routes,
    services,
    handlers: readHandlers(name, definition.on, life),
    tasks: readSchedule(name, definition.schedule, life.host === "process" ? "process" : "inline", settings),
    collections: readCollections(name, definition.collections),
    migrations: readMigrations(name, definition.migrations),
    definition: definition as unknown as ModuleDefinition,
    reload: settings.reload ?? (definition.reload === "exclusive" ? "exclusive" : "swap"),
    unavailable: (definition.unavailable as string | Uint8Array | undefined) ?? null,
    middleware,
    schema: readSchema(name, definition.config),
    life: definition.start === undefined && definition.stop === undefined ? null : life,
    needs: readNeeds(name, definition),
  };
}

/** Called as a method of its definition, since it may use `this`. */
function readMiddleware(name: string, definition: Fields, named: unknown): Middleware | null {
  const { middleware } = definition;
  if (middleware === undefined) return typeof named === "function" ? (named as Middleware) : null;
  if (typeof middleware !== "function")
    throw shapeError(name, `"middleware" is ${kindOf(middleware)}, and must be a function`);
  return (...args) => (definition as { middleware: Middleware }).middleware(...args);
}

function readUse(name: string, use: unknown): Middleware[] {
  if (use === undefined) return [];
  if (!Array.isArray(use))
    throw shapeError(name, `"use" is ${kindOf(use)}. Write use: [(request, context, next) => next()]`);
  const wrong: unknown = use.find((middleware) => typeof middleware !== "function");
  if (wrong !== undefined || use.includes(undefined))
    throw shapeError(name, `"use" holds ${kindOf(wrong)}, and must hold functions only`);
  return [...(use as Middleware[])];
}

/** Once for each version, so that hosts and protocols see one handler. */
function behindUse(use: readonly Middleware[], route: ShapedRoute): ShapedRoute {
  const { kind } = route.spec;
  if (use.length === 0 || (kind !== "fetch" && kind !== "websocket")) return route;
  const handler = composeUse(use, route.handler as Parameters<typeof composeUse>[1], kind);
  const spec: RouteSpec = { ...route.spec, isBehindMiddleware: true };
  const page = route.page === undefined ? null : { page: composeUse(use, route.page, "fetch") as FetchRoute["fetch"] };
  return { ...route, spec, handler: handler as unknown as ShapedRoute["handler"], ...page };
}

// Checked before `routes`: hono's app has an array of that name.
function isApp(exported: Fields): boolean {
  return typeof exported.fetch === "function";
}

function appDefinition(name: string, app: Fields): Fields {
  // For apps of every kind: hrmr never opens these sockets, so the author must know.
  if (app.websocket !== undefined) {
    throw shapeError(
      name,
      'the default export has both "fetch" and "websocket", as Bun.serve takes them. Here a WebSocket is a route: write ' +
        '{ routes: { "/": { fetch }, "GET /live": { websocket: { message(socket, data) { socket.send(data); } } } } }',
    );
  }
  const lost = isPlain(app)
    ? Object.keys(app).find(
        (key) => HOOKS.includes(key) || (["routes", "services", "on"].includes(key) && isObject(app[key])),
      )
    : undefined;
  if (lost !== undefined) {
    throw shapeError(
      name,
      `the default export has both "fetch" and "${lost}". Write { routes: { "/": { fetch } }, ... } and leave out the outer "fetch"`,
    );
  }
  return { routes: { "/": { fetch: appFetch(app as unknown as FetchRoute) } } };
}

// As a method, since an app's fetch may use `this`. hono shows the second argument as `c.env`.
function appFetch(app: FetchRoute): FetchRoute["fetch"] {
  return (request, context) => app.fetch(request, context);
}

function checkDefinition(name: string, definition: Fields, mayBeEmpty: boolean): void {
  refuseUnknown((problem) => shapeError(name, `the module${problem}`), definition, MODULE_OPTIONS);
  const { routes = mayBeEmpty ? {} : undefined } = definition;
  if (!isObject(routes) || Array.isArray(routes)) {
    throw shapeError(name, `"routes" is ${kindOf(routes)}. Write ${EXAMPLE}`);
  }
  if (Object.keys(routes).length === 0 && !mayBeEmpty) throw shapeError(name, `"routes" is empty. Write ${EXAMPLE}`);
  for (const hook of HOOKS) {
    const value = definition[hook];
    if (value !== undefined && typeof value !== "function")
      throw shapeError(name, `"${hook}" is ${kindOf(value)}, and must be a function`);
  }
  const { reload, unavailable } = definition;
  if (reload !== undefined && reload !== "swap" && reload !== "exclusive") {
    throw shapeError(name, `"reload" is ${shown(reload)}, and must be "swap" or "exclusive"`);
  }
  if (unavailable !== undefined && typeof unavailable !== "string" && !(unavailable instanceof Uint8Array)) {
    throw shapeError(name, `"unavailable" is ${kindOf(unavailable)}, and must be a string or a Uint8Array`);
  }
}

function readRoute(name: string, key: string, route: unknown, index: number, settings: HostSettings): ShapedRoute {
  const wrong: Wrong = (problem) => shapeError(name, `route ${shown(key)}${problem}`);
  if (key === "")
    throw shapeError(name, 'a route has an empty key. A key is the first bytes of its messages, such as "PING"');
  const keyBytes = Buffer.byteLength(key);
  if (keyBytes > MAX_KEY_BYTES) {
    throw shapeError(
      name,
      `the key of ${shown(`${key.slice(0, 24)}...`)} is ${keyBytes} bytes long; at most ${MAX_KEY_BYTES} are possible`,
    );
  }
  const options = typeof route === "function" ? { handle: route } : route;
  if (!isObject(options)) {
    throw wrong(` is ${kindOf(route)}. Write a function, or an object with handle, fetch, connect or websocket`);
  }
  const kind = readKind(wrong, options);
  if (isPlain(options)) refuseUnknown(wrong, options, ROUTE_OPTIONS[kind] ?? []);
  checkKey(wrong, key, kind);
  const isMounted = kind === "fetch" && !isPlain(options);
  const said = isMounted ? {} : options;
  const run =
    readRun(wrong, { kind, isElsewhere: eventsElsewhere(options) !== null }, said.run) ??
    (mayRunElsewhere(kind) ? settings.run : undefined) ??
    "inline";
  const { timeoutMs = settings.handlerMs, description } = readCommon(wrong, said);
  const spec: RouteSpec = { key, index, kind, run, timeoutMs, description, ...readTakesHttp(wrong, said.takesHttp) };
  if (kind === "websocket") {
    const websocket = readWebSocket(wrong, options.websocket);
    const { handlers } = websocket;
    const elsewhere = eventsElsewhere(options);
    if (elsewhere !== null)
      return { spec, handler: elsewhere, framing: "chunk", websocket: { ...websocket, handlers: {} } };
    const page = handlers.fetch === undefined ? null : { page: pageOf(websocket) };
    return { spec, handler: upgradeOf(websocket), framing: "chunk", websocket, ...page };
  }
  if (isMounted) return { spec, handler: appFetch(options as unknown as FetchRoute), framing: "chunk" };
  return { spec, handler: options[kind] as ShapedRoute["handler"], framing: readFraming(wrong, options.framing) };
}

/** The handler of all events of a WebSocket route in C. null: it is no such route */
function eventsElsewhere({ websocket }: Fields): ShapedRoute["handler"] | null {
  const events: unknown = isObject(websocket) ? Reflect.get(websocket, EVENTS_ELSEWHERE) : undefined;
  return typeof events === "function" ? (events as ShapedRoute["handler"]) : null;
}

// As a method, since handlers may use `this`.
function upgradeOf({ handlers }: WebSocketSpec): ShapedRoute["handler"] {
  return (...[request, context]: Parameters<NonNullable<typeof handlers.upgrade>>) =>
    handlers.upgrade?.(request, context);
}

function pageOf({ handlers }: WebSocketSpec): FetchRoute["fetch"] {
  return (request, context) => (handlers as FetchRoute).fetch(request, context);
}

function readKind(wrong: Wrong, options: Fields): RouteKind {
  const kinds = KINDS.filter((kind) => options[kind] !== undefined);
  const [kind] = kinds;
  // An app mounted on a path may have methods with these names.
  if (!isPlain(options) && typeof options.fetch === "function") return "fetch";
  if (kind === undefined) {
    const misspelt = Object.keys(options).find(
      (option) => !COMMON_ROUTE_OPTIONS.includes(option) && nearest(option, KINDS) !== null,
    );
    const hint = misspelt === undefined ? "" : ` (it has "${misspelt}": did you mean "${nearest(misspelt, KINDS)}"?)`;
    throw wrong(` has none of handle, fetch, connect and websocket${hint}`);
  }
  if (kinds.length > 1)
    throw wrong(` has ${kinds.join(" and ")}. Write exactly one of handle, fetch, connect and websocket`);
  if (kind !== "websocket" && typeof options[kind] !== "function")
    throw wrong(`: "${kind}" is ${kindOf(options[kind])}, and must be a function`);
  return kind as RouteKind;
}

function checkKey(wrong: Wrong, key: string, kind: RouteKind): void {
  if (kind !== "fetch" && kind !== "websocket") {
    if (!key.startsWith("/")) return;
    throw wrong(` is an HTTP path. Give it a "fetch": { fetch: (request) => new Response(...) }`);
  }
  const method = /^([A-Z][A-Z-]*) (?:$|\/)/.exec(key)?.[1];
  if (kind === "websocket" && method !== undefined && method !== "GET")
    throw wrong(`: a WebSocket begins with a GET. Write "/path" or "GET /path"`);
  if (/^(?:[A-Z][A-Z-]* )?\//.test(key) || /^[A-Z][A-Z-]* $/.test(key)) return;
  const hint = /^[A-Za-z][A-Za-z-]*$/.test(key)
    ? `. For every path of one method write "${key.toUpperCase()} ", with a space at its end`
    : "";
  throw wrong(` has a "${kind}", so its key must be an HTTP path: "/path", "GET /path" or "GET "${hint}`);
}

function mayRunElsewhere(kind: RouteKind): boolean {
  return kind === "handle" || kind === "fetch";
}

function readRun(
  wrong: Wrong,
  { kind, isElsewhere }: { kind: RouteKind; isElsewhere: boolean },
  run: unknown,
): RunsOn | undefined {
  if (run === undefined || run === "inline") return run;
  if (run !== "pool" && run !== "process") {
    throw wrong(`: "run" is ${shown(run)}, and must be "inline", "pool" or "process"`);
  }
  if (!mayRunElsewhere(kind) && !isElsewhere)
    throw wrong(`: run: "${run}" is possible with "handle" and "fetch" only. Leave out "run"`);
  return run;
}

function readCommon(wrong: Wrong, options: Fields): { timeoutMs: number | undefined; description: string } {
  const { timeoutMs, description } = options;
  const isTimeout = typeof timeoutMs === "number" && timeoutMs >= 0 && timeoutMs <= MAX_TIMEOUT_MS;
  if (timeoutMs !== undefined && !isTimeout) {
    throw wrong(`: "timeoutMs" is ${shown(timeoutMs)}, and must be a number from 0 (no limit) to ${MAX_TIMEOUT_MS}`);
  }
  if (description !== undefined && typeof description !== "string") {
    throw wrong(`: "description" is ${kindOf(description)}, and must be a string`);
  }
  return { timeoutMs: isTimeout ? timeoutMs : undefined, description: description ?? "" };
}

function readTakesHttp(wrong: Wrong, takesHttp: unknown): Pick<RouteSpec, "takesHttp"> {
  if (takesHttp === undefined || takesHttp === false) return {};
  if (takesHttp === true) return { takesHttp };
  throw wrong(`: "takesHttp" is ${shown(takesHttp)}, and must be true or false`);
}

function readFraming(wrong: Wrong, framing: unknown): Framing {
  if (framing === undefined) return "chunk";
  if (framing === "chunk" || framing === "line" || typeof framing === "function") return framing as Framing;
  if (!isObject(framing) || !isObject(framing.length)) {
    const allowed = '"chunk", "line", { length: { prefixBytes: 4 } } or a function';
    throw wrong(`: "framing" is ${shown(framing)}, and must be ${allowed}`);
  }
  refuseUnknown((problem) => wrong(`: "framing"${problem}`), framing, ["length"]);
  const prefix = framing.length;
  refuseUnknown((problem) => wrong(`: "framing.length"${problem}`), prefix, LENGTH_OPTIONS);
  const bad = (option: string, rule: string): Error =>
    wrong(`: "framing.length.${option}" is ${shown(prefix[option])}, and must be ${rule}`);
  if (![1, 2, 4, 8].includes(prefix.prefixBytes as number)) throw bad("prefixBytes", "1, 2, 4 or 8");
  if (![undefined, "big", "little"].includes(prefix.endian as undefined)) throw bad("endian", '"big" or "little"');
  if (!["undefined", "boolean"].includes(typeof prefix.includesPrefix)) throw bad("includesPrefix", "true or false");
  const { offset } = prefix;
  if (offset !== undefined && !(Number.isInteger(offset) && (offset as number) >= 0))
    throw bad("offset", "a whole number of bytes, 0 or more");
  return framing as unknown as Framing;
}
