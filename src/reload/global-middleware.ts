/**
 * The modules that the config's `http.use` names: their `middleware` stands before every HTTP route of every module.
 * Composed when a routing table is planned, so that a reload of such a module is a swap like any other.
 */
import type { Middleware, RequestContext } from "../module/contract";
import { asHost } from "../module/graph/leave-graph";
import { Acceptance, checkResponse, makeNext } from "../module/shape/middleware";
import { isThenable } from "../module/graph/returned";
import { requestContext } from "../module/shape/request-context";
import type { BoundRoute, InFlight } from "../module/route";
import { runInline } from "../host/inline";
import { hasClientLeft } from "../protocol/web/client-left";
import { decodedResponses, GraphResponse, textOfStream } from "../protocol/web/response";
import type { Dispatch } from "../protocol/wire";
import { NO_MATCH } from "../router/match";
import { readPath, splitUrl } from "../router/paths";
import type { RouteTable } from "../router/table";
import { ownFetchRoute } from "../module/own-routes";
import { asResponse, beingReplaced, HANDLER_FAILED, MIDDLEWARE_REPLACED, noRoute } from "../protocol/web/own-reply";

/** The handler for `Routing.unmatched`: requests without a route, behind the chain. */
export function unmatchedBehind(
  links: readonly Link[],
  table: RouteTable<BoundRoute>,
  failed: Dispatch["handlerFailed"],
): BoundRoute {
  const handler = ({ method, url }: Request): Response => {
    const path = readPath(splitUrl(url).path);
    const match = typeof path === "string" ? table.matchHttp(method, path) : NO_MATCH;
    // A middleware may have changed the path to one that a route takes; it is not routed anew.
    return asResponse(noRoute(method, match !== NO_MATCH && "value" in match ? NO_MATCH : match));
  };
  const route = ownFetchRoute("", undefined, handler);
  return behindMiddleware(links, route, failed);
}

/** One place in the chain. */
export interface Link {
  /** The module's name. */
  readonly name: string;
  /** Its `middleware` as a route of its generation; null while it has none to offer: then nobody gets past it. */
  readonly route: BoundRoute | null;
}

type Handler = (request: Request, context: RequestContext) => unknown;

/**
 * The route behind the chain.
 *
 * @param links   in their order; not empty
 * @param failed  told what a middleware threw, with the route of that middleware
 */
export function behindMiddleware(
  links: readonly Link[],
  route: BoundRoute,
  failed: Dispatch["handlerFailed"],
): BoundRoute {
  const isUpgrade = route.kind === "websocket";
  const handler: Handler = (request, context) =>
    asHost(() => {
      const passage = new Passage(links, route, failed, request, context);
      return isUpgrade ? passage.upgrade(request) : passage.fetch(request);
    });
  return { ...route, handler: handler as unknown as BoundRoute["handler"] };
}

/** One request on its way through the chain. */
class Passage {
  readonly #links: readonly Link[];
  readonly #route: BoundRoute;
  readonly #failed: Dispatch["handlerFailed"];
  readonly #context: RequestContext;
  readonly #request: Request;
  /** The last error that came up, and whose it was: it may pass through middleware in front of its maker. */
  #error: unknown = this;
  #culprit: BoundRoute | null = null;

  constructor(
    links: readonly Link[],
    route: BoundRoute,
    failed: Dispatch["handlerFailed"],
    request: Request,
    context: RequestContext,
  ) {
    this.#request = request;
    this.#links = links;
    this.#route = route;
    this.#failed = failed;
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
    if (!hasLeft) culprit.generation.figures.fail();
    this.#failed(culprit, this.#context.client, error, hasLeft);
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
    const finish = (response: Response): Response => pinUnless(given, response, route);
    try {
      const { path, route: key, params } = this.#context;
      const context = requestContext(route.generation.context, this.#context, path, key, params, this.#context);
      const result = checkResponse(
        runInline(route, route.handler as unknown as Middleware, request, context, next),
        () => link.name,
      );
      if (!(result instanceof Promise)) return finish(result);
      return new PendingCall(route, result, finish, (error) => this.#blame(error, route)).answer;
    } catch (error) {
      throw this.#blame(error, route);
    }
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

/** A middleware that waits: counted on its own generation, and answered for if that has to go before it is done. */
class PendingCall implements InFlight {
  readonly kind = "call";
  readonly isEndless = false;
  readonly answer: Promise<Response>;
  readonly #answered = Promise.withResolvers<Response>();
  readonly #route: BoundRoute;
  readonly #finish: (response: Response) => Response;
  #isCut = false;

  constructor(
    route: BoundRoute,
    result: Promise<Response>,
    finish: (response: Response) => Response,
    blame: (error: unknown) => unknown,
  ) {
    this.#route = route;
    this.#finish = finish;
    this.answer = this.#answered.promise;
    route.generation.enter(this);
    result.then(
      (response) => this.#settle(response),
      (error: unknown) => {
        route.generation.leave(this);
        this.#answered.reject(blame(error));
      },
    );
  }

  cut(): void {
    this.#isCut = true;
    this.#answered.resolve(asResponse(MIDDLEWARE_REPLACED));
  }

  #settle(response: Response): void {
    if (this.#isCut) {
      if (!response.bodyUsed) response.body?.cancel().catch(() => undefined);
      return;
    }
    // First the stream, if there is one, so that the generation is never without anything under way between the two.
    this.#answered.resolve(this.#finish(response));
    this.#route.generation.leave(this);
  }
}

/**
 * Counts a body that the middleware streams itself. One that came through it is counted by the protocol, on the
 * generation of the route that made it.
 *
 * @param given what next() gave, if anything
 */
function pinUnless(given: unknown, response: Response, route: BoundRoute): Response {
  if (response === given || GraphResponse.kindOf(response) !== "stream" || response.bodyUsed) return response;
  const { body } = response;
  if (body === null || textOfStream(body) !== undefined) return response;
  if (given instanceof Response && GraphResponse.kindOf(given) === "stream" && given.body === body) return response;
  return PinnedBody.around(response, body, route);
}

/** A stream that may need the module that made it, to its end. */
class PinnedBody implements InFlight {
  readonly kind = "stream";
  readonly isEndless: boolean;
  readonly #route: BoundRoute;
  readonly #reader: ReadableStreamDefaultReader<unknown>;
  #controller: ReadableStreamDefaultController<unknown> | null = null;

  private constructor(reader: ReadableStreamDefaultReader<unknown>, route: BoundRoute, isEndless: boolean) {
    this.#reader = reader;
    this.#route = route;
    this.isEndless = isEndless;
  }

  static around(response: Response, body: ReadableStream, route: BoundRoute): Response {
    const isEndless = /^text\/event-stream\b/i.test(response.headers.get("content-type") ?? "");
    const pin = new PinnedBody(body.getReader() as ReadableStreamDefaultReader<unknown>, route, isEndless);
    const stream = new ReadableStream<unknown>(
      {
        start: (controller) => void (pin.#controller = controller),
        pull: (controller) => pin.#pull(controller),
        cancel: (reason) => pin.#cancel(reason),
      },
      { highWaterMark: 0 },
    );
    route.generation.enter(pin);
    const { status, statusText, headers } = response;
    if (decodedResponses.has(response)) headers.delete("content-encoding");
    return new GraphResponse(stream as ReadableStream<Uint8Array>, { status, statusText, headers });
  }

  cut(reason: string): void {
    this.#controller?.error(new Error(reason));
    this.#reader.cancel(reason).catch(() => undefined);
  }

  async #pull(controller: ReadableStreamDefaultController<unknown>): Promise<void> {
    try {
      const { done, value } = await runInline(this.#route, () => this.#reader.read());
      if (!done) return controller.enqueue(value);
      controller.close();
    } catch (error) {
      controller.error(error);
    }
    this.#route.generation.leave(this);
  }

  async #cancel(reason: unknown): Promise<void> {
    this.#route.generation.leave(this);
    await this.#reader.cancel(reason);
  }
}
