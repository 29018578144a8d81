/** `context.events`, and the seam between it and the server's bus: in this thread, or on the way to it. */
import { messageOf } from "../../config/user-error";
import { asHost } from "../../system/leave-graph";
import type { ModuleEvents, SubscribeOptions, Subscription } from "../contract";
import { readPosition } from "./position";
import { encodeValue } from "../service/values";
import { heldEvents } from "../store/held-events";
import type { EventSink, EventVersion, EventWish } from "./record";
import { EventStream } from "./stream";
import { patternMistake, topicMistake } from "./topics";

export interface EventHub {
  /** @param text encoded data */
  emit(version: EventVersion, topic: string, text: string): void;
  /** @returns ends the subscription, without `end` of the sink. Idempotent */
  subscribe(version: EventVersion, wish: EventWish, sink: EventSink): () => void;
}

const MAX_PATTERNS = 100;
/** The most data of one event, encoded. In bytes. */
const MAX_DATA_BYTES = 1_048_576;

export const NO_EVENTS: EventHub = {
  emit: () => {},
  subscribe(_version, _wish, sink) {
    sink.end();
    return () => {};
  },
};

export function eventsFor(version: EventVersion, hub: EventHub): ModuleEvents {
  return Object.freeze({
    emit(topic: string, data?: unknown): void {
      const mistake = topicMistake(topic);
      if (mistake !== null) throw new TypeError(`events.emit: ${mistake}`);
      const text = encoded(topic, data);
      const emit = (): void => asHost(() => hub.emit(version, topic, text));
      const held = heldEvents();
      if (held === null) emit();
      else held.add(emit);
    },
    subscribe(topic: string | readonly string[], options?: SubscribeOptions): Subscription {
      const wish = readWish(topic, options?.after);
      return asHost(() => {
        const stream = new EventStream(() => leave());
        const leave = hub.subscribe(version, wish, stream);
        return stream;
      });
    },
  });
}

function readWish(topic: string | readonly string[], after: string | null = null): EventWish {
  const patterns: readonly string[] = Array.isArray(topic) ? [...new Set(topic as string[])] : [topic as string];
  if (patterns.length === 0 || patterns.length > MAX_PATTERNS)
    throw new TypeError(`events.subscribe: there are ${patterns.length} topics; 1 to ${MAX_PATTERNS} are possible`);
  for (const pattern of patterns) {
    const mistake = patternMistake(pattern);
    if (mistake !== null) throw new TypeError(`events.subscribe: ${mistake}`);
  }
  if (after !== null && (typeof after !== "string" || readPosition(after) === null))
    throw new TypeError(`events.subscribe: "after" is ${Bun.inspect(after)}, and is no position and no id of an event`);
  return { patterns, after };
}

function encoded(topic: string, data: unknown): string {
  let text: string;
  try {
    text = encodeValue(data);
  } catch (cause) {
    throw new TypeError(`events.emit: the data of "${topic}" cannot be copied: ${messageOf(cause)}`, { cause });
  }
  if (text.length <= MAX_DATA_BYTES) return text;
  throw new RangeError(
    `events.emit: the data of "${topic}" has ${text.length} bytes; at most ${MAX_DATA_BYTES} are possible`,
  );
}
