/** Makes a module in C look like any other: the default export of a bundle of C sources. */
import { messageOf } from "../../config/user-error";
import type { ModuleContext, ModuleDefinition, Route, StopReason } from "../contract";
import type { ModuleError } from "../graph/describe-error";
import { compileSources } from "./compile";
import { CRuntime, type Respond } from "./runtime";
import type { CRoute } from "./routes";
import { type CSources, sourcesError } from "./sources";

let isAllowed = false;

/**
 * Allows C in this process. Nothing stops a loop in C, and a wrong pointer ends the process, so only a process that
 * serves nothing else may run it.
 */
export function allowNativeModules(): void {
  isAllowed = true;
}

/**
 * Compiles the sources and reads their declarations.
 *
 * @throws ModuleError for a mistake in them; a plain Error if native code must not run here
 */
export function nativeModule(sources: CSources, respond: Respond): ModuleDefinition {
  if (!isAllowed)
    throw new Error(
      "A module in C was loaded outside of a process of its own. This is a bug in hrmr; please report it.",
    );
  const compiled = compileSources(sources);
  const runtime = new CRuntime(compiled);
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
  const routes: Record<string, Route> = {};
  for (const [index, route] of runtime.declare().entries()) {
    if (Object.hasOwn(routes, route.key)) throw wrong(`two routes have the key "${route.key}"`);
    if (!route.hasHandler) throw wrong(`the route "${route.key}" has NULL for a handler`);
    routes[route.key] = routeOf(runtime, index, route, respond);
  }
  const { hooks, needs } = runtime;
  if (Object.keys(routes).length === 0 && !hooks.live)
    throw wrong('hrmr_module declares no route. Write hrmr_http(setup, "GET /hello", hello), or hrmr_command');
  return {
    routes,
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

function routeOf(
  runtime: CRuntime,
  index: number,
  { isHttp, framing, timeoutMs, description, takesHttp }: CRoute,
  respond: Respond,
): Route {
  const common = { run: "process" as const, description, ...(timeoutMs === undefined ? null : { timeoutMs }) };
  if (!isHttp) return { ...common, framing, takesHttp, handle: (message) => runtime.call(index, message) };
  return {
    ...common,
    fetch: (request, context) => {
      const mayHaveBody = request.method !== "GET" && request.method !== "HEAD" && request.body !== null;
      if (!mayHaveBody) return runtime.fetch(index, request, null, context, respond);
      return request.bytes().then((body) => runtime.fetch(index, request, body, context, respond));
    },
  };
}
