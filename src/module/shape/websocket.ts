/** Checks a route's `websocket`. */
import type { WebSocketHandlers } from "../contract";
import type { WebSocketSpec } from "../route";
import { type Fields, isObject, isPlain, kindOf, refuseUnknown, shown, type Wrong } from "./errors";

const EVENTS = ["upgrade", "fetch", "open", "message", "ping", "pong", "drain", "close"];
const OPTIONS = [
  ...EVENTS,
  "maxMessageBytes",
  "idleTimeoutMs",
  "perMessageDeflate",
  "protocols",
  "origins",
  "maxQueuedBytes",
];
const DEFAULT_MAX_QUEUED_BYTES = 16_777_216;
const DEFAULT_IDLE_TIMEOUT_MS = 120_000;
/** The longest buffer on every platform. */
const MAX_BYTES = 2 ** 31 - 1;
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
/** RFC 6455 section 4.1: a token of HTTP. */
const PROTOCOL = /^[!#$%&'*+.^_`|~\w-]+$/;

/**
 * @param where  the route, for messages
 * @throws Error as `readShape`
 */
export function readWebSocket(wrong: Wrong, websocket: unknown): WebSocketSpec {
  if (!isObject(websocket) || Array.isArray(websocket)) {
    throw wrong(`: "websocket" is ${kindOf(websocket)}. Write { message(socket, data) { socket.send(data); } }`);
  }
  // An instance of a class may have other fields beside the handlers.
  if (isPlain(websocket)) refuseUnknown((problem) => wrong(`: "websocket"${problem}`), websocket, OPTIONS);
  for (const event of EVENTS) {
    const handler = websocket[event];
    if (handler !== undefined && typeof handler !== "function")
      throw wrong(`: "websocket.${event}" is ${kindOf(handler)}, and must be a function`);
  }
  const { perMessageDeflate } = websocket;
  if (perMessageDeflate !== undefined && typeof perMessageDeflate !== "boolean")
    throw wrong(`: "websocket.perMessageDeflate" is ${shown(perMessageDeflate)}, and must be true or false`);
  return {
    handlers: websocket as WebSocketHandlers,
    maxMessageBytes: readNumber(wrong, websocket, "maxMessageBytes", 1, MAX_BYTES),
    maxQueuedBytes: readNumber(wrong, websocket, "maxQueuedBytes", 1, MAX_BYTES) ?? DEFAULT_MAX_QUEUED_BYTES,
    idleTimeoutMs: readNumber(wrong, websocket, "idleTimeoutMs", 0, MAX_TIMEOUT_MS) ?? DEFAULT_IDLE_TIMEOUT_MS,
    perMessageDeflate: perMessageDeflate ?? true,
    protocols: readProtocols(wrong, websocket.protocols),
    origins: readOrigins(wrong, websocket.origins),
  };
}

function readNumber(wrong: Wrong, websocket: Fields, option: string, least: number, most: number): number | undefined {
  const value = websocket[option];
  if (value === undefined) return undefined;
  if (typeof value === "number" && value >= least && value <= most) return value;
  throw wrong(`: "websocket.${option}" is ${shown(value)}, and must be a number from ${least} to ${most}`);
}

function readOrigins(wrong: Wrong, origins: unknown): "*" | readonly string[] {
  if (origins === undefined) return [];
  if (origins === "*") return origins;
  if (!Array.isArray(origins)) {
    throw wrong(
      `: "websocket.origins" is ${shown(origins)}, and must be a list such as ["https://app.example.com"], or "*"`,
    );
  }
  return origins.map((origin: unknown) => {
    const read = typeof origin === "string" ? readOrigin(origin) : null;
    if (read !== null) return read;
    throw wrong(
      `: "websocket.origins" holds ${shown(origin)}, which is not an origin. Write it as "https://app.example.com"`,
    );
  });
}

/** @returns null if no browser can send this: an origin has no path (RFC 6454 section 6.2) */
function readOrigin(text: string): string | null {
  if (text === "null") return text;
  const url = URL.parse(text);
  return url !== null && /^[a-z][a-z\d+.-]*:\/\/[^/?#@\s]+$/i.test(text) ? `${url.protocol}//${url.host}` : null;
}

function readProtocols(wrong: Wrong, protocols: unknown): readonly string[] {
  if (protocols === undefined) return [];
  if (
    Array.isArray(protocols) &&
    protocols.every((protocol) => typeof protocol === "string" && PROTOCOL.test(protocol))
  )
    return protocols;
  throw wrong(`: "websocket.protocols" is ${shown(protocols)}, and must be a list of names such as ["chat.v2"]`);
}
