/**
 * Server-sent events: a long reply. It ends when the browser leaves, and after a while by itself. The browser then
 * connects again, and Last-Event-ID says which event it saw last, so a reload or a restart of the server loses nothing.
 *
 *   curl -N 'localhost:8080/events?count=3'      # without ?count=3 it goes on for an hour
 */
import { defineModule } from "hrmr";

const INTERVAL_MS = 1000;
const MAX_EVENTS = 3600;

async function* ticks(first: number, count: number, signal: AbortSignal): AsyncGenerator<string> {
  // When the browser should connect again. In milliseconds.
  yield "retry: 2000\n\n";
  for (let id = first; id < first + count && !signal.aborted; id++) {
    yield `id: ${id}\nevent: tick\ndata: ${JSON.stringify({ id, at: new Date().toISOString() })}\n\n`;
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
}

function toStream(source: AsyncGenerator<string>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await source.next();
      if (done) controller.close();
      else controller.enqueue(encoder.encode(value));
    },
    // The client is gone: otherwise the generator would stay in memory and wait for a reader.
    cancel: async () => void (await source.return(undefined)),
  });
}

export default defineModule({
  routes: {
    "GET /events": {
      description: "a tick each second, as server-sent events",
      fetch(request) {
        const last = Number(request.headers.get("last-event-id") ?? 0);
        const wanted = Number(new URL(request.url).searchParams.get("count") ?? MAX_EVENTS);
        if (!Number.isInteger(last) || !Number.isInteger(wanted))
          return new Response("count and Last-Event-ID are whole numbers\n", { status: 400 });
        const events = ticks(last + 1, Math.min(wanted, MAX_EVENTS), request.signal);
        return new Response(toStream(events), {
          headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
        });
      },
    },
  },
});
