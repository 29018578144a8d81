/**
 * From a request to its reply: finds the route, calls the handler, and sends what is at hand at once.
 */
import { isThenable } from "../../module/returned";
import { requestContext } from "../../module/request-context";
import type { BoundRoute } from "../../module/route";
import { NO_MATCH } from "../../router/match";
import { describeMismatch, normalisePath } from "../../router/paths";
import type { HostSocket } from "../websocket/connection";
import { readHandshake, REFUSAL_LINES } from "../websocket/handshake";
import { switchProtocols } from "../websocket/upgrade";
import type { Wire } from "../wire";
import type { IncomingBody } from "./body";
import { Exchange } from "./exchange";
import type { RequestHead } from "./head";
import { plainReply, Refusal } from "./refusal";
import { composeReply, keepsAlive } from "./reply";
import { LightRequest } from "./request";

/** What became of a request. KEEP: answered; CLOSE: answered, and the connection ends with it; else who sees to it and to what follows. */
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
  const path = normalisePath(head.path);
  if (path === null) return plain(wire, head, 400, "The path is not properly encoded.");
  if (path === "/health" && (head.method === "GET" || head.method === "HEAD")) {
    const report = dispatch.health();
    if (report !== null) return plain(wire, head, 200, report);
  }
  const match = dispatch.table.matchHttp(head.method, path);
  if (match === NO_MATCH || !("value" in match)) {
    // Middleware of all modules sees what no route takes too: it may answer a preflight, or hide what there is from strangers.
    if (dispatch.unmatched != null) return callHandler(wire, head, body, exchange, dispatch.unmatched, {});
    const { status, text, allow } = describeMismatch(head.method, match);
    return status === 204 ? empty(wire, head, allow) : plain(wire, head, status, text, allow === "" ? "" : `Allow: ${allow}\r\n`);
  }
  const route = match.value;
  if (route.isUnavailable)
    return plain(wire, head, 503, `The module "${route.module}" is being replaced. Try again.`, "Retry-After: 1\r\n");
  if (route.kind === "websocket") {
    const handshake = readHandshake(head);
    if (handshake instanceof Refusal) return refuseUpgrade(wire, head, handshake);
  }
  // Any other Upgrade may be ignored (RFC 9110 section 7.8).
  return callHandler(wire, head, body, exchange, route, match.params);
}

function callHandler(
  wire: Wire,
  head: RequestHead,
  body: IncomingBody | null,
  exchange: Exchange | null,
  route: BoundRoute,
  params: Record<string, string>,
): Verdict {
  const request = new LightRequest(head, body, wire.isSecure);
  const context = requestContext(route.generation.context, wire, params, request);
  let value: unknown;
  try {
    value = route.generation.run(route.handler as FetchHandler, request, context);
    if (!(value instanceof Response) && isThenable(value)) {
      const promise = value instanceof Promise ? value : Promise.resolve(value);
      // An async handler that never waited has its answer already.
      if (Bun.peek.status(promise) !== "fulfilled") {
        return (exchange ?? new Exchange(wire)).awaitHandler(head, route, request, promise);
      }
      value = Bun.peek(promise);
    }
    if (route.kind === "websocket" && !(value instanceof Response)) {
      const socket = switchProtocols(wire, head, route, value);
      return socket instanceof Refusal ? refuseUpgrade(wire, head, socket) : socket;
    }
    if (!(value instanceof Response)) throw noResponse(route, value);
    const keepAlive = keepsAlive(head, value) && !wire.dispatch.isDraining;
    const reply = composeReply(head, value, keepAlive, wire.dispatch.httpDate);
    if (reply === null) return (exchange ?? new Exchange(wire)).sendStream(head, route, request, value);
    if (value.status >= 500) wire.dispatch.counters.errors++;
    wire.write(reply);
    return keepAlive ? KEEP : CLOSE;
  } catch (error) {
    wire.dispatch.handlerFailed(route, wire.client, error);
    return plain(wire, head, 500, "Internal Server Error");
  }
}

/** The answer to OPTIONS where no route has it (RFC 9110 section 9.3.7). */
function empty(wire: Wire, head: RequestHead, allow: string): Verdict {
  const keepAlive = head.keepAlive && !wire.dispatch.isDraining;
  const connection = keepAlive ? (head.isHttp11 ? "" : "Connection: keep-alive\r\n") : "Connection: close\r\n";
  wire.write(`HTTP/1.1 204 No Content\r\nAllow: ${allow}\r\n${connection}Date: ${wire.dispatch.httpDate}\r\n\r\n`);
  return keepAlive ? KEEP : CLOSE;
}

function refuseUpgrade(wire: Wire, head: RequestHead, { status, text }: Refusal): Verdict {
  return plain(wire, head, status, text, REFUSAL_LINES[status]);
}

/** The error for a handler that returned something else. */
export function noResponse(route: BoundRoute, value: unknown): TypeError {
  const got = value === null ? "null" : typeof value;
  return new TypeError(
    `Module "${route.module}", route "${route.key}": fetch returned ${got}. It must return a Response, or a promise of one.`,
  );
}

function plain(wire: Wire, head: RequestHead, status: number, text: string, extra = ""): Verdict {
  const { dispatch } = wire;
  const keepAlive = head.keepAlive && !dispatch.isDraining;
  if (status >= 500) dispatch.counters.errors++;
  const connection = keepAlive && !head.isHttp11 ? "Connection: keep-alive\r\n" : "";
  wire.write(plainReply(dispatch.httpDate, status, text, keepAlive, extra + connection, head.method === "HEAD"));
  return keepAlive ? KEEP : CLOSE;
}
