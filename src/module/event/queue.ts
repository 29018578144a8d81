/** The events that wait for one subscriber: bounded, so that a slow one costs its own events and no memory. */
import type { EventRecord } from "./record";

/** Taken events at its begin, before the rest moves there. */
const MAX_FIRST = 1000;
const MAX_EVENTS = 10_000;
/** Of topics and data. */
const MAX_BYTES = 8_388_608;

/** First in, first out. A full one takes no more, so events that it has taken are never lost. */
export class EventQueue {
  readonly #maxEvents: number;
  readonly #maxBytes: number;
  #events: EventRecord[] = [];
  #first = 0;
  #bytes = 0;

  /** @param maxBytes  one event has room whatever its size */
  constructor(maxEvents = MAX_EVENTS, maxBytes = MAX_BYTES) {
    this.#maxEvents = maxEvents;
    this.#maxBytes = maxBytes;
  }

  get size(): number {
    return this.#events.length - this.#first;
  }

  /** @returns false: there is no room */
  push(event: EventRecord): boolean {
    const bytes = sizeOf(event);
    if (this.size >= this.#maxEvents || (this.size > 0 && this.#bytes + bytes > this.#maxBytes)) return false;
    this.#events.push(event);
    this.#bytes += bytes;
    return true;
  }

  shift(): EventRecord | undefined {
    const event = this.#events[this.#first];
    if (event === undefined) return undefined;
    this.#bytes -= sizeOf(event);
    // Moving the rest at each event would cost the square of its length.
    if (++this.#first === this.#events.length || this.#first >= MAX_FIRST) {
      this.#events = this.#events.slice(this.#first);
      this.#first = 0;
    }
    return event;
  }

  /** Oldest first. */
  all(): EventRecord[] {
    return this.#events.slice(this.#first);
  }

  takeAll(): EventRecord[] {
    const all = this.all();
    this.#events = [];
    this.#first = 0;
    this.#bytes = 0;
    return all;
  }
}

function sizeOf({ topic, text }: EventRecord): number {
  return topic.length + text.length;
}
