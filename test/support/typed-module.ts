/**
 * A module of every kind of route, whose types are all inferred. `test/cli/authors/types.test.ts` checks it as an author
 * would.
 */
import { defineModule, NEED_MORE, type Framing } from "hrmr";
/** Refuses types other than exactly a string: any, a union with undefined, a literal. */
const exact = <T>(value: T, isExact: [T] extends [string] ? ([string] extends [T] ? true : false) : false): unknown => [
  value,
  isExact,
];
const framing: Framing = (bytes) => (bytes.length < 2 ? NEED_MORE : 2);
export default defineModule({
  setup: async ({ shared }) => ({ seen: await shared.open("seen", () => new Map<string, number>()), count: 1 }),
  check: ({ state }) => state.count > 0,
  handoff: (state) => state.count,
  start({ state, log }) {
    log.info(state.count.toFixed());
  },
  stop(context, reason) {
    context.state.seen.set(exact<"replaced" | "removed" | "moved" | "shutdown">(reason, false) as never, 1);
  },
  background: "process",
  needs: ["kv"],
  dispose(state) {
    state.seen.clear();
  },
  routes: {
    PING: () => "PONG\n",
    "SEEN ": (message, { state: { seen } }) => {
      seen.set(message.text, (seen.get(message.text) ?? 0) + 1);
      return "x";
    },
    "LINE ": {
      framing: "line",
      run: "pool",
      handle: (message, { state }) => `${state.count.toFixed()} ${message.text}`,
    },
    LEN: { framing: { length: { prefixBytes: 4 } }, handle: async (message) => message.bytes },
    FN: {
      framing,
      async *handle() {
        yield "a";
      },
    } as never,
    "GET /users/:id": {
      fetch: (_, { params, state }) => {
        exact(params.id, true);
        return Response.json({ id: params.id.toUpperCase(), n: state.count });
      },
    },
    "/a/:one/b/:two/*": {
      fetch: async (request, { params }) => {
        const { one, two, "*": rest } = params;
        exact(one, true);
        return new Response(one + two + rest + request.url);
      },
    },
    "/plain": { description: "x", fetch: () => new Response("x") },
    "GET /live/:room": {
      websocket: {
        upgrade: (_, { params }) => ({ data: params.room.trim() }),
        message(socket, data, { state }) {
          socket.send(String(state.count) + data);
        },
      },
    },
    CHAT: {
      async connect(connection, { state }) {
        for await (const line of connection.lines()) await connection.write(line + state.count);
      },
    },
  },
  use: [
    (request, context, next) => {
      exact(context.route, true);
      return next(request);
    },
  ],
});
export const noState = defineModule({ routes: { "GET /x/:y": { fetch: (_, { params: { y } }) => new Response(y) } } });
export const computed = defineModule({ routes: Object.fromEntries(["a"].map((k) => [k, () => "x"])) });
export const explicit = defineModule<{ n: number }>({
  setup: () => ({ n: 1 }),
  routes: { N: (_, { state }) => String(state.n) },
});
export const onlyMiddleware = defineModule({ routes: {}, middleware: (request, _context, next) => next(request) });
export const method = defineModule({
  setup() {
    return { list: ["a"] };
  },
  routes: { X: (_m, { state }) => state.list.join() },
});
