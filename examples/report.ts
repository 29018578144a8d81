/**
 * A report on a schedule. Orders are counted, and each weekday at nine the counts are posted to a web address:
 * hrmr.json has { "modules": { "report": { "url": "https://example.com/reports" } } }. Without one, the log gets them.
 *
 *   printf 'ORDER tea\n' | nc -N localhost 8080     # ordered
 *   hrmr run report daily                           # makes the report now
 */
import { defineModule } from "hrmr";

export default defineModule({
  setup: (_context, handoff) => ({ orders: new Map<string, number>(handoff instanceof Map ? handoff : []) }),
  handoff: ({ orders }) => orders,
  routes: {
    "ORDER ": {
      framing: "line",
      description: "ORDER thing: orders it",
      handle({ text }, { events }) {
        events.emit("order.placed", { thing: text.slice("ORDER ".length) });
        return "ordered\n";
      },
    },
  },
  // Handlers of events and tasks of a schedule run in the same process of the server, whichever process took the order.
  on: {
    "order.placed": ({ data }, { state }) => void state.orders.set(data.thing, (state.orders.get(data.thing) ?? 0) + 1),
  },
  schedule: {
    daily: {
      when: "0 9 * * MON-FRI",
      timeZone: "Europe/Berlin",
      // If the server did not run at nine, the report is made when it starts.
      catchUp: true,
      async run({ state, config, log, signal }, { dueAt }) {
        const counts = [...state.orders];
        const body = JSON.stringify({ dueAt, orders: Object.fromEntries(counts) });
        if (typeof config.url === "string") {
          const response = await fetch(config.url, { method: "POST", body, signal });
          // A task that throws has failed: `hrmr status` shows it.
          if (!response.ok) throw new Error(`the report was refused with ${response.status}`);
        } else log.info(`the report: ${body}`);
        // Orders that came in the meantime are for the next report.
        for (const [thing, count] of counts) {
          const left = (state.orders.get(thing) ?? 0) - count;
          if (left > 0) state.orders.set(thing, left);
          else state.orders.delete(thing);
        }
      },
    },
  },
});
