/**
 * State that survives reloads, and slow work that does not block others. It ships with hrmr and is off until hrmr.json
 * names it: "modules": { "counter": {} }
 *
 *   printf 'COUNT\n' | nc -N localhost 8080          # 1, then 2, then 3; edit this file, RELOAD, and it goes on with 4
 *   printf 'HASH hello\n' | nc -N localhost 8080     # some 100 ms of work on a thread of the pool
 *   printf 'PRIME 1000003\n' | nc -N localhost 8080
 */
import { defineModule } from "hrmr";

interface State {
  count: number;
}

/** Enough to make one HASH take a moment. Meanwhile other messages are answered as fast as ever. */
const ROUNDS = 100_000;

export default defineModule({
  // Runs once in each host: in the main thread and in each thread of the pool. Each has a State of its own, and they
  // share no variables. `handoff` is the state of the version before. An older version of this file may have written
  // it, so check its form.
  setup(context, handoff) {
    const count = isState(handoff) ? handoff.count : 0;
    context.log.debug(`counting on from ${count} in host ${context.host}`);
    return { count };
  },

  // Called on the version that leaves. Return plain data that structuredClone takes, never functions or class
  // instances.
  handoff: (state) => state,

  // The last check before this version gets traffic. Throw, or return false, and the old version still serves.
  check(context) {
    if (!Number.isSafeInteger(context.state.count)) throw new Error(`the count is ${context.state.count}`);
  },

  routes: {
    // Inline, the default: on the event loop. Right for quick work. There is only one event loop, so the count is
    // exact.
    COUNT: {
      description: "how many times COUNT was sent",
      handle: (_message, { state }) => `${++state.count}\n`,
    },

    // On the pool: on the event loop, this computation would delay every other connection.
    "HASH ": {
      description: `HASH text: its SHA-256, ${ROUNDS} times over`,
      framing: "line",
      run: "pool",
      timeoutMs: 5000,
      handle: (message, context) => `${slowHash(message.text.slice("HASH ".length))} (thread ${context.host})\n`,
    },

    // A call that takes too long is ended with its thread, which is then replaced: an endless loop harms only its own
    // caller.
    "PRIME ": {
      description: "PRIME n: whether n is a prime number",
      framing: "line",
      run: "pool",
      timeoutMs: 5000,
      handle: (message) => describeNumber(message.text.slice("PRIME ".length).trim()),
    },
  },
});

function isState(value: unknown): value is State {
  return typeof value === "object" && value !== null && Number.isSafeInteger((value as Partial<State>).count);
}

function slowHash(text: string): string {
  let digest: string = text;
  for (let round = 0; round < ROUNDS; round++) digest = new Bun.CryptoHasher("sha256").update(digest).digest("hex");
  return digest;
}

function describeNumber(text: string): string {
  const number = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number))
    return `ERR "PRIME " takes a whole number up to ${Number.MAX_SAFE_INTEGER}\n`;
  const divisor = smallestDivisor(number);
  if (number < 2) return `${number} is not prime\n`;
  return divisor === number ? `${number} is prime\n` : `${number} is not prime: ${divisor} divides it\n`;
}

function smallestDivisor(number: number): number {
  if (number % 2 === 0) return 2;
  for (let divisor = 3; divisor * divisor <= number; divisor += 2) if (number % divisor === 0) return divisor;
  return number;
}
