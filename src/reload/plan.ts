/** Makes a server's routing from its modules: built-in commands first, then modules in order of precedence. */
import type { Hosts } from "../host/hosts";
import { displayPath } from "../module/graph/describe-error";
import { OWN_ROUTES } from "../module/own-routes";
import type { BoundRoute } from "../module/route";
import { type OwnEndpoints, type Routing, routingOf } from "../protocol/routing";
import { SocketHub } from "../protocol/websocket/hub";
import type { Dispatch } from "../protocol/wire";
import { claimsWord, describeKey, RouteTable, type Conflict, type TableEntry } from "../router/table";
import { behindMiddleware, unmatchedBehind, type Link } from "./global-middleware";
import { onHost } from "../protocol/web/fetch-elsewhere";
import { socketsOnHost } from "../protocol/web/sockets-elsewhere";

/** One module's part of the routing. */
export interface PlannedModule {
  readonly name: string;
  readonly source: string;
  readonly isImplicit: boolean;
  readonly routes: readonly BoundRoute[];
  /** null: it has none, or is unavailable. */
  readonly middleware: BoundRoute | null;
  /** Whether clients may call a service of it. */
  readonly hasProcedures: boolean;
  /** Whether AI agents may. */
  readonly hasTools: boolean;
}

/** The parts of a server that its routing needs, or goes to. */
export interface RoutingParts {
  readonly dispatch: Dispatch;
  /** The built-in commands. */
  readonly commands: readonly BoundRoute[];
  /** How clients reach procedures, while there are some. They give way to modules. */
  readonly procedures: readonly BoundRoute[];
  /** The same for AI agents. `swapped` tells it that other modules serve. */
  readonly tools: { readonly routes: readonly BoundRoute[]; swapped(): void };
  /** The hosts of `fetch` routes that do not run inline. */
  readonly hosts: Hosts;
  /** The server's own endpoints, which give way to modules that claim their paths. */
  readonly endpoints: OwnEndpoints;
}

/** A routing that may be served. */
export interface RoutePlan {
  readonly routing: Routing;
  /** The server's routes to services of modules, even where a module takes their place. */
  readonly offered: readonly BoundRoute[];
  /** Modules that claim another's routes, with both files named. */
  readonly conflicts: readonly { readonly module: string; readonly text: string }[];
}

/** Replaces the routing in use, and lets the open WebSockets follow it. Synchronous. */
export function serveRouting(
  { dispatch, endpoints, commands }: RoutingParts,
  { routing, offered }: Pick<RoutePlan, "routing" | "offered">,
): void {
  dispatch.routing = routing;
  SocketHub.of(dispatch).follow(routing);
  const giving = [...commands.filter(({ givesWay }) => givesWay === true), ...offered];
  endpoints.noteClaims(
    routing.table.entries.map(({ value }) => value),
    giving.map(({ key }) => key),
  );
}

/**
 * Builds the next routing without touching the one in use.
 *
 * @param modules in order of precedence; of two that claim the same, the later one is refused, a module that is on only
 *                by default without a word
 * @param use     `http.use`: modules whose middleware stands before every HTTP route, in order
 */
export function planRouting(
  { dispatch, commands, hosts, endpoints, procedures, tools }: RoutingParts,
  modules: readonly PlannedModule[],
  use: readonly string[],
): RoutePlan {
  const links = use.map((name): Link => ({
    name,
    route: modules.find((module) => module.name === name)?.middleware ?? null,
  }));
  const entries: TableEntry<BoundRoute>[] = commands
    .filter((command) => command.givesWay !== true || !isClaimed(command.key, modules))
    .map(commandEntry);
  const implicit = new Set<string>();
  // A module that is on by default serves pages, and gives way to an app. If its "/" had every method, it would take a
  // POST to a GET route, which must get a 405.
  const hasApp = modules.some(
    ({ isImplicit, routes }) => !isImplicit && routes.some((route) => isHttp(route) && route.key === "/"),
  );
  const offered = [
    ...(modules.some(({ hasProcedures }) => hasProcedures) ? procedures : []),
    ...(modules.some(({ hasTools }) => hasTools) ? tools.routes : []),
  ];
  const own = offered.filter((route) => !isTaken(route, modules));
  for (const module of [...modules, procedureModule(own)]) {
    if (module.isImplicit) implicit.add(module.name);
    for (const each of module.routes) {
      const route = elsewhere(hosts, each, dispatch);
      const value = links.length > 0 && isHttp(route) ? behindMiddleware(links, route, dispatch) : route;
      const key = module.isImplicit && value.key === "/" && !hasApp ? "GET /" : value.key;
      const kind = isHttp(value) ? "http" : value.kind === "command" ? "word" : "raw";
      const isWhole = each.generation === OWN_ROUTES;
      entries.push({ key, kind, owner: module.name, file: module.source, value, isWhole });
    }
  }
  const { table, conflicts } = RouteTable.build(entries);
  const unmatched = links.length === 0 ? null : unmatchedBehind(links, table, dispatch);
  return {
    offered,
    routing: routingOf(table, unmatched, endpoints.beside(table.entries.map(({ value }) => value))),
    conflicts: conflicts
      .filter(({ refused }) => !implicit.has(refused.owner))
      .map((conflict) => ({ module: conflict.refused.owner, text: conflictText(conflict) })),
  };
}

/** Routes that run elsewhere have handlers here that call them. */
function elsewhere(hosts: Hosts, route: BoundRoute, dispatch: Dispatch): BoundRoute {
  if (route.run === "inline") return route;
  const { websocket } = route;
  if (websocket !== undefined) return socketsOnHost(hosts, { ...route, websocket }, dispatch);
  return route.kind === "fetch" ? onHost(hosts, route, dispatch) : route;
}

/** The server's routes to procedures, as a module that gives way to all others. */
function procedureModule(routes: readonly BoundRoute[]): PlannedModule {
  return {
    name: OWN_ROUTES.name,
    source: "built in",
    isImplicit: true,
    routes,
    middleware: null,
    hasProcedures: false,
    hasTools: false,
  };
}

function commandEntry(value: BoundRoute): TableEntry<BoundRoute> {
  return { key: value.key, kind: "word", owner: "hrmr", file: "built in", value };
}

/** Whether a module claims what a route of the server's would take: its word, or exactly its path. */
function isTaken({ kind, key }: BoundRoute, modules: readonly PlannedModule[]): boolean {
  if (kind === "command") return isClaimed(key, modules);
  const path = key.slice(key.indexOf(" ") + 1);
  return modules.some(({ routes }) =>
    routes.some((route) => isHttp(route) && (route.key === key || route.key === path)),
  );
}

/** Whether a module has a raw route for the word of a built-in command. */
function isClaimed(word: string, modules: readonly PlannedModule[]): boolean {
  return modules.some(({ routes }) => routes.some((route) => !isHttp(route) && claimsWord(route.key, word)));
}

function isHttp({ kind }: BoundRoute): boolean {
  return kind === "fetch" || kind === "websocket";
}

function conflictText({ refused, holder }: Conflict<BoundRoute>): string {
  if (holder.kind === "word")
    return `${displayPath(refused.file)} claims ${describeKey(refused)}, which is a built-in command. Choose another key.`;
  const file = displayPath(refused.file);
  if (holder.owner === refused.owner)
    return `${file} has ${describeKey(refused)} twice (as ${JSON.stringify(holder.key)} too). Remove one.`;
  return `${file} claims ${describeKey(refused)}, which ${displayPath(holder.file)} has already. Give one of them another key.`;
}
