/**
 * Lines, a number that survives reloads, and slow work on the pool's threads.
 *
 *   hrmr send 'GREET ada'        # -> Hello, ada. You are number 1.
 *   hrmr send 'FIB 30'           # 832040
 */
import { defineModule } from "hrmr";

interface State {
  greeted: number;
}

export default defineModule({
  // Runs once in each host, the main thread and each thread of the pool, before the first message. `handoff` is the
  // state of the version before this one: undefined at the first start.
  setup: (_context, handoff) => ({ greeted: (handoff as State | undefined)?.greeted ?? 0 }),

  // Called on the version that leaves. Plain data only: numbers, texts, arrays, objects, Maps.
  handoff: (state) => state,

  routes: {
    // framing "line": a message ends at its LF, however the network cuts it. The text begins with the key.
    "GREET ": {
      framing: "line",
      description: "GREET name: a greeting, numbered",
      handle: (message, { state }) =>
        `Hello, ${message.text.slice("GREET ".length)}. You are number ${++state.greeted}.\n`,
    },

    // run "pool": on a thread, so that nobody else waits for it. A call that takes longer than timeoutMs is cut off.
    "FIB ": {
      framing: "line",
      run: "pool",
      timeoutMs: 10_000,
      description: "FIB n: the n-th Fibonacci number, the slow way",
      handle(message) {
        const n = Number(message.text.slice("FIB ".length));
        if (!Number.isInteger(n) || n < 0 || n > 45) return "ERR FIB takes a whole number from 0 to 45\n";
        return `${fibonacci(n)}\n`;
      },
    },
  },
});

function fibonacci(n: number): number {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}
