/** The events on their way to one process: bounded, since a process that is blocked reads none. Pure. */
import type { EventRecord } from "../../module/event/record";

/** In bytes, by `bytesOf`. */
const MAX_BYTES = 67_108_864;
const EVENT_BYTES = 64;

export class EventWindow {
  #bytes = 0;
  #missed = 0;

  /** @returns null: there is no room, and the process misses them. Else how many it has missed since the last time */
  send(events: readonly EventRecord[]): number | null {
    const bytes = bytesOf(events);
    if (this.#bytes > 0 && this.#bytes + bytes > MAX_BYTES) {
      this.#missed += events.length;
      return null;
    }
    this.#bytes += bytes;
    const missed = this.#missed;
    this.#missed = 0;
    return missed;
  }

  /** The process has read events of so many bytes. */
  taken(bytes: number): void {
    this.#bytes -= bytes;
  }
}

/** About the memory that events take on their way. */
export function bytesOf(events: readonly EventRecord[]): number {
  return events.reduce((sum, { topic, text }) => sum + topic.length + text.length + EVENT_BYTES, 0);
}
