/** GET /store/COLLECTION?watch: its changes as server-sent events. The id of an event is its version. */
import { errorJson, refusalOf } from "../refusal";
import { flagOf, invalid, type Query, queryOf } from "./query";
import type { ClientWatch, Told, WatchWish } from "../watch/client-watch";
import { textOf } from "../watch/texts";

const HEADERS = { "Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no" };
const LATE = Symbol("late");
const NAMES = ["watch", "key", "prefix", "after", "full"];

/** Whether a GET asks for a watch: by its query, or as an EventSource does. */
export function asksToWatch({ url, headers }: Request): boolean {
  if (/[?&]watch(?:[&=]|$)/.test(url)) return true;
  return /\btext\/event-stream\b/i.test(headers.get("accept") ?? "");
}

/** @param key that of the path; null: all. @throws Refusal */
export function wishOf(request: Request, key: string | null): WatchWish {
  const query = queryOf(request, NAMES);
  if (query.has("watch") && !flagOf(query, "watch")) throw invalid("?watch= is true, or not there");
  const wished = key ?? query.get("key") ?? null;
  const prefix = query.get("prefix") ?? "";
  if (wished !== null && prefix !== "") throw invalid("?prefix= goes without a key");
  return { key: wished, prefix, after: placeOf(request, query), isFull: flagOf(query, "full") };
}

function placeOf({ headers }: Request, query: Query): number | null {
  // A browser that reconnects sends the id of the last event; the address has the place where it once began.
  const text = headers.get("last-event-id") || query.get("after");
  if (text === undefined || text === "") return null;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw invalid("?after= and Last-Event-ID are versions");
}

/** @param heartbeatMs how often a silent stream gets a comment */
export function eventStream(watch: ClientWatch<string>, heartbeatMs: number): Response {
  const changes = watch[Symbol.asyncIterator]();
  const encoder = new TextEncoder();
  let waiting: ReturnType<typeof changes.next> | null = null;
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(encoder.encode("retry: 1000\n\n")),
    async pull(controller) {
      waiting ??= changes.next();
      let next: Awaited<typeof waiting> | typeof LATE;
      try {
        next = await inTime(waiting, heartbeatMs);
      } catch (error) {
        controller.enqueue(encoder.encode(`event: error\ndata: ${errorJson(refusalOf(error))}\n\n`));
        return controller.close();
      }
      if (next === LATE) return controller.enqueue(encoder.encode(":\n\n"));
      waiting = null;
      if (next.done === true) return controller.close();
      controller.enqueue(encoder.encode(eventOf(next.value)));
    },
    cancel: () => watch.close(),
  });
  return new Response(stream, { headers: HEADERS });
}

/** For HEAD. */
export function noEvents(): Response {
  return new Response(null, { headers: HEADERS });
}

function eventOf(told: Told<string>): string {
  const data = `data: ${textOf(told)}\n\n`;
  if (told.kind === "ready" || told.kind === "gone") return `event: ${told.kind}\nid: ${told.version}\n${data}`;
  return told.isStored === true ? data : `id: ${told.version}\n${data}`;
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
