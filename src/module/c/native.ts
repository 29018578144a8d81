/** Makes a module in C look like any other: the default export of a bundle of C sources. */
import { messageOf } from "../../config/user-error";
import type {
  EventHandler,
  Message,
  ModuleContext,
  ModuleDefinition,
  Route,
  ServiceContext,
  ServiceOptions,
  StandardSchema,
  StopReason,
  TaskOptions,
} from "../contract";
import type { ModuleError } from "../graph/describe-error";
import { ServiceError } from "../service/error";
import { compileSources } from "./compile";
import { CRuntime, type Respond, type ServerNow } from "./runtime";
import { HubCall } from "./questions";
import { type CRoute, misuseOf } from "./routes";
import { EVENTS_ELSEWHERE } from "./socket-messages";
import { type CSources, sourcesError } from "./sources";

/** null: C must not run here. */
let server: ServerNow | null = null;

/**
 * Allows C in this process. Nothing stops a loop in C, and a wrong pointer ends the process, so only a process that
 * serves nothing else may run it.
 */
export function allowNativeModules(own: ServerNow): void {
  server = own;
}

/**
 * Compiles the sources and reads their declarations.
 *
 * @throws ModuleError for a mistake in them; a plain Error if native code must not run here
 */
export function nativeModule(sources: CSources, respond: Respond): ModuleDefinition {
  if (server === null)
    throw new Error(
      "A module in C was loaded outside of a process of its own. This is a bug in hrmr; please report it.",
    );
  const compiled = compileSources(sources);
  const runtime = new CRuntime(compiled, server);
  try {
    return definitionOf(sources, runtime, compiled.warnings, respond);
  } catch (error) {
    runtime.close();
    throw error;
  }
}

function definitionOf(
  sources: CSources,
  runtime: CRuntime,
  warnings: readonly string[],
  respond: Respond,
): ModuleDefinition {
  const wrong = (message: string): ModuleError => sourcesError(sources, message);
  const declared = runtime.declare();
  const { hooks, needs } = runtime;
  if (declared.length === 0 && !hooks.live)
    throw wrong(
      'hrmr_module declares nothing. Write hrmr_http(setup, "GET /hello", hello), or hrmr_command, hrmr_service and the like',
    );
  return {
    ...partsOf(runtime, declared, { wrong, respond }),
    setup(context, handed) {
      for (const warning of warnings) context.log.warn(warning);
      try {
        runtime.start(context, handed);
      } catch (error) {
        throw wrong(`refused to start: ${messageOf(error)}`);
      }
    },
    ...(hooks.handoff ? { handoff: () => runtime.handoff() } : null),
    ...(hooks.live ? { start: () => runtime.live() } : null),
    ...(hooks.leave ? { stop: (_context: ModuleContext, reason: StopReason) => runtime.leave(reason) } : null),
    background: hooks.inEach ? "process" : "server",
    needs,
    dispose() {
      runtime.stop();
      runtime.close();
    },
  };
}

interface Parts {
  readonly routes: Record<string, Route>;
  readonly services: Record<string, ServiceOptions>;
  readonly on: Record<string, EventHandler>;
  readonly schedule: Record<string, TaskOptions>;
}

/** The declared parts, by their kinds. @throws ModuleError for two of one name, and for one without a handler */
function partsOf(
  runtime: CRuntime,
  declared: readonly CRoute[],
  { wrong, respond }: { wrong: (message: string) => ModuleError; respond: Respond },
): Parts {
  const parts: Parts = { routes: {}, services: {}, on: {}, schedule: {} };
  for (const [index, route] of declared.entries()) {
    const { section, word } = SECTIONS[route.kind];
    const held: Record<string, unknown> = parts[section];
    if (Object.hasOwn(held, route.key)) throw wrong(`two ${word}s have the ${KEY_WORDS[section]} "${route.key}"`);
    if (!route.hasHandler) throw wrong(`the ${word} "${route.key}" has NULL for a handler`);
    const misused = misuseOf(route);
    if (misused !== null) throw wrong(`${misused} has no meaning for the ${word} "${route.key}"`);
    if (section === "routes") held[route.key] = routeOf(runtime, index, route, respond);
    else if (section === "services") held[route.key] = serviceOf(runtime, index, route, wrong);
    else if (section === "on") held[route.key] = eventHandlerOf(runtime, index);
    else held[route.key] = taskOf(runtime, index, route);
  }
  return parts;
}

const SECTIONS = {
  command: { section: "routes", word: "route" },
  http: { section: "routes", word: "route" },
  websocket: { section: "routes", word: "route" },
  service: { section: "services", word: "service" },
  event: { section: "on", word: "handler of events" },
  task: { section: "schedule", word: "task" },
} as const satisfies Record<CRoute["kind"], { section: keyof Parts; word: string }>;

const KEY_WORDS = { routes: "key", services: "name", on: "pattern", schedule: "name" } as const;

function serviceOf(
  runtime: CRuntime,
  index: number,
  { key, timeoutMs, description, isPublic, isMcpTool, texts: [input, output] }: CRoute,
  wrong: (message: string) => ModuleError,
): ServiceOptions {
  const schema = (option: "input" | "output", text: string): Partial<ServiceOptions> => {
    if (text === "") return {};
    const read = schemaOf(text);
    if (read !== null) return { [option]: read };
    throw wrong(`the ${option} schema of the service "${key}" is not a JSON object`);
  };
  return {
    run: "process",
    description,
    public: isPublic,
    mcp: isMcpTool,
    ...(timeoutMs === undefined ? null : { timeoutMs }),
    ...schema("input", input),
    ...schema("output", output),
    call: (value: unknown, { caller }: ServiceContext) =>
      resultOf(runtime.callWithJson(index, value, new HubCall({ caller }))),
  };
}

/** @param text "": C gave no result. @throws ServiceError */
function resultOf(text: string): unknown {
  if (text === "") return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    const shown = JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
    throw new ServiceError("INVALID_OUTPUT", `the result ${shown} is not JSON: ${messageOf(error)}`);
  }
}

/** A schema that is shown, and takes every value. @returns null: it is not a JSON object */
function schemaOf(text: string): StandardSchema | null {
  let schema: unknown;
  try {
    schema = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof schema !== "object" || schema === null || Array.isArray(schema)) return null;
  const written = (): Record<string, unknown> => schema as Record<string, unknown>;
  return {
    "~standard": {
      version: 1,
      vendor: "hrmr",
      validate: (value) => ({ value }),
      jsonSchema: { input: written, output: written },
    },
  };
}

function eventHandlerOf(runtime: CRuntime, index: number): EventHandler {
  return ({ topic, data }) => {
    runtime.callWithJson(index, data, new HubCall({ topic }));
  };
}

function taskOf(
  runtime: CRuntime,
  index: number,
  { timeoutMs, description, catchUp, texts: [when, timeZone] }: CRoute,
): TaskOptions {
  return {
    when,
    description,
    catchUp,
    ...(timeZone === "" ? null : { timeZone }),
    ...(timeoutMs === undefined ? null : { timeoutMs }),
    run: (_context, run) => {
      runtime.callWithJson(index, run, new HubCall({}));
    },
  };
}

function routeOf(
  runtime: CRuntime,
  index: number,
  { kind, framing, timeoutMs, description, takesHttp }: CRoute,
  respond: Respond,
): Route {
  const common = { run: "process" as const, description, ...(timeoutMs === undefined ? null : { timeoutMs }) };
  if (kind === "command") return { ...common, framing, takesHttp, handle: (message) => runtime.call(index, message) };
  if (kind === "websocket") {
    const events = (message: Message): Uint8Array => runtime.socketEvent(index, message);
    return { ...common, websocket: { [EVENTS_ELSEWHERE]: events } } as unknown as Route;
  }
  return {
    ...common,
    fetch: (request, context) => {
      const mayHaveBody = request.method !== "GET" && request.method !== "HEAD" && request.body !== null;
      if (!mayHaveBody) return runtime.fetch(index, request, null, context, respond);
      return request.bytes().then((body) => runtime.fetch(index, request, body, context, respond));
    },
  };
}
