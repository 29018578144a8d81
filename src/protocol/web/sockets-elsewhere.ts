/**
 * WebSocket routes in C, on the server's side: each event of a socket is a call in the module's process, and the answer is
 * what the handler has sent. Until it is there, the socket is not read: so its events keep their order over reloads, and
 * a client that sends faster than the module works is held back.
 */
import { type CallServer, handlerMs } from "../../host/inline";
import { HostBusyError, HostLostError, UnavailableError } from "../../host/errors";
import type { Hosts } from "../../host/hosts";
import { toLatin1 } from "../../host/remote/messages";
import { readSocketReply, type SocketAct, SOCKET_EVENT, socketEventText } from "../../module/c/socket-messages";
import type { RequestContext, ServerWebSocket, WebSocketHandlers } from "../../module/contract";
import { withSession } from "../../module/session";
import type { BoundRoute, WebSocketSpec } from "../../module/route";
import { splitUrl } from "../../router/paths";
import { asHost } from "../../system/leave-graph";
import { asResponse, inQuarantine } from "./own-reply";

/** The places for calls of all sockets were taken: the event waits this long. In milliseconds. */
const BUSY_MS = 10;
/** Close codes of WebSocket (RFC 6455 section 7.4.1, and its registry at IANA). */
const TRY_AGAIN_LATER = 1013;

/** `socket.data`. */
interface Opened {
  readonly number: number;
  readonly query: string;
}

let lastNumber = 0;

/** The route for the routing table. */
export function socketsOnHost(
  hosts: Hosts,
  route: BoundRoute & { readonly websocket: WebSocketSpec },
  server: CallServer,
): BoundRoute {
  const upgrade = ({ url }: Request, _context: RequestContext): Response | { data: Opened } => {
    const { quarantine } = hosts.status(route.generation.id);
    if (quarantine !== null) {
      const waitMs = (quarantine.nextTryAtMs ?? 0) - Date.now();
      return asResponse(inQuarantine(route.module, Math.max(1, Math.ceil(waitMs / 1000))));
    }
    return { data: { number: ++lastNumber, query: splitUrl(url).query.slice(1) } };
  };
  const events = new RemoteEvents(hosts, route, server);
  const handlers: WebSocketHandlers = {
    open: (socket) => events.tell(socket, SOCKET_EVENT.open, Buffer.from((socket.data as Opened).query)),
    message: (socket, data) =>
      typeof data === "string"
        ? events.tell(socket, SOCKET_EVENT.text, Buffer.from(data))
        : events.tell(socket, SOCKET_EVENT.binary, data),
    drain: (socket) => events.tell(socket, SOCKET_EVENT.drain, Buffer.alloc(0)),
    close: (socket, code, reason) => events.tell(socket, SOCKET_EVENT.closed, Buffer.from(reason), code),
  };
  const websocket: WebSocketSpec = { ...route.websocket, handlers };
  return { ...route, websocket, handler: upgrade as unknown as BoundRoute["handler"] };
}

class RemoteEvents {
  readonly #hosts: Hosts;
  readonly #route: BoundRoute;
  readonly #server: CallServer;

  constructor(hosts: Hosts, route: BoundRoute, server: CallServer) {
    this.#hosts = hosts;
    this.#route = route;
    this.#server = server;
  }

  /** Rejects if the handler failed: the socket is closed then. */
  async tell(socket: ServerWebSocket, event: number, payload: Uint8Array, code = 0): Promise<void> {
    const { number } = socket.data as Opened;
    const text = socketEventText({ event, socket: number, code }, toLatin1(payload));
    for (;;) {
      try {
        const bytes = await asHost(() => this.#call(socket, text));
        return answer(socket, event, bytes);
      } catch (error) {
        if (error instanceof HostBusyError) await asHost(() => Bun.sleep(BUSY_MS));
        else if (error instanceof UnavailableError) return socket.close(TRY_AGAIN_LATER, "the module is in quarantine");
        // Nobody can be told.
        else if (event === SOCKET_EVENT.closed && error instanceof HostLostError) return;
        else throw error;
      }
    }
  }

  #call(socket: ServerWebSocket, latin1: string): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#hosts.call({
        route: this.#route,
        client: withSession(socket.client, socket.session),
        latin1,
        body: null,
        timeoutMs: handlerMs(this.#server, this.#route),
        owner: {
          resolve: (reply) =>
            resolve(typeof reply === "string" ? Buffer.from(reply, "latin1") : Buffer.from(reply as Uint8Array)),
          reject,
        },
      });
    });
  }
}

function answer(socket: ServerWebSocket, event: number, bytes: Buffer): void {
  const { reply, acts } = readSocketReply(bytes);
  socket.cork(() => {
    for (const act of acts) if (act.what !== "c") carryOut(socket, act);
    if (reply.length > 0) socket.send(event === SOCKET_EVENT.binary ? reply : reply.toString());
  });
  const close = acts.find(({ what }) => what === "c");
  if (close !== undefined) socket.close(Number(close.name), close.bytes.toString());
}

function carryOut(socket: ServerWebSocket, { what, name, bytes }: SocketAct): void {
  switch (what) {
    case "t":
      return void socket.send(bytes.toString());
    case "b":
      return void socket.send(bytes);
    case "+":
      return void socket.subscribe(name);
    case "-":
      return void socket.unsubscribe(name);
    case "T":
      return void socket.publish(name, bytes.toString());
    case "B":
      return void socket.publish(name, bytes);
  }
}
