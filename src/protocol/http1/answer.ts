/**
 * From a request to its reply: finds the route, calls the handler, and sends what is at hand at once.
 */
import { isThenable } from "../../module/graph/returned";
import { requestContext } from "../../module/shape/request-context";
import type { BoundRoute } from "../../module/route";
import { runInline } from "../../host/inline";
import { NO_MATCH } from "../../router/match";
import { describeMismatch, type PathFault, splitTarget } from "../../router/paths";
import { byteLength, tellHttp } from "../access";
import { countStatus } from "../web/count-status";
import { endpointAt } from "../web/endpoints";
import { describeFault } from "../web/paths";
import type { HostSocket } from "../websocket/connection";
import { readHandshake, refuseOrigin, REFUSAL_LINES } from "../websocket/handshake";
import { switchProtocols } from "../websocket/upgrade";
import type { Wire } from "../wire";
import type { IncomingBody } from "./body";
import { Exchange } from "./exchange";
import type { RequestHead } from "./head";
import { dateOf, plainReply, Refusal } from "./refusal";
import { composeReply, keepsAlive } from "./reply";
import { LightRequest } from "../web/request";
import { LightHeaders } from "../web/request-headers";

/**
 * What became of a request. KEEP: answered; CLOSE: answered, and the connection ends with it; else who sees to it and
 * to what follows.
 */
export const KEEP = 0;
export const CLOSE = 1;
export type Verdict = typeof KEEP | typeof CLOSE | Exchange | HostSocket;

type FetchHandler = (request: LightRequest, context: object) => unknown;

/** What OPTIONS * tells (RFC 9110 section 9.3.7): the methods of the server, not of a route. */
const SERVER_METHODS = "Allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n";

/**
 * Answers one request.
 *
 * @param body  null when it has none; it may still be arriving, and then `exchange` is there
 * @param exchange  the one in charge, if there is one already; else one is made when the reply has to be waited for
 */
export function answer(wire: Wire, head: RequestHead, body: IncomingBody | null, exchange: Exchange | null): Verdict {
  const { dispatch } = wire;
  dispatch.counters.httpRequests++;
  if (head.target === "*") return plain(wire, head, 200, "OK", SERVER_METHODS);
  const { path } = head;
  if (typeof path !== "string") return misspelled(wire, head, path);
  const endpoint = endpointAt(wire, head.method, path);
  if (endpoint?.isFor(wire.client, head.host, new LightHeaders(head.fields).get("origin")))
    return callHandler(wire, head, path, body, exchange, endpoint.route, {});
  const { table, unmatched } = dispatch.routing;
  const match = table.matchHttp(head.method, path);
  if (match === NO_MATCH || !("value" in match)) {
    // Middleware of all modules sees what no route takes too: it may answer a preflight, or hide what there is from
    // strangers.
    if (unmatched !== null) return callHandler(wire, head, path, body, exchange, unmatched, {});
    const { status, text, allow } = describeMismatch(head.method, match);
    return status === 204
      ? empty(wire, head, allow)
      : plain(wire, head, status, text, allow === "" ? "" : `Allow: ${allow}\r\n`);
  }
  const route = match.value;
  if (route.isUnavailable)
    return plain(
      wire,
      head,
      503,
      `The module "${route.module}" is being replaced. Try again.`,
      "Retry-After: 1\r\n",
      route,
    );
  if (route.kind === "websocket") {
    const handshake = readHandshake(head);
    if (handshake instanceof Refusal) return refuseUpgrade(wire, head, handshake, route);
    const foreign = refuseOrigin(head, route.websocket?.origins ?? []);
    if (foreign !== null) return refuseUpgrade(wire, head, foreign, route);
  }
  // Any other Upgrade may be ignored (RFC 9110 section 7.8).
  return callHandler(wire, head, path, body, exchange, route, match.params);
}

function callHandler(
  wire: Wire,
  head: RequestHead,
  path: string,
  body: IncomingBody | null,
  exchange: Exchange | null,
  route: BoundRoute,
  params: Record<string, string>,
): Verdict {
  const { figures } = route.generation;
  const startedAt = figures.begins(wire.dispatch.access !== null);
  const request = new LightRequest(head, body, wire.isSecure);
  const context = requestContext(route.generation.context, wire, path, route.key, params, request);
  let value: unknown;
  try {
    value = runInline(route, route.handler as FetchHandler, request, context);
    if (!(value instanceof Response) && isThenable(value)) {
      const promise = value instanceof Promise ? value : Promise.resolve(value);
      // An async handler that never waited has its answer already.
      if (Bun.peek.status(promise) !== "fulfilled") {
        return (exchange ?? new Exchange(wire)).awaitHandler(
          head,
          route,
          request,
          promise,
          startedAt || performance.now(),
        );
      }
      value = Bun.peek(promise);
    }
    if (route.kind === "websocket" && !(value instanceof Response)) {
      const socket = switchProtocols(wire, head, route, value, startedAt);
      figures.ended(startedAt);
      return socket instanceof Refusal ? refuseUpgrade(wire, head, socket, route) : socket;
    }
    if (!(value instanceof Response)) throw noResponse(route, value);
    const keepAlive = keepsAlive(head, value) && !wire.dispatch.isDraining;
    const reply = composeReply(head, value, keepAlive, dateOf(wire.dispatch, keepAlive));
    if (reply === null)
      return (exchange ?? new Exchange(wire)).sendStream(head, route, request, value, startedAt || performance.now());
    wire.write(reply);
    noteReply(wire, head, route, value.status, reply, startedAt);
    return keepAlive ? KEEP : CLOSE;
  } catch (error) {
    figures.ended(startedAt);
    figures.fail();
    wire.dispatch.handlerFailed(route, wire.client, error);
    return plain(wire, head, 500, "Internal Server Error", "", route, startedAt);
  }
}

/** The handler's reply was written. */
function noteReply(
  wire: Wire,
  head: RequestHead,
  route: BoundRoute,
  status: number,
  reply: string | Uint8Array,
  startedAt: number,
): void {
  const { dispatch } = wire;
  route.generation.figures.ended(startedAt);
  countStatus(dispatch, route, status);
  if (dispatch.access !== null)
    tellHttp(dispatch.access, "http/1.1", wire.client, head, route, status, byteLength(reply), startedAt);
}

function misspelled(wire: Wire, head: RequestHead, fault: PathFault): Verdict {
  const { status, text, location } = describeFault(head.method, fault, splitTarget(head.target).query);
  return plain(wire, head, status, text, location === "" ? "" : `Location: ${location}\r\n`);
}

/** The answer to OPTIONS where no route has it (RFC 9110 section 9.3.7). */
function empty(wire: Wire, head: RequestHead, allow: string): Verdict {
  const keepAlive = head.keepAlive && !wire.dispatch.isDraining;
  const connection = keepAlive ? (head.isHttp11 ? "" : "Connection: keep-alive\r\n") : "Connection: close\r\n";
  const reply = `HTTP/1.1 204 No Content\r\nAllow: ${allow}\r\n${connection}Date: ${dateOf(wire.dispatch, keepAlive)}\r\n\r\n`;
  wire.write(reply);
  const { access } = wire.dispatch;
  if (access !== null) tellHttp(access, "http/1.1", wire.client, head, null, 204, reply.length, 0);
  return keepAlive ? KEEP : CLOSE;
}

function refuseUpgrade(wire: Wire, head: RequestHead, { status, text }: Refusal, route: BoundRoute): Verdict {
  return plain(wire, head, status, text, REFUSAL_LINES[status], route);
}

/** The error for a handler that returned something else. */
export function noResponse(route: BoundRoute, value: unknown): TypeError {
  const got = value === null ? "null" : typeof value;
  return new TypeError(
    `Module "${route.module}", route "${route.key}": fetch returned ${got}. It must return a Response, or a promise of one.`,
  );
}

/** @param route null: none took it; @param startedAt 0: no handler was called */
function plain(
  wire: Wire,
  head: RequestHead,
  status: number,
  text: string,
  extra = "",
  route: BoundRoute | null = null,
  startedAt = 0,
): Verdict {
  const { dispatch } = wire;
  const keepAlive = head.keepAlive && !dispatch.isDraining;
  if (status >= 500) dispatch.counters.errors++;
  const connection = keepAlive && !head.isHttp11 ? "Connection: keep-alive\r\n" : "";
  const reply = plainReply(
    dateOf(dispatch, keepAlive),
    status,
    text,
    keepAlive,
    extra + connection,
    head.method === "HEAD",
  );
  wire.write(reply);
  if (dispatch.access !== null)
    tellHttp(dispatch.access, "http/1.1", wire.client, head, route, status, byteLength(reply), startedAt);
  return keepAlive ? KEEP : CLOSE;
}
