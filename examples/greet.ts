/**
 * Text commands: the shortest module there is.
 *
 *   printf 'PING' | nc -N localhost 8080             # PONG
 *   printf 'GREET bob\n' | nc -N localhost 8080      # -> Hello, bob
 */
import { defineModule } from "hrmr";

export default defineModule({
  routes: {
    // A bare function: the bytes of one read are the message.
    PING: () => "PONG\n",

    // With framing "line" a message ends at its LF, however the bytes are cut up on the way; several lines in one
    // packet are several messages. `message.text` begins with the key and has lost its LF.
    "GREET ": {
      framing: "line",
      description: "GREET name: a greeting",
      handle: (message) => `Hello, ${message.text.slice("GREET ".length)}\n`,
    },
  },
});
