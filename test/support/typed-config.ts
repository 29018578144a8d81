/**
 * A module with a config schema: `context.config` has the type of its output, for every kind of route, beside the
 * inferred state and params. `test/cli/authors/types.test.ts` checks it as an author would.
 */
import { defineModule } from "hrmr";
import { z } from "zod";
/** Refuses types other than exactly a number: any, a union with undefined, a literal. */
const exact = <T>(value: T, isExact: [T] extends [number] ? ([number] extends [T] ? true : false) : false): unknown => [
  value,
  isExact,
];
export default defineModule({
  config: z.object({ port: z.number().default(1), at: z.string().transform((text) => text.length) }),
  setup: ({ config }) => {
    exact(config.port, true);
    return { doubled: config.at * 2 };
  },
  check: ({ config, state }) => exact(config.at + state.doubled, true) !== null,
  use: [
    (request, { config }, next) => {
      exact(config.port, true);
      return next(request);
    },
  ],
  routes: {
    PORT: (_, { config, state }) => {
      exact(config.port, true);
      exact(state.doubled, true);
      return String(config.port);
    },
    "LINE ": { framing: "line", handle: (_, { config }) => config.port.toFixed() },
    "GET /users/:id": {
      fetch: (_, { config, params, state }) => new Response(params.id.trim() + config.at.toFixed() + state.doubled),
    },
    "GET /live/:room": {
      websocket: {
        upgrade: (_, { params, config }) => ({ data: params.room.trim() + config.port.toFixed() }),
        message: (socket, _, { config }) => socket.send(config.port.toFixed()),
      },
    },
    CHAT: { connect: (connection, { config }) => connection.write(config.port.toFixed()).then(() => undefined) },
  },
});
