/** The events that wait for one subscriber: bounded, so that a slow one costs its own events and no memory. */
import type { EventRecord } from "./record";

const MAX_EVENTS = 1000;
/** Of topics and data. */
const MAX_BYTES = 8_388_608;

/** First in, first out. A full one takes no more, so events that it has taken are never lost. */
export class EventQueue {
  #events: EventRecord[] = [];
  #first = 0;
  #bytes = 0;

  get size(): number {
    return this.#events.length - this.#first;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** @returns false: there is no room */
  push(event: EventRecord): boolean {
    const bytes = sizeOf(event);
    if (this.size >= MAX_EVENTS || (this.size > 0 && this.#bytes + bytes > MAX_BYTES)) return false;
    this.#events.push(event);
    this.#bytes += bytes;
    return true;
  }

  shift(): EventRecord | undefined {
    const event = this.#events[this.#first];
    if (event === undefined) return undefined;
    this.#bytes -= sizeOf(event);
    // Moving the rest at each event would cost the square of its length.
    if (++this.#first === this.#events.length || this.#first >= MAX_EVENTS) {
      this.#events = this.#events.slice(this.#first);
      this.#first = 0;
    }
    return event;
  }

  /** @returns all, oldest first */
  takeAll(): EventRecord[] {
    const all = this.#events.slice(this.#first);
    this.#events = [];
    this.#first = 0;
    this.#bytes = 0;
    return all;
  }
}

function sizeOf({ topic, text }: EventRecord): number {
  return topic.length + text.length;
}
