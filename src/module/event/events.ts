/** `context.events`, and the seam between it and the server's bus: in this thread, or on the way to it. */
import { messageOf } from "../../config/user-error";
import { asHost } from "../../system/leave-graph";
import type { HubEvent, ModuleEvents } from "../contract";
import { encodeValue } from "../service/values";
import type { EventSink, EventVersion } from "./record";
import { EventStream } from "./stream";
import { patternMistake, topicMistake } from "./topics";

export interface EventHub {
  /** @param text encoded data */
  emit(version: EventVersion, topic: string, text: string): void;
  /** @returns ends the subscription, without `end` of the sink. Idempotent */
  subscribe(version: EventVersion, pattern: string, sink: EventSink): () => void;
}

/** The most data of one event, encoded. In bytes. */
const MAX_DATA_BYTES = 1_048_576;

export const NO_EVENTS: EventHub = {
  emit: () => {},
  subscribe(_version, _pattern, sink) {
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
      asHost(() => hub.emit(version, topic, text));
    },
    subscribe(topic: string): AsyncIterableIterator<HubEvent> {
      const mistake = patternMistake(topic);
      if (mistake !== null) throw new TypeError(`events.subscribe: ${mistake}`);
      return asHost(() => {
        const stream = new EventStream(() => leave());
        const leave = hub.subscribe(version, topic, stream);
        return stream;
      });
    },
  });
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
