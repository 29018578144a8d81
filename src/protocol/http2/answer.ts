/**
 * From an HTTP/2 request to its reply: the same table, the same handlers and the same words as in HTTP/1.1.
 */
import { isThenable } from "../../module/returned";
import { requestContext } from "../../module/request-context";
import type { BoundRoute } from "../../module/route";
import { NO_MATCH } from "../../router/match";
import { describeMismatch, normalisePath } from "../../router/paths";
import { Call, type CallOwner } from "./call";
import { knownRoute, rememberRoute } from "./known-urls";
import { adoptRequest } from "./request";
import { checkedResponse, isBodyTooLarge, isStreamed, plainResponse } from "./response";

type FetchHandler = (request: Request, context: object) => unknown;
type Answer = Response | Promise<Response>;

/** What OPTIONS * tells (RFC 9110 section 9.3.7): the methods of the server, not of a route. */
const SERVER_METHODS = { Allow: "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT" };
const NO_PARAMS: Record<string, string> = Object.freeze(Object.create(null) as Record<string, string>);
/** Behind "https://" and a host of one letter the path may begin. */
const SHORTEST_ORIGIN = 8;

/** Answers one request of the connection `owner`. Never throws or rejects. */
export function answer(owner: CallOwner, request: Request): Answer {
  const { dispatch } = owner.wire;
  dispatch.counters.httpRequests++;
  const { url, method } = request;
  if (method === "GET") {
    const known = knownRoute(dispatch.table, url);
    if (known !== undefined) return answerRoute(owner, request, known, NO_PARAMS);
  }
  if (url === "*") return plainResponse(dispatch, 200, "OK", SERVER_METHODS);
  const pathStart = url.indexOf("/", SHORTEST_ORIGIN);
  const path = normalisePath(pathStart < 0 ? "/" : url.slice(pathStart));
  if (path === null) return plainResponse(dispatch, 400, "The path is not properly encoded.");
  if (path === "/health" && (method === "GET" || method === "HEAD")) {
    const report = dispatch.health();
    if (report !== null) return plainResponse(dispatch, 200, report);
  }
  const match = dispatch.table.matchHttp(method, path);
  if (match === NO_MATCH || !("value" in match)) {
    if (dispatch.unmatched != null) return callHandler(owner, request, dispatch.unmatched, {});
    const { status, text, allow } = describeMismatch(method, match);
    if (status === 204) return new Response(null, { status, headers: { Allow: allow } });
    return plainResponse(dispatch, status, text, allow === "" ? {} : { Allow: allow });
  }
  if (method === "GET") rememberRoute(dispatch.table, url, match);
  return answerRoute(owner, request, match.value, match.params);
}

function answerRoute(owner: CallOwner, request: Request, route: BoundRoute, params: Record<string, string>): Answer {
  const { dispatch } = owner.wire;
  if (route.isUnavailable) {
    return plainResponse(dispatch, 503, `The module "${route.module}" is being replaced. Try again.`, { "Retry-After": "1" });
  }
  // Extended CONNECT (RFC 8441) is not announced, so a client that wants a WebSocket takes HTTP/1.1.
  if (route.kind === "websocket") return plainResponse(dispatch, 501, "This path speaks WebSocket, which needs HTTP/1.1 here.");
  return callHandler(owner, request, route, params);
}

function callHandler(owner: CallOwner, request: Request, route: BoundRoute, params: Record<string, string>): Answer {
  const { wire } = owner;
  adoptRequest(request, wire.isSecure);
  const context = requestContext(route.generation.context, wire, params, request);
  try {
    let value = route.generation.run(route.handler as FetchHandler, request, context);
    if (!(value instanceof Response) && isThenable(value)) {
      const promise = value instanceof Promise ? value : Promise.resolve(value);
      // An async handler that never waited has its answer already.
      if (Bun.peek.status(promise) !== "fulfilled") return new Call(owner, route, request).awaitHandler(promise);
      value = Bun.peek(promise);
    }
    const response = checkedResponse(wire.dispatch, route, value);
    return isStreamed(response) ? new Call(owner, route, request).stream(response) : response;
  } catch (error) {
    if (isBodyTooLarge(error)) return plainResponse(wire.dispatch, 413, "The body is larger than this server accepts.");
    wire.dispatch.handlerFailed(route, wire.client, error);
    return plainResponse(wire.dispatch, 500, "Internal Server Error");
  }
}
