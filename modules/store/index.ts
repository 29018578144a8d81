/**
 * Brings the store to clients. It ships with hrmr and is off until hrmr.json names it:
 *
 *   "modules": { "store": {} }
 *
 *   redis-cli -p 8080 set greeting hello    # clients of Redis, in RESP2 and RESP3
 *   curl localhost:8080/store/scores/ann    # documents over HTTP
 *   curl -N localhost:8080/store/scores?watch             # changes, as server-sent events
 *   new WebSocket("ws://localhost:8080/store/scores")     # changes, as messages of JSON
 *
 * Settings:
 *   resp  false: clients of Redis are not served. Default true.
 *   http  false: /store is not served. Default true.
 *   topics  channels that clients of Redis may SUBSCRIBE to: topics of events, ["user.*"], or "*" for all. Default: none.
 *   emit    channels that they may PUBLISH to. Default: none.
 *   rpc   false: clients may not call the procedures `store.*`. Default true.
 *   mcp   true: AI agents may. Default false.
 *   heartbeatMs  how often a silent stream of events gets a comment, so that a lost client is noticed. In milliseconds.
 *                Default 15000.
 *
 * Where tokens are needed, a client's token must have a scope for the collection: `store:scores:read`, or
 * `store:scores:write`.
 */
import { defineModule, type ServerWebSocket, type WebSocketHandlers } from "hrmr";
import { type HttpFace, serveCollection, serveStore, upgradeToWatch } from "./http/serve";
import { type CursorKeys, Cursors } from "./resp/cursors";
import type { Face } from "./resp/peer";
import { serveResp } from "./resp/session";
import { PROCEDURES } from "./rpc/procedures";
import { type Settings, SETTINGS } from "./settings";
import { WatchGuards } from "./watch/guards";
import { type SocketData, WatchSockets } from "./watch/sockets";

const OFF = "ERR clients of Redis are not served here: modules.store.resp is false in hrmr.json";

interface State extends HttpFace {
  readonly face: Face;
  readonly sockets: WatchSockets;
}

/** Both addresses of documents, which also take WebSockets. */
const watching: WebSocketHandlers<State, never, Settings> = {
  fetch: (request, context) => serveCollection(request, context, context.state),
  upgrade(request, context) {
    const data = upgradeToWatch(request, context, context.state);
    return data instanceof Response ? data : { data };
  },
  open: (socket, { state: { sockets } }) => sockets.opened(socket as ServerWebSocket<SocketData>),
  message: (socket, data, { state: { sockets } }) => sockets.received(socket as ServerWebSocket<SocketData>, data),
  drain: (socket, { state: { sockets } }) => sockets.drained(socket as ServerWebSocket<SocketData>),
  close: (socket, _code, _reason, { state: { sockets } }) => sockets.closed(socket as ServerWebSocket<SocketData>),
};

export default defineModule({
  config: SETTINGS,

  async setup(context): Promise<State> {
    const known = await context.shared.open<CursorKeys>("cursors", () => ({ last: 0, keys: new Map() }));
    const guards = new WatchGuards();
    const cursors = new Cursors(known);
    const { config: settings } = context;
    const of = { context, settings, guards, cursors };
    const face: Face = { ...of, peers: new Set(), hearing: new Set(), startedAt: Date.now() };
    const open = await context.shared.open("sockets", () => new Set<ServerWebSocket<SocketData>>());
    return { settings, face, guards, sockets: new WatchSockets(open, context, guards) };
  },

  // Sockets are in each process.
  background: "process",
  start: ({ state: { sockets } }) => sockets.goOn(),
  dispose({ guards, sockets }) {
    guards.close();
    sockets.close();
  },

  services: PROCEDURES,

  routes: {
    "*": {
      description: "clients of Redis (RESP2 and RESP3) read and write the store",
      async connect(connection, { state: { settings, face } }) {
        if (settings.resp) await serveResp(connection, face);
        else await connection.end(`-${OFF}\r\n`);
      },
    },
    PING: {
      description: "PONG, as Redis says it",
      framing: "line",
      handle: (_message, { state: { settings } }) => (settings.resp ? "+PONG\r\n" : `-${OFF}\r\n`),
    },
    "/store": {
      description: "POST: writes to several documents, all of them or none",
      fetch: (request, context) => serveStore(request, context, context.state),
    },
    "/store/:collection": {
      description: "documents: ?prefix=, ?after=, ?limit=, ?reverse, ?index=; changes: ?watch, or a WebSocket",
      websocket: watching,
    },
    "/store/:collection/:key": {
      description: "a document: GET, PUT, PATCH, POST ?increment= or DELETE, with ETag, If-Match and ?ttl=",
      websocket: watching,
    },
  },
});
