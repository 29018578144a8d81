/** Turns an HTTP request into a WebSocket. `protocol/http1` calls it for a route of kind "websocket". */
import type { WebSocketUpgrade } from "../../module/contract";
import type { BoundRoute } from "../../module/route";
import { tellAccess } from "../../host/inline";
import { answeredHttp } from "../access";
import type { RequestHead } from "../http1/head";
import { OwnReply } from "../web/own-reply";
import { socketRoute, type WebSocketBound } from "../routing";
import type { Dispatch, Wire } from "../wire";
import { WebSocketConnection } from "./connection";
import { acceptLines, composeSwitch, readHandshake, readStreamHandshake, valuesOf } from "./handshake";
import { SocketHub } from "./hub";

type Handshake = Exclude<ReturnType<typeof readHandshake>, OwnReply>;

const GONE = new OwnReply(503, "The module was replaced meanwhile. Try again.");

/**
 * Answers 101 and makes the connection a WebSocket.
 *
 * @param answer the result of the module's `upgrade`, if it is no Response
 * @param startedAt  of the call of `upgrade`, by performance.now()
 * @returns the socket, which takes the bytes behind the request; or the refusal: the route may be gone
 * @throws TypeError for an answer that cannot be sent
 */
export function switchProtocols(
  wire: Wire,
  head: RequestHead,
  route: BoundRoute,
  answer: unknown,
  startedAt: number,
): WebSocketConnection | OwnReply {
  const { dispatch } = wire;
  const handshake = readHandshake(head);
  if (handshake instanceof OwnReply) return handshake;
  const current = currentRoute(dispatch, route);
  if (current === null) return GONE;
  const { protocols, perMessageDeflate } = current.websocket;
  const upgrade = checkAnswer(answer, route);
  const reply = composeSwitch(handshake, upgrade, protocols, perMessageDeflate);
  // Header values are Latin-1 on the wire, and a string would leave as UTF-8.
  wire.write(Buffer.from(reply, "latin1"));
  if (dispatch.access !== null)
    tellAccess(dispatch.access, wire.client, route, startedAt, answeredHttp("websocket", head, 101, reply.length));
  return open(wire, head, current, handshake, upgrade);
}

/**
 * The same for a stream of HTTP/2 (RFC 8441): answers 200.
 *
 * @param wire  the stream
 * @param send  sends the head of the reply, with these header lines
 */
export function acceptStream(
  wire: Wire,
  head: RequestHead,
  route: BoundRoute,
  answer: unknown,
  startedAt: number,
  send: (lines: string) => void,
): WebSocketConnection | OwnReply {
  const { dispatch } = wire;
  const handshake = readStreamHandshake(head);
  if (handshake instanceof OwnReply) return handshake;
  const current = currentRoute(dispatch, route);
  if (current === null) return GONE;
  const { protocols, perMessageDeflate } = current.websocket;
  const upgrade = checkAnswer(answer, route);
  const lines = acceptLines(handshake, upgrade, protocols, perMessageDeflate);
  send(lines);
  if (dispatch.access !== null)
    tellAccess(dispatch.access, wire.client, route, startedAt, answeredHttp("websocket", head, 200, lines.length));
  return open(wire, head, current, handshake, upgrade);
}

/** @returns null: no WebSocket may begin on it any more */
function currentRoute(dispatch: Dispatch, route: BoundRoute): WebSocketBound | null {
  const current = socketRoute(dispatch.routing, route.module, route.key);
  return current === null || current.isUnavailable || dispatch.isDraining ? null : current;
}

function open(
  wire: Wire,
  { fields }: RequestHead,
  route: WebSocketBound,
  { deflate }: Handshake,
  upgrade: WebSocketUpgrade | null,
): WebSocketConnection {
  const sockets = SocketHub.of(wire.dispatch).socketsOf(route);
  const headers = {
    get: (name: string) => (typeof fields === "string" ? null : valuesOf(fields, name).join(", ") || null),
  };
  const session = wire.dispatch.sessions?.ofRequest(headers, wire.client, wire.session);
  return WebSocketConnection.open(wire, sockets, route.websocket.perMessageDeflate ? deflate : null, {
    data: upgrade?.data,
    session: session ?? wire.session,
  });
}

function checkAnswer(answer: unknown, route: BoundRoute): WebSocketUpgrade | null {
  if (answer === undefined) return null;
  if (typeof answer === "object" && answer !== null) return answer;
  throw new TypeError(
    `Module "${route.module}", route "${route.key}": upgrade returned ${answer === null ? "null" : typeof answer}. ` +
      "Return nothing, { data, headers, protocol }, or a Response that refuses.",
  );
}
