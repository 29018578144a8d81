/** Answers a request: finds the route, calls the handler, and sends a reply that is ready at once. */
import { beginCall, endCall, failCall, runInline, tellAccess } from "../../host/inline";
import { isThenable } from "../../module/graph/returned";
import { requestContext } from "../../module/shape/request-context";
import type { BoundRoute } from "../../module/route";
import { NO_MATCH } from "../../router/match";
import { splitTarget } from "../../router/paths";
import { answeredHttp } from "../access";
import type { IncomingBody } from "../http1/body";
import { Waiting } from "../http1/replying";
import { endpointAt } from "../routing";
import { countStatus, noResponse } from "../web/handler-reply";
import { beingReplaced, HANDLER_FAILED, misspelled, noRoute, OwnReply, SERVER_OPTIONS } from "../web/own-reply";
import { LightHeaders, LightRequest } from "../web/request";
import { readStreamHandshake, refuseOrigin } from "../websocket/handshake";
import type { Wire } from "../wire";
import type { Http2Head } from "./head";
import { ownReply, readReply, type WholeReply } from "./reply";

/** Where the reply goes. */
export interface AnswerOwner {
  readonly wire: Wire;
  /** Sends the whole reply to the stream. */
  reply(stream: number, whole: WholeReply): void;
}

const NEEDS_CONNECT = new OwnReply(501, "This path speaks WebSocket: over HTTP/2 it begins with CONNECT (RFC 8441).");
const NO_WEBSOCKET = new OwnReply(400, "This path does not speak WebSocket.");

type FetchHandler = (request: LightRequest, context: object) => unknown;

/**
 * Answers one request.
 *
 * @param body  null when it has none; it may still be arriving
 * @returns null: the reply is sent; otherwise a handler that waits, or a streamed reply
 */
export function answer(owner: AnswerOwner, stream: number, head: Http2Head, body: IncomingBody | null): Waiting | null {
  const { dispatch } = owner.wire;
  dispatch.counters.httpRequests++;
  const { routing } = dispatch;
  if (head.knownTable === routing.table)
    return answerRoute(owner, stream, head, body, head.knownRoute as BoundRoute, head.knownParams ?? {});
  if (head.target === "*") return say(owner, stream, head, SERVER_OPTIONS);
  const { path } = head;
  if (typeof path !== "string")
    return say(owner, stream, head, misspelled(head.method, path, splitTarget(head.target).query));
  const endpoint = endpointAt(routing, head.method, path);
  if (endpoint?.isFor(owner.wire.client, head.host, new LightHeaders(head.fields).get("origin")))
    return callHandler(owner, stream, head, body, endpoint.route, {});
  const match = routing.table.matchHttp(head.method, path);
  if (match === NO_MATCH || !("value" in match)) {
    if (routing.unmatched !== null) return callHandler(owner, stream, head, body, routing.unmatched, {});
    return say(owner, stream, head, noRoute(head.method, match));
  }
  // An endpoint's reply depends on the client, and params that are not frozen were made for one request.
  if (endpoint === null && Object.isFrozen(match.params)) {
    head.knownTable = routing.table;
    head.knownRoute = match.value;
    head.knownParams = match.params;
  }
  return answerRoute(owner, stream, head, body, match.value, match.params);
}

function answerRoute(
  owner: AnswerOwner,
  stream: number,
  head: Http2Head,
  body: IncomingBody | null,
  route: BoundRoute,
  params: Readonly<Record<string, string>>,
): Waiting | null {
  if (route.isUnavailable) return say(owner, stream, head, beingReplaced(route.module), route);
  if (route.kind === "websocket") {
    if (head.protocol === "" && route.page !== undefined)
      return callHandler(owner, stream, head, body, route.page, params);
    if (head.protocol === "") return say(owner, stream, head, NEEDS_CONNECT, route);
    const handshake = readStreamHandshake(head);
    if (handshake instanceof OwnReply) return say(owner, stream, head, handshake, route);
    const foreign = refuseOrigin(head, route.websocket?.origins ?? []);
    if (foreign !== null) return say(owner, stream, head, foreign, route);
  } else if (head.protocol !== "") return say(owner, stream, head, NO_WEBSOCKET, route);
  return callHandler(owner, stream, head, body, route, params);
}

function callHandler(
  owner: AnswerOwner,
  stream: number,
  head: Http2Head,
  body: IncomingBody | null,
  route: BoundRoute,
  params: Readonly<Record<string, string>>,
): Waiting | null {
  const { wire } = owner;
  const { dispatch } = wire;
  const startedAt = beginCall(route, dispatch.access !== null);
  const request = new LightRequest(head, body, wire.isSecure);
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
    if (route.kind === "websocket" && !(value instanceof Response))
      return new Waiting(head, request, route, startedAt || performance.now(), Promise.resolve(value));
    if (!(value instanceof Response)) throw noResponse(route, value);
    const whole = LightRequest.responseTrailersOf(request) === null ? readReply(head, value) : null;
    if (whole === null) return new Waiting(head, request, route, startedAt || performance.now(), value);
    endCall(route, startedAt);
    countStatus(dispatch, route, whole.status);
    send(owner, stream, head, whole, route, startedAt);
    return null;
  } catch (error) {
    endCall(route, startedAt);
    failCall(dispatch, route, wire, error);
    return say(owner, stream, head, HANDLER_FAILED, route, startedAt);
  }
}

/** A reply of the server's own. @param route null: none took the request; @param startedAt 0: no handler was called */
function say(
  owner: AnswerOwner,
  stream: number,
  head: Http2Head,
  reply: OwnReply,
  route: BoundRoute | null = null,
  startedAt = 0,
): null {
  if (reply.status >= 500) owner.wire.dispatch.counters.errors++;
  send(owner, stream, head, ownReply(reply, head.method === "HEAD"), route, startedAt);
  return null;
}

function send(
  owner: AnswerOwner,
  stream: number,
  head: Http2Head,
  whole: WholeReply,
  route: BoundRoute | null,
  startedAt: number,
): void {
  owner.reply(stream, whole);
  const { access } = owner.wire.dispatch;
  if (access === null) return;
  const bytes = typeof whole.body === "string" ? Buffer.byteLength(whole.body) : whole.body.length;
  tellAccess(access, owner.wire.client, route, startedAt, answeredHttp("h2", head, whole.status, bytes));
}
