/**
 * The server's own HTTP endpoints: /health, /ready, /stats and /metrics. For the protocols they are fetch routes that
 * come before the modules. A module that claims exactly one of their paths gets it.
 */
import type { HttpOptions } from "../config/options";
import type { RequestContext } from "../module/contract";
import type { BoundRoute } from "../module/route";
import { EXPOSITION_TYPE, metricsText } from "../observe/metrics";
import { readinessOf, statusOf } from "../observe/report";
import type { ProcessSnapshot, ServerInfo } from "../observe/snapshot";
import { type Endpoint, ENDPOINT_PATHS, type EndpointPath, type OwnEndpoints } from "../protocol/routing";
import { GraphResponse } from "../protocol/web/response";
import { isForeignOrigin, isLocalHost } from "../protocol/web/origin";
import { splitUrl } from "../router/paths";
import { claimsWord } from "../router/table";
import { OWN_ROUTES, ownFetchRoute } from "../module/own-routes";

type PolicyName = "health" | "ready" | "stats" | "metrics";

interface EndpointSources {
  /** Read at each request: a reload may change it in place. */
  readonly policies: Pick<HttpOptions, PolicyName | "localNames">;
  readonly version: string;
  isDraining(): boolean;
  uptimeSeconds(): number;
  /** The snapshots of all processes. */
  snapshots(): Promise<{ info: ServerInfo; processes: ProcessSnapshot[] }>;
  note(text: string): void;
}

/** How long the other processes may take to answer. In milliseconds. */
const TIMEOUT_MS = 5000;
const JSON_TYPE = "application/json;charset=utf-8";

/** @param isLocal  the request comes from this machine, and not from a page of another site */
type Answer = (isLocal: boolean) => Response | Promise<Response>;

/** A server's endpoints, over all its reloads. */
export class Endpoints implements OwnEndpoints {
  readonly #sources: EndpointSources;
  readonly #all: ReadonlyMap<EndpointPath, Endpoint>;
  /** Reported modules, with their paths. */
  readonly #noted = new Set<string>();

  constructor(sources: EndpointSources) {
    this.#sources = sources;
    this.#all = new Map([
      // Load balancers request these two with any Host.
      ["/health", this.#endpoint("/health", true, () => this.#health())],
      ["/ready", this.#endpoint("/ready", true, (isLocal) => this.#ready(isLocal))],
      ["/stats", this.#endpoint("/stats", false, () => this.#stats())],
      ["/metrics", this.#endpoint("/metrics", false, () => this.#metrics())],
    ]);
  }

  /** @param takesAnyHost  true: the policy "local" checks only the client's address */
  #endpoint(path: `/${PolicyName}`, takesAnyHost: boolean, answer: Answer): Endpoint {
    const handler = (request: Request, { client }: RequestContext): Response | Promise<Response> => {
      const { origin } = splitUrl(request.url);
      const host = origin.slice(origin.indexOf("//") + 2);
      return answer(client.isLocal && this.#isOwn(host, request.headers.get("origin")));
    };
    const isFor: Endpoint["isFor"] = ({ isLocal }, host, origin) => {
      const policy = this.#sources.policies[path.slice(1) as PolicyName];
      return policy === "anyone" || (policy === "local" && isLocal && (takesAnyHost || this.#isOwn(host, origin)));
    };
    return { route: ownFetchRoute(path, TIMEOUT_MS, handler), isFor };
  }

  /** A local browser or proxy may send requests for others, so the address is not enough. */
  #isOwn(host: string, origin: string | null): boolean {
    return isLocalHost(host, this.#sources.policies.localNames) && !isForeignOrigin(origin, host);
  }

  beside(routes: readonly BoundRoute[]): ReadonlyMap<string, Endpoint> {
    const left = new Map<string, Endpoint>(this.#all);
    for (const path of claimedPaths(routes).keys()) left.delete(path);
    return left;
  }

  noteClaims(routes: readonly BoundRoute[], words: readonly string[]): void {
    for (const [claimed, module] of [...claimedPaths(routes), ...claimedWords(routes, words)]) {
      const text = `${claimed} is answered by the module "${module}", and not by the server`;
      if (!this.#noted.has(text)) this.#sources.note(text);
      this.#noted.add(text);
    }
  }

  #health(): Response {
    const { version } = this.#sources;
    const status = this.#sources.isDraining() ? "draining" : "ok";
    // One line, for programs that search it for a text.
    const text = JSON.stringify({ status, version, uptimeSeconds: this.#sources.uptimeSeconds() });
    return reply(200, JSON_TYPE, `${text}\n`);
  }

  async #ready(isLocal: boolean): Promise<Response> {
    // This process takes no new work, whatever the others do.
    const { processes, nextTries } = this.#sources.isDraining() ? NOBODY : await this.#told();
    // The drain may have begun meanwhile.
    const readiness = this.#sources.isDraining()
      ? { isReady: false, reasons: ["draining"], modules: [] }
      : readinessOf(processes, nextTries);
    // Strangers must not see names of modules, and why they failed.
    const told = { status: readiness.isReady ? "ready" : "not ready", ...(isLocal ? readiness : null) };
    return reply(readiness.isReady ? 200 : 503, JSON_TYPE, toJson(told));
  }

  async #stats(): Promise<Response> {
    const { info, processes } = await this.#sources.snapshots();
    return reply(200, JSON_TYPE, toJson(statusOf(info, processes)));
  }

  async #metrics(): Promise<Response> {
    const { info, processes } = await this.#sources.snapshots();
    return reply(200, EXPOSITION_TYPE, metricsText(info, processes));
  }

  /** If the master does not answer, the server is "not ready", and not an error: nothing else is known. */
  async #told(): Promise<typeof NOBODY> {
    try {
      const { info, processes } = await this.#sources.snapshots();
      return { processes, nextTries: info.nextTries ?? {} };
    } catch {
      return NOBODY;
    }
  }
}

const NOBODY: { processes: readonly ProcessSnapshot[]; nextTries: Readonly<Record<string, string>> } = {
  processes: [],
  nextTries: {},
};

/** @returns words of commands that modules claim, with the module of each */
function claimedWords(routes: readonly BoundRoute[], words: readonly string[]): [word: string, module: string][] {
  return words.flatMap((word) => {
    const route = routes.find((each) => each.generation !== OWN_ROUTES && claims(each, word));
    return route === undefined ? [] : [[word, route.module]];
  });
}

/** @param word a command's, or a key of the server's: "{", "GET /rpc" */
function claims({ key, kind }: BoundRoute, word: string): boolean {
  if (kind === "handle" || kind === "connect") return claimsWord(key, word);
  return key === word || key === word.slice(word.indexOf(" ") + 1);
}

/** @returns endpoints' paths that modules claim, with the first module that claims each */
function claimedPaths(routes: readonly BoundRoute[]): ReadonlyMap<EndpointPath, string> {
  const claims = new Map<EndpointPath, string>();
  for (const { key, kind, module } of routes) {
    const path = kind === "fetch" || kind === "websocket" ? claimedPath(key) : null;
    if (path !== null && !claims.has(path)) claims.set(path, module);
  }
  return claims;
}

const BY_PATH: ReadonlyMap<string, EndpointPath> = new Map(ENDPOINT_PATHS.map((path) => [path, path]));

/** @returns the endpoint's path that a key means exactly: "/metrics" or "GET /metrics", but not "/*" */
function claimedPath(key: string): EndpointPath | null {
  const path = key.startsWith("GET ") ? key.slice("GET ".length) : key;
  return BY_PATH.get(path) ?? null;
}

function reply(status: number, type: string, text: string): Response {
  return new GraphResponse(text, { status, headers: { "Content-Type": type, "Cache-Control": "no-store" } });
}

function toJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
