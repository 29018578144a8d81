/** Server-sent events: the data is the event as JSON. A browser that reconnects sends its last id, and misses none. */
import type { RequestContext, Subscription } from "hrmr";
import { type Gate, Refusal } from "./gate";

const HEADERS = { "Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no" };
const LATE = Symbol("late");

export function openEventStream(request: Request, context: RequestContext, gate: Gate, heartbeatMs: number): Response {
  const asked = new URL(request.url).searchParams;
  const after = request.headers.get("last-event-id") ?? asked.get("after");
  const subscription = gate.subscribe(context, asked.getAll("topic"), after, request);
  return new Response(toStream(subscription, gate, heartbeatMs), { headers: HEADERS });
}

function toStream(subscription: Subscription, gate: Gate, heartbeatMs: number): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let waiting: ReturnType<Subscription["next"]> | null = null;
  // Sent before any event, so that a browser that reconnects before its first event has an id to send.
  let first = `retry: 1000\nid: ${subscription.position}\n\n`;
  return new ReadableStream({
    async pull(controller) {
      if (first !== "") {
        controller.enqueue(encoder.encode(first));
        first = "";
        return;
      }
      waiting ??= subscription.next();
      const next = await inTime(waiting, heartbeatMs);
      if (next === LATE) return controller.enqueue(encoder.encode(":\n\n"));
      waiting = null;
      if (next.done === true) return controller.close();
      const text = gate.lets(next.value) ? `data: ${JSON.stringify(next.value)}\n` : "";
      controller.enqueue(encoder.encode(`id: ${subscription.position}\n${text}\n`));
    },
    cancel: async () => void (await subscription.return?.()),
  });
}

async function inTime<T>(work: Promise<T>, ms: number): Promise<T | typeof LATE> {
  const late = Promise.withResolvers<typeof LATE>();
  const timer = setTimeout(() => late.resolve(LATE), ms);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** @throws every error that is not a Refusal */
export function errorResponse(error: unknown): Response {
  if (!(error instanceof Refusal)) throw error;
  const { code, message, status } = error;
  const headers = status === 401 ? { "WWW-Authenticate": "Bearer" } : undefined;
  return Response.json({ error: { code, message } }, { status, ...(headers === undefined ? null : { headers }) });
}
