/**
 * The smallest module: a text command.
 *
 *   hrmr send HELLO              # -> Hello from hrmr
 *
 * Change the text, then:
 *
 *   hrmr reload
 *
 * Any other client does too: printf HELLO | nc -N localhost 8080
 */
import { defineModule } from "hrmr";

export default defineModule({
  // A key is the first bytes of a message. The longest key that fits wins, in whichever module it is.
  routes: {
    HELLO: () => "Hello from hrmr\n",
  },
});
