/**
 * Brings the events of modules to clients. It ships with hrmr and is off until hrmr.json names it:
 *
 *   "modules": { "events": { "topics": ["user.*"] } }
 *
 *   printf 'SUBSCRIBE user.*\n' | nc localhost 8080          # each event is one line of JSON
 *   curl -N 'localhost:8080/events?topic=user.*'             # server-sent events
 *   new WebSocket("ws://localhost:8080/events?topic=user.*") # each event is one message of JSON
 *
 * Settings:
 *   topics       what clients may hear: patterns, or "*" for all. Default: nothing.
 *   emit         what clients may emit, by `EMIT topic json` or a POST: patterns, or "*". Default: nothing.
 *   heartbeatMs  how often a silent event stream gets a comment, so that a lost client is noticed. In milliseconds.
 *                Default 15000.
 *
 * Where tokens are needed, a client's token must have the scope for the topic: `events:user.*`.
 */
import { defineModule, type Message } from "hrmr";
import { Gate } from "./gate";
import { errorLine, RawSubscriber } from "./raw";
import { Rights } from "./rights";
import { SETTINGS } from "./settings";
import { mayShowToken, SocketFeeds } from "./sockets";
import { errorResponse, openEventStream } from "./sse";

export default defineModule({
  config: SETTINGS,

  async setup(context) {
    const settings = context.config;
    if (settings.topics.length === 0 && settings.emit.length === 0)
      context.log.warn('clients get no events: name topics in hrmr.json, such as "events": { "topics": ["user.*"] }');
    const gate = new Gate(settings, context);
    const rights = new Rights(gate);
    return { settings, gate, rights, sockets: await SocketFeeds.make(context, gate, rights) };
  },
  dispose({ rights, sockets }) {
    rights.close();
    sockets.close();
  },

  // Sockets are in each process.
  background: "process",
  start: ({ state: { sockets } }) => sockets.goOn(),

  routes: {
    "SUBSCRIBE ": {
      description: "SUBSCRIBE topic: the events of a topic (user.*), each as one line of JSON",
      async connect(connection, { state }) {
        await new RawSubscriber(connection, state).run();
      },
    },
    "EMIT ": {
      description: "EMIT topic json: tells all modules and clients",
      framing: "line",
      handle: (message, { state: { gate } }) => emitOf(message, gate),
    },
    "PUBLISH ": {
      description: "the same as EMIT",
      framing: "line",
      handle: (message, { state: { gate } }) => emitOf(message, gate),
    },
    "GET /events": {
      description: "?topic=user.*: a WebSocket, or server-sent events",
      websocket: {
        upgrade(request, context) {
          const { gate, sockets } = context.state;
          const topics = new URL(request.url).searchParams.getAll("topic");
          try {
            const refusal = gate.refusal(context, topics, request);
            const mustShowToken = refusal !== null && mayShowToken(request, refusal);
            if (refusal !== null && !mustShowToken) throw refusal;
            gate.checkTopics(topics);
            return { data: sockets.dataFor(topics, mustShowToken) };
          } catch (error) {
            return errorResponse(error);
          }
        },
        open: (socket, { state: { sockets } }) => sockets.opened(socket),
        message: (socket, message, { state: { sockets } }) => sockets.received(socket, message),
        close: (socket, _code, _reason, { state: { sockets } }) => sockets.closed(socket),
        fetch(request, context) {
          const { gate, rights, settings } = context.state;
          try {
            return openEventStream(request, context, { gate, rights, heartbeatMs: settings.heartbeatMs });
          } catch (error) {
            return errorResponse(error);
          }
        },
      },
    },
    "POST /events": {
      description: "?topic=user.created, with the data as JSON: emits it",
      async fetch(request, context) {
        try {
          if (!/^application\/json(?:;|$)/i.test(request.headers.get("content-type") ?? ""))
            return Response.json(
              { error: { code: "INVALID_DATA", message: "send JSON, with Content-Type: application/json" } },
              { status: 415 },
            );
          const topic = new URL(request.url).searchParams.get("topic") ?? "";
          context.state.gate.emit(context, topic, await request.text(), request);
          return new Response(null, { status: 204 });
        } catch (error) {
          return errorResponse(error);
        }
      },
    },
  },
});

function emitOf(message: Message, gate: Gate): string {
  const [, topic = "", json = ""] = /^\S+ (\S*) ?(.*)$/su.exec(message.text) ?? [];
  try {
    gate.emit(message, topic, json);
    return "OK\n";
  } catch (error) {
    return errorLine(error);
  }
}
