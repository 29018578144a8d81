/**
 * The smallest module: a text command.
 *
 *   printf 'HELLO' | nc localhost 8080
 *
 * Change the text, then: printf 'RELOAD' | nc localhost 8080
 */
import { defineModule } from "hrmr";

export default defineModule({
  // A key is the first bytes of a message. The longest key that fits wins, whatever module it is in.
  routes: {
    HELLO: () => "Hello from hrmr\n",
  },
});
