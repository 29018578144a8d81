/**
 * Procedures for clients: JSON-RPC on a raw connection, and `hrmr client` writes a client for your program. Other
 * modules call them, too: `await context.services["NAME"].add({ a: 1, b: 2 })`.
 *
 *   hrmr call NAME.add '{"a":1,"b":2}'
 */
import { defineModule, service, ServiceError } from "hrmr";

export default defineModule({
  services: {
    add: service({
      public: true,
      description: "Adds two numbers",
      // Clients may send anything. With zod: input: z.object({ a: z.number(), b: z.number() })
      call(input: { a: number; b: number }): number {
        const { a, b } = input ?? {};
        if (typeof a !== "number" || typeof b !== "number") throw new ServiceError("BAD_INPUT", "a and b are numbers");
        return a + b;
      },
    }),
    /** Answers in parts. */
    count: service({
      public: true,
      description: "Counts to a number, in parts",
      async *call(input: { to: number }) {
        for (let number = 1; number <= Math.min(input?.to ?? 3, 1000); number++) yield number;
      },
    }),
  },
});
