/** Turns an HTTP request into a WebSocket. `protocol/http1` calls it for a route of kind "websocket". */
import type { WebSocketUpgrade } from "../../module/contract";
import type { BoundRoute } from "../../module/route";
import { tellAccess } from "../../host/inline";
import { answeredHttp } from "../access";
import type { RequestHead } from "../http1/head";
import { OwnReply } from "../web/own-reply";
import { socketRoute } from "../routing";
import type { Wire } from "../wire";
import { WebSocketConnection } from "./connection";
import { composeSwitch, readHandshake } from "./handshake";
import { SocketHub } from "./hub";

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
  const current = socketRoute(dispatch.routing, route.module, route.key);
  if (current === null || current.isUnavailable || dispatch.isDraining) return GONE;
  const { protocols, perMessageDeflate } = current.websocket;
  const upgrade = checkAnswer(answer, route);
  const reply = composeSwitch(handshake, upgrade, protocols, perMessageDeflate);
  // Header values are Latin-1 on the wire, and a string would leave as UTF-8.
  wire.write(Buffer.from(reply, "latin1"));
  if (dispatch.access !== null)
    tellAccess(dispatch.access, wire.client, route, startedAt, answeredHttp("websocket", head, 101, reply.length));
  const sockets = SocketHub.of(dispatch).socketsOf(current);
  return WebSocketConnection.open(wire, sockets, perMessageDeflate ? handshake.deflate : null, upgrade?.data);
}

function checkAnswer(answer: unknown, route: BoundRoute): WebSocketUpgrade | null {
  if (answer === undefined) return null;
  if (typeof answer === "object" && answer !== null) return answer;
  throw new TypeError(
    `Module "${route.module}", route "${route.key}": upgrade returned ${answer === null ? "null" : typeof answer}. ` +
      "Return nothing, { data, headers, protocol }, or a Response that refuses.",
  );
}
