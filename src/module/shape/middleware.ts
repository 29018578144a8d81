/** Middleware before a route's own function: `use` of a definition, and the part that it shares with `http.use`. */
import { isThenable } from "../graph/returned";
import type { Middleware, Next, RequestContext } from "../contract";

type Upgrade = (request: Request, context: RequestContext) => unknown;

/**
 * Makes one handler of several.
 *
 * @param use     in their order; not empty
 * @param handler the route's own: `fetch`, or `upgrade` of a WebSocket route, which may return another value than a
 *   Response
 * @param kind the kind of `handler`
 * @returns a handler of the same kind. It throws, or rejects with, their errors, and a TypeError if one returns no
 *   Response
 */
export function composeUse(use: readonly Middleware[], handler: Upgrade, kind: "fetch" | "websocket"): Upgrade {
  if (kind === "fetch") return (request, context) => callFrom(use, 0, request, context, handler);
  return (request, context) => {
    const acceptance = new Acceptance();
    return acceptance.read(callFrom(use, 0, request, context, acceptance.around(handler)));
  };
}

function callFrom(
  use: readonly Middleware[],
  at: number,
  request: Request,
  context: RequestContext,
  handler: Upgrade,
): unknown {
  const middleware = use[at];
  if (middleware === undefined) return handler(request, context);
  const next = makeNext(request, (changed) => callFrom(use, at + 1, changed, context, handler));
  return checkResponse(middleware(request, context, next), () => `use[${at}]`);
}

/**
 * A `next` that can be called once. Errors behind it reject its promise; it never throws.
 *
 * @param proceed called with the request that was passed on
 */
export function makeNext(request: Request, proceed: (request: Request) => unknown): Next {
  let isCalled = false;
  return async (changed = request) => {
    if (isCalled) throw new Error("next() was called twice. Keep the Response that it gave, and return that.");
    isCalled = true;
    if (!(changed instanceof Request))
      throw new TypeError("next() takes a Request, or nothing to hand on the one there is.");
    return (await proceed(changed)) as Response;
  };
}

/**
 * @param value the result of a middleware
 * @param who   its name, for the error
 * @returns the same, or a promise that rejects if it settles with no Response
 * @throws TypeError at once if it is neither a Response nor a promise
 */
export function checkResponse(value: unknown, who: () => string): Response | Promise<Response> {
  if (value instanceof Response) return value;
  if (!isThenable(value)) throw noResponse(value, who);
  return Promise.resolve(value).then((settled) => {
    if (settled instanceof Response) return settled;
    throw noResponse(settled, who);
  });
}

function noResponse(value: unknown, who: () => string): TypeError {
  const got = value === null ? "null" : typeof value;
  return new TypeError(
    `The middleware ${who()} returned ${got}. Return a Response: one of your own, or what next() gave.`,
  );
}

/**
 * Lets middleware run before a WebSocket's `upgrade`: an accepted upgrade passes through it as a Response with status
 * 101, and the result of `upgrade` waits here.
 */
export class Acceptance {
  #isGiven = false;
  #answer: unknown = undefined;

  /** @returns a `fetch` in place of the `upgrade` */
  around(upgrade: Upgrade): Upgrade {
    return (request, context) => {
      const answer = upgrade(request, context);
      return isThenable(answer) ? Promise.resolve(answer).then((value) => this.#take(value)) : this.#take(answer);
    };
  }

  /** @returns the result of `upgrade` if `response` is its 101, otherwise the Response that refuses */
  read(response: unknown): unknown {
    if (isThenable(response)) return Promise.resolve(response).then((value) => this.read(value));
    if (!(response instanceof Response) || response.status !== 101) return response;
    if (!this.#isGiven)
      throw new TypeError("A middleware made a Response with status 101 of its own. Only next() can give one.");
    return this.#answer;
  }

  #take(answer: unknown): Response {
    if (answer instanceof Response) return answer;
    this.#isGiven = true;
    this.#answer = answer;
    return new Response(null, { status: 101 });
  }
}
