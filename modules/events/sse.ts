/** Server-sent events: the data is the event as JSON. A browser that reconnects sends its last id, and misses none. */
import type { RequestContext, Subscription } from "hrmr";
import { type Gate, Refusal } from "./gate";
import type { Rights } from "./rights";

const HEADERS = { "Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no" };
const LATE = Symbol("late");

/** What the streams of a version share. */
interface Streams {
  readonly gate: Gate;
  readonly rights: Rights;
  readonly heartbeatMs: number;
}

export function openEventStream(request: Request, context: RequestContext, streams: Streams): Response {
  const asked = new URL(request.url).searchParams;
  const after = request.headers.get("last-event-id") ?? asked.get("after");
  const topics = asked.getAll("topic");
  const subscription = streams.gate.subscribe(context, topics, after, request);
  const { client, session } = context;
  const stream = toStream(subscription, streams, (end) => streams.rights.watch({ client, session }, topics, end));
  return new Response(stream, { headers: HEADERS });
}

function toStream(
  subscription: Subscription,
  { gate, heartbeatMs }: Streams,
  watch: (end: (refusal: Refusal) => void) => () => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let waiting: ReturnType<Subscription["next"]> | null = null;
  // Sent before any event, so that a browser that reconnects before its first event has an id to send.
  let first = `retry: 1000\nid: ${subscription.position}\n\n`;
  let last = "";
  const unwatch = watch((refusal) => {
    last = `event: error\ndata: ${errorJson(refusal)}\n\n`;
    void subscription.return?.();
  });
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
      if (next.done === true) {
        unwatch();
        if (last !== "") controller.enqueue(encoder.encode(last));
        return controller.close();
      }
      const text = gate.lets(next.value) ? `data: ${JSON.stringify(next.value)}\n` : "";
      controller.enqueue(encoder.encode(`id: ${subscription.position}\n${text}\n`));
    },
    cancel() {
      unwatch();
      void subscription.return?.();
    },
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
  const headers = { "Content-Type": "application/json;charset=utf-8", "Cache-Control": "no-store" };
  const all = error.status === 401 ? { ...headers, "WWW-Authenticate": "Bearer" } : headers;
  return new Response(errorJson(error), { status: error.status, headers: all });
}

/** `{"error":{"code":"FORBIDDEN","message":"..."}}`. */
export function errorJson({ code, message }: Refusal): string {
  return JSON.stringify({ error: { code, message } });
}
