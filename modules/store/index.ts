/**
 * Brings the store to clients. It ships with hrmr and is off until hrmr.json names it:
 *
 *   "modules": { "store": {} }
 *
 *   redis-cli -p 8080 set greeting hello    # clients of Redis, in RESP2 and RESP3
 *   curl localhost:8080/store/scores/ann    # documents over HTTP
 *
 * Settings:
 *   resp  false: clients of Redis are not served. Default true.
 *   http  false: /store is not served. Default true.
 *
 * Where tokens are needed, a client's token must have a scope for the collection: `store:scores:read`, or
 * `store:scores:write`.
 */
import { defineModule } from "hrmr";
import { serveCollection, serveDocument, serveStore } from "./http/serve";
import { type CursorKeys, Cursors } from "./resp/cursors";
import type { Face } from "./resp/peer";
import { serveResp } from "./resp/session";
import { SETTINGS } from "./settings";

const OFF = "ERR clients of Redis are not served here: modules.store.resp is false in hrmr.json";

export default defineModule({
  config: SETTINGS,

  async setup(context) {
    const known = await context.shared.open<CursorKeys>("cursors", () => ({ last: 0, keys: new Map() }));
    const face: Face = { context, cursors: new Cursors(known), peers: new Set(), startedAt: Date.now() };
    return { settings: context.config, face };
  },

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
      fetch: (request, context) => serveStore(request, context, context.state.settings),
    },
    "/store/:collection": {
      description: "the documents of a collection: ?prefix=, ?after=, ?limit=, ?reverse, ?index=",
      fetch: (request, context) => serveCollection(request, context, context.state.settings),
    },
    "/store/:collection/:key": {
      description: "a document: GET, PUT, PATCH, POST ?increment= or DELETE, with ETag, If-Match and ?ttl=",
      fetch: (request, context) => serveDocument(request, context, context.state.settings),
    },
  },
});
