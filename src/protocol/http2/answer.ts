/** Answers an HTTP/2 request, with the same table, handlers and texts as HTTP/1.1. */
import { isThenable } from "../../module/graph/returned";
import { requestContext } from "../../module/shape/request-context";
import type { BoundRoute } from "../../module/route";
import { beginCall, endCall, failCall, runInline, tellAccess } from "../../host/inline";
import { NO_MATCH } from "../../router/match";
import { readPath, splitUrl } from "../../router/paths";
import { answeredHttp } from "../access";
import { endpointAt } from "../routing";
import {
  beingReplaced,
  BODY_TOO_LARGE,
  HANDLER_FAILED,
  misspelled,
  OwnReply,
  SERVER_OPTIONS,
  noRoute,
} from "../web/own-reply";
import { Exchange, type ExchangeOwner } from "./exchange";
import { knownRoute, rememberRoute } from "./known-urls";
import { adoptRequest, askedOf, hasBeenReset, restateUrl } from "./request";
import { bodyBytes, checkedResponse, isBodyTooLarge, isStreamed, ownResponse } from "./response";

const NEEDS_HTTP1 = new OwnReply(501, "This path speaks WebSocket, which needs HTTP/1.1 here.");

type FetchHandler = (request: Request, context: object) => unknown;
type Answer = Response | Promise<Response>;

const NO_PARAMS: Record<string, string> = Object.freeze(Object.create(null) as Record<string, string>);

/** Answers one request of the connection `owner`. Never throws or rejects. */
export function answer(owner: ExchangeOwner, request: Request): Answer {
  const { dispatch } = owner.wire;
  dispatch.counters.httpRequests++;
  const { url, method } = request;
  if (method === "GET") {
    const known = knownRoute(dispatch.routing.table, url);
    if (known !== undefined) return answerRoute(owner, request, known.route, known.path, NO_PARAMS);
  }
  if (url === "*") return plain(owner, request, SERVER_OPTIONS);
  const { origin, path: written, query } = splitUrl(url);
  const path = readPath(written);
  if (typeof path !== "string") return plain(owner, request, misspelled(method, path, query));
  const routed = origin + path + query;
  if (routed !== url) restateUrl(request, routed, owner.wire.isSecure);
  const endpoint = endpointAt(dispatch.routing, method, path);
  if (endpoint?.isFor(owner.wire.client, origin.slice(origin.indexOf("//") + 2), request.headers.get("origin")))
    return callHandler(owner, request, endpoint.route, path, NO_PARAMS);
  const { table, unmatched, endpoints } = dispatch.routing;
  const match = table.matchHttp(method, path);
  if (match === NO_MATCH || !("value" in match)) {
    if (unmatched !== null) return callHandler(owner, request, unmatched, path, NO_PARAMS);
    return plain(owner, request, noRoute(method, match));
  }
  // An endpoint's reply depends on the client, and not only on the URL.
  if (method === "GET" && routed === url && !endpoints.has(path)) rememberRoute(table, url, path, match);
  return answerRoute(owner, request, match.value, path, match.params);
}

type Params = Record<string, string>;

function answerRoute(owner: ExchangeOwner, request: Request, route: BoundRoute, path: string, params: Params): Answer {
  if (route.isUnavailable) return plain(owner, request, beingReplaced(route.module), route);
  // Extended CONNECT (RFC 8441) is not announced, so a client that wants a WebSocket takes HTTP/1.1.
  if (route.kind === "websocket") return plain(owner, request, NEEDS_HTTP1, route);
  return callHandler(owner, request, route, path, params);
}

function callHandler(owner: ExchangeOwner, request: Request, route: BoundRoute, path: string, params: Params): Answer {
  const { wire } = owner;
  const startedAt = beginCall(route, wire.dispatch.access !== null);
  adoptRequest(request, wire.isSecure);
  const context = requestContext(route.generation.context, wire, path, route.key, params, request);
  try {
    let value = runInline(route, route.handler as FetchHandler, request, context);
    if (!(value instanceof Response) && isThenable(value)) {
      const promise = value instanceof Promise ? value : Promise.resolve(value);
      // An async handler that never waited has answered already.
      if (Bun.peek.status(promise) !== "fulfilled")
        return new Exchange(owner, route, request, startedAt || performance.now()).awaitHandler(promise);
      value = Bun.peek(promise);
    }
    const response = checkedResponse(wire.dispatch, route, request, value);
    if (isStreamed(response))
      return new Exchange(owner, route, request, startedAt || performance.now()).stream(response);
    endCall(route, startedAt);
    return wire.dispatch.access === null ? response : told(owner, request, route, response, startedAt);
  } catch (error) {
    endCall(route, startedAt);
    if (isBodyTooLarge(error)) return plain(owner, request, BODY_TOO_LARGE, route, startedAt);
    if (hasBeenReset(request)) {
      failCall(wire.dispatch, route, wire, error, true);
      return new Response(null, { status: 204 });
    }
    failCall(wire.dispatch, route, wire, error);
    return plain(owner, request, HANDLER_FAILED, route, startedAt);
  }
}

/** A reply of the server's own. @param route null: none took the request; @param startedAt 0: no handler was called */
function plain(
  owner: ExchangeOwner,
  request: Request,
  reply: OwnReply,
  route: BoundRoute | null = null,
  startedAt = 0,
): Response {
  return told(owner, request, route, ownResponse(owner.wire.dispatch, reply), startedAt);
}

/** @returns the same response, after the access log has it */
function told(
  { wire }: ExchangeOwner,
  request: Request,
  route: BoundRoute | null,
  response: Response,
  startedAt = 0,
): Response {
  const { access } = wire.dispatch;
  if (access === null) return response;
  const answered = answeredHttp("h2", askedOf(request), response.status, bodyBytes(response));
  tellAccess(access, wire.client, route, startedAt, answered);
  return response;
}
