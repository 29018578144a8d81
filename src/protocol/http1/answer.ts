/** Answers a request: finds the route, calls the handler, and sends a reply that is ready at once. */
import { type Answered, beginCall, endCall, failCall, runInline, tellAccess } from "../../host/inline";
import { isThenable } from "../../module/graph/returned";
import { requestContext } from "../../module/shape/request-context";
import type { BoundRoute } from "../../module/route";
import { NO_MATCH } from "../../router/match";
import { splitTarget } from "../../router/paths";
import { answeredHttp, byteLength } from "../access";
import { endpointAt } from "../routing";
import { countStatus, noResponse } from "../web/handler-reply";
import { beingReplaced, HANDLER_FAILED, misspelled, noRoute, OwnReply, SERVER_OPTIONS } from "../web/own-reply";
import { LightHeaders, LightRequest } from "../web/request";
import type { WebSocketConnection } from "../websocket/connection";
import { NO_UPGRADE, readHandshake, refuseOrigin } from "../websocket/handshake";
import { switchProtocols } from "../websocket/upgrade";
import type { Wire } from "../wire";
import type { IncomingBody } from "./body";
import type { RequestHead } from "./head";
import { noteReply, repeatReply } from "./repeat";
import { composeOwn, composeReply, dateOf, keepsAlive, tailLines } from "./reply";
import { trailersOf, Waiting } from "./replying";

/**
 * The connection's next step after a request. KEEP: answered; CLOSE: answered, and the connection ends with it.
 * Otherwise the waiting reply, or the new owner of the connection.
 */
export const KEEP = 0;
export const CLOSE = 1;
export type NextStep = typeof KEEP | typeof CLOSE | Waiting | WebSocketConnection;

type FetchHandler = (request: LightRequest, context: object) => unknown;

/**
 * Answers one request.
 *
 * @param body  null when it has none; it may still be arriving
 */
export function answer(wire: Wire, head: RequestHead, body: IncomingBody | null): NextStep {
  const { dispatch } = wire;
  dispatch.counters.httpRequests++;
  if (body === null && repeatReply(wire, head)) return KEEP;
  if (head.target === "*") return say(wire, head, SERVER_OPTIONS);
  const { path } = head;
  if (typeof path !== "string") return say(wire, head, misspelled(head.method, path, splitTarget(head.target).query));
  const request = new LightRequest(head, body, wire.isSecure);
  const { routing } = dispatch;
  const endpoint = endpointAt(routing, head.method, path);
  if (endpoint?.isFor(wire.client, head.host, new LightHeaders(head.fields).get("origin")))
    return callHandler(wire, head, request, endpoint.route, {});
  const match = routing.table.matchHttp(head.method, path);
  if (match === NO_MATCH || !("value" in match)) {
    // Global middleware also sees requests without a route: it may answer a preflight, or hide the routes from
    // strangers.
    if (routing.unmatched !== null) return callHandler(wire, head, request, routing.unmatched, {});
    return say(wire, head, noRoute(head.method, match));
  }
  const route = match.value;
  if (route.isUnavailable) return say(wire, head, beingReplaced(route.module), route);
  if (route.kind === "websocket") {
    const handshake = readHandshake(head);
    if (handshake === NO_UPGRADE && route.page !== undefined)
      return callHandler(wire, head, request, route.page, match.params);
    if (handshake instanceof OwnReply) return say(wire, head, handshake, route);
    const foreign = refuseOrigin(head, route.websocket?.origins ?? []);
    if (foreign !== null) return say(wire, head, foreign, route);
  }
  // Any other Upgrade may be ignored (RFC 9110 section 7.8).
  return callHandler(wire, head, request, route, match.params);
}

function callHandler(
  wire: Wire,
  head: RequestHead,
  request: LightRequest,
  route: BoundRoute,
  params: Record<string, string>,
): NextStep {
  const startedAt = beginCall(route, wire.dispatch.access !== null);
  const context = requestContext(route.generation.context, wire, head.path as string, route.key, params, request);
  let value: unknown;
  try {
    value = runInline(route, route.handler as FetchHandler, request, context);
    if (!(value instanceof Response) && isThenable(value)) {
      const promise = value instanceof Promise ? value : Promise.resolve(value);
      // An async handler that never waited has answered already.
      if (Bun.peek.status(promise) !== "fulfilled")
        return new Waiting(head, request, route, startedAt || performance.now(), promise);
      value = Bun.peek(promise);
    }
    if (route.kind === "websocket" && !(value instanceof Response)) {
      const socket = switchProtocols(wire, head, route, value, startedAt);
      endCall(route, startedAt);
      return socket instanceof OwnReply ? say(wire, head, socket, route) : socket;
    }
    if (!(value instanceof Response)) throw noResponse(route, value);
    const keepAlive = keepsAlive(head, value) && !wire.dispatch.isDraining;
    const reply =
      trailersOf(head, request) === null
        ? composeReply(head, value, keepAlive, dateOf(wire.dispatch, keepAlive))
        : null;
    if (reply === null) return new Waiting(head, request, route, startedAt || performance.now(), value);
    wire.write(reply);
    endCall(route, startedAt);
    countStatus(wire.dispatch, route, value.status);
    // Only a reply that is kept ready is bytes.
    if (keepAlive && reply instanceof Buffer) noteReply(wire, head, route, value, reply);
    if (wire.dispatch.access !== null)
      tellAccess(wire.dispatch.access, wire.client, route, startedAt, answered(head, value.status, reply));
    return keepAlive ? KEEP : CLOSE;
  } catch (error) {
    endCall(route, startedAt);
    failCall(wire.dispatch, route, wire, error);
    return say(wire, head, HANDLER_FAILED, route, startedAt);
  }
}

/**
 * Sends a reply of the server's own.
 *
 * @param route      null: none took the request
 * @param startedAt  0: no handler was called
 */
function say(
  wire: Wire,
  head: RequestHead,
  reply: OwnReply,
  route: BoundRoute | null = null,
  startedAt = 0,
): typeof KEEP | typeof CLOSE {
  const { dispatch } = wire;
  const keepAlive = head.keepAlive && !dispatch.isDraining;
  if (reply.status >= 500) dispatch.counters.errors++;
  const tail = tailLines(dateOf(dispatch, keepAlive), keepAlive, head.isHttp11);
  const message = composeOwn(reply, tail, head.method === "HEAD");
  wire.write(message);
  if (dispatch.access !== null)
    tellAccess(dispatch.access, wire.client, route, startedAt, answered(head, reply.status, message));
  return keepAlive ? KEEP : CLOSE;
}

function answered(head: RequestHead, status: number, message: string | Uint8Array): Answered {
  return answeredHttp("http/1.1", head, status, byteLength(message));
}
