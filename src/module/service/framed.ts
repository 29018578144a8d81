/** Puts a frame around the routes of modules that call services, so that the calls inherit deadline and cancellation. */
import { readFileSync } from "node:fs";
import type { Client, ServerWebSocket, Session, WebSocketHandlers } from "../contract";
import type { RouteSpec } from "../route";
import type { ModuleShape } from "../shape/shape";
import { type CallFrame, withinFrame } from "./frame";

/**
 * Whether a module may call services. Modules that do not name them need no frames, and pay nothing for them.
 *
 * @param file a bundle
 * @param hasServices a module that has services names them once for that
 */
export function callsServices(file: string, hasServices: boolean): boolean {
  const bundle = readFileSync(file);
  // A module in C.
  if (bundle.includes("hrmr_call") || bundle.includes("hrmr_store")) return true;
  const first = bundle.indexOf(WORD);
  return first !== -1 && (!hasServices || bundle.includes(WORD, first + WORD.length));
}

const WORD = "services";

export function withFrames(shape: ModuleShape): ModuleShape {
  return { ...shape, isFramed: true, routes: shape.routes.map(withFrame) };
}

const NOTHING: readonly string[] = [];

type ShapedRoute = ModuleShape["routes"][number];
type Handler = (...args: unknown[]) => unknown;
/** The first argument of a handler: a message, a request or a connection. */
interface Asked {
  readonly signal: AbortSignal;
  readonly client?: Client;
  readonly session?: Session;
}

function withFrame(route: ShapedRoute): ShapedRoute {
  const handler = route.handler as unknown as Handler;
  const { spec } = route;
  const framed: Handler = (asked, context) =>
    withinFrame(new RouteFrame(spec, asked as Asked, context), handler, asked, context);
  const { websocket } = route;
  const events =
    websocket === undefined ? {} : { websocket: { ...websocket, handlers: withEventFrames(websocket.handlers) } };
  return { ...route, handler: framed as ShapedRoute["handler"], ...events };
}

const EVENTS = ["open", "message", "ping", "pong", "drain", "close"] as const;

/** Events have no deadline of their own, and no caller waits for them. As methods, since handlers may use `this`. */
function withEventFrames(handlers: WebSocketHandlers): WebSocketHandlers {
  const methods = handlers as Readonly<Record<string, Handler | undefined>>;
  const framed: Record<string, Handler> = {};
  for (const event of EVENTS) {
    if (methods[event] === undefined) continue;
    framed[event] = (...values) =>
      withinFrame(new EventFrame(values[0] as ServerWebSocket), () => methods[event]?.(...values));
  }
  return framed as WebSocketHandlers;
}

class EventFrame implements CallFrame {
  readonly chain = NOTHING;
  readonly deadlineAt = Infinity;
  readonly #socket: ServerWebSocket;

  constructor(socket: ServerWebSocket) {
    this.#socket = socket;
  }

  get client(): Client {
    return this.#socket.client;
  }

  get identity(): string | null {
    return this.#socket.session.identity;
  }

  cancellation(): null {
    return null;
  }
}

class RouteFrame implements CallFrame {
  readonly chain = NOTHING;
  readonly deadlineAt: number;
  readonly #asked: Asked;
  readonly #context: unknown;

  constructor({ timeoutMs = 0, kind }: RouteSpec, asked: Asked, context: unknown) {
    this.#asked = asked;
    this.#context = context;
    const isEndless = timeoutMs === 0 || kind === "connect";
    // The server's own limit aborts the signal.
    this.deadlineAt = isEndless ? Infinity : performance.now() + timeoutMs;
  }

  get client(): Client | null {
    return this.#asked.client ?? (this.#context as { readonly client?: Client }).client ?? null;
  }

  get identity(): string | null {
    const session = this.#asked.session ?? (this.#context as { readonly session?: Session }).session;
    return session?.identity ?? null;
  }

  cancellation(): AbortSignal {
    return this.#asked.signal;
  }
}
