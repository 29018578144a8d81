/**
 * The modules in the config's `http.use`: their `middleware` runs before every HTTP route of every module. The chain is
 * composed when a routing table is planned, so that a reload of such a module is an ordinary swap.
 */
import type { Middleware, RequestContext } from "../module/contract";
import { asHost } from "../system/leave-graph";
import { Acceptance, checkResponse, makeNext } from "../module/shape/middleware";
import { discard, isThenable } from "../module/graph/returned";
import { requestContext } from "../module/shape/request-context";
import type { BoundRoute } from "../module/route";
import { Call, type CallOwner } from "../host/call";
import { type Caller, type CallServer, failCall, NOT_TIMED, runInline } from "../host/inline";
import { hasClientLeft } from "../protocol/web/client-left";
import { decodedResponses } from "../module/graph/standard";
import { GraphResponse, textOfStream } from "../protocol/web/response";
import { NO_MATCH } from "../router/match";
import { readPath, splitUrl } from "../router/paths";
import type { RouteTable } from "../router/table";
import { ownFetchRoute } from "../module/own-routes";
import { asResponse, beingReplaced, HANDLER_FAILED, MIDDLEWARE_REPLACED, noRoute } from "../protocol/web/own-reply";

/** The handler for `Routing.unmatched`: requests without a route, behind the chain. */
export function unmatchedBehind(links: Links, table: RouteTable<BoundRoute>, server: CallServer): BoundRoute {
  const handler = ({ method, url }: Request): Response => {
    const path = readPath(splitUrl(url).path);
    const match = typeof path === "string" ? table.matchHttp(method, path) : NO_MATCH;
    // A middleware may have changed the path to one that has a route. It is not routed again.
    return asResponse(noRoute(method, match !== NO_MATCH && "value" in match ? NO_MATCH : match));
  };
  const route = ownFetchRoute("", undefined, handler);
  return behindMiddleware(links, route, server);
}

/** One link of the chain. */
export interface Link {
  /** The module's name. */
  readonly name: string;
  /** Its `middleware` as a route of its generation; null while it has none: then no request passes. */
  readonly route: BoundRoute | null;
}

type Handler = (request: Request, context: RequestContext) => unknown;
type Links = readonly Link[];

/**
 * The route behind the chain.
 *
 * @param links   in their order; not empty
 * @param server  gets the errors of middleware, with the route of the middleware that threw
 */
export function behindMiddleware(links: Links, route: BoundRoute, server: CallServer): BoundRoute {
  const isUpgrade = route.kind === "websocket";
  const handler: Handler = (request, context) =>
    asHost(() => {
      const passage = new Passage(links, route, server, request, context);
      return isUpgrade ? passage.upgrade(request) : passage.fetch(request);
    });
  const page = route.page === undefined ? null : { page: behindMiddleware(links, route.page, server) };
  // The chain runs inline, so its deadline is kept here, on whichever host the route runs.
  const own = {
    run: "inline",
    handler: handler as unknown as BoundRoute["handler"],
    isBehindMiddleware: true,
  } as const;
  return { ...route, ...own, ...page };
}

/** One request on its way through the chain. */
class Passage {
  readonly #links: Links;
  readonly #route: BoundRoute;
  readonly #server: CallServer;
  readonly #context: RequestContext;
  readonly #request: Request;
  /** The last error with its owner: it may pass through the middleware in front of that. */
  #error: unknown = this;
  #culprit: BoundRoute | null = null;

  constructor(links: Links, route: BoundRoute, server: CallServer, request: Request, context: RequestContext) {
    this.#request = request;
    this.#links = links;
    this.#route = route;
    this.#server = server;
    this.#context = context;
  }

  fetch(request: Request): unknown {
    return this.#answer(() => this.#callFrom(0, request, (given) => this.#callRoute(given)));
  }

  upgrade(request: Request): unknown {
    const acceptance = new Acceptance();
    const upgrade = acceptance.around((given) => this.#callRoute(given));
    return this.#answer(() => acceptance.read(this.#callFrom(0, request, (given) => upgrade(given, this.#context))));
  }

  /**
   * An error of the route's own handler is left to the protocol. An error of a middleware is logged as that module's.
   */
  #answer(call: () => unknown): unknown {
    try {
      const result = call();
      return isThenable(result)
        ? Promise.resolve(result).then(undefined, (error: unknown) => this.#fail(error))
        : result;
    } catch (error) {
      return this.#fail(error);
    }
  }

  #fail(error: unknown): Response {
    const culprit = this.#error === error ? this.#culprit : null;
    if (culprit === null || culprit === this.#route) throw error;
    const hasLeft = hasClientLeft(this.#request);
    failCall(this.#server, culprit, this.#context, error, hasLeft);
    return asResponse(HANDLER_FAILED);
  }

  #callFrom(at: number, request: Request, last: (request: Request) => unknown): unknown {
    const link = this.#links[at];
    if (link === undefined) return last(request);
    const { route } = link;
    if (route === null) return asResponse(beingReplaced(link.name));
    let given: unknown = null;
    const next = makeNext(
      request,
      async (changed) => (given = await asHost(() => this.#callFrom(at + 1, changed, last))),
    );
    const finish = (response: Response): Response =>
      ownsBody(given, response) ? new PinnedBody(this.#server, route, this.#context, response).response : response;
    try {
      const { path, route: key, params } = this.#context;
      const context = requestContext(route.generation.context, this.#context, path, key, params, this.#context);
      const result = checkResponse(
        runInline(route, route.handler as unknown as Middleware, request, context, next),
        () => link.name,
      );
      if (!(result instanceof Promise)) return finish(result);
      return this.#await(route, result, finish);
    } catch (error) {
      throw this.#blame(error, route);
    }
  }

  /**
   * A waiting middleware counts as a call of its own generation. If that has to go first, the request is answered here.
   */
  #await(route: BoundRoute, result: Promise<Response>, finish: (response: Response) => Response): Promise<Response> {
    const answered = Promise.withResolvers<Response>();
    let isCut = false;
    const call = new Call(this.#server, route, this.#context, NOT_TIMED, {
      cut: () => {
        isCut = true;
        answered.resolve(asResponse(MIDDLEWARE_REPLACED));
      },
    });
    call.enter();
    result.then(
      (response) => {
        if (isCut) return discard(response);
        // First the stream, if there is one, so that the generation always has open work between the two.
        answered.resolve(finish(response));
        call.over();
      },
      (error: unknown) => {
        call.over();
        answered.reject(this.#blame(error, route));
      },
    );
    return answered.promise;
  }

  #callRoute(request: Request): unknown {
    const route = this.#route;
    try {
      const result = runInline(route, route.handler as unknown as Handler, request, this.#context);
      if (!isThenable(result)) return result;
      return Promise.resolve(result).then(undefined, (error: unknown) => {
        throw this.#blame(error, route);
      });
    } catch (error) {
      throw this.#blame(error, route);
    }
  }

  #blame(error: unknown, route: BoundRoute): unknown {
    if (this.#error === error) return error;
    this.#error = error;
    this.#culprit = route;
    return error;
  }
}

/**
 * Whether a middleware streams the body itself. The protocol counts other bodies, on the generation of their route.
 *
 * @param given the result of next(), if it was called
 */
function ownsBody(given: unknown, response: Response): boolean {
  if (response === given || GraphResponse.kindOf(response) !== "stream" || response.bodyUsed) return false;
  const { body } = response;
  if (body === null || textOfStream(body) !== undefined) return false;
  return !(given instanceof Response && GraphResponse.kindOf(given) === "stream" && given.body === body);
}

/** A stream that may need its module until its end. */
class PinnedBody implements CallOwner {
  /** The same response, with a body that reports its end. */
  readonly response: Response;
  readonly #call: Call;
  readonly #reader: ReadableStreamDefaultReader<unknown>;
  #controller: ReadableStreamDefaultController<unknown> | null = null;

  constructor(server: CallServer, route: BoundRoute, caller: Caller, response: Response) {
    this.#call = new Call(server, route, caller, NOT_TIMED, this);
    this.#call.streams(/^text\/event-stream\b/i.test(response.headers.get("content-type") ?? ""));
    this.#reader = (response.body as ReadableStream<unknown>).getReader() as ReadableStreamDefaultReader<unknown>;
    const stream = new ReadableStream<unknown>(
      {
        start: (controller) => void (this.#controller = controller),
        pull: (controller) => this.#pull(controller),
        cancel: (reason) => this.#cancel(reason),
      },
      { highWaterMark: 0 },
    );
    this.#call.enter();
    const { status, statusText, headers } = response;
    if (decodedResponses.has(response)) headers.delete("content-encoding");
    this.response = new GraphResponse(stream as ReadableStream<Uint8Array>, { status, statusText, headers });
  }

  cut(reason: string): void {
    this.#controller?.error(new Error(reason));
    this.#reader.cancel(reason).catch(() => undefined);
  }

  async #pull(controller: ReadableStreamDefaultController<unknown>): Promise<void> {
    try {
      const { done, value } = await this.#call.run(() => this.#reader.read());
      if (!done) return controller.enqueue(value);
      controller.close();
    } catch (error) {
      controller.error(error);
    }
    this.#call.over();
  }

  async #cancel(reason: unknown): Promise<void> {
    this.#call.over();
    await this.#reader.cancel(reason);
  }
}
