/** The last events of the server, for subscribers that come back. */
import { advance, covers, originOf, type Position } from "../../module/event/position";
import { EventQueue } from "../../module/event/queue";
import type { EventRecord } from "../../module/event/record";

const MAX_EVENTS = 1000;
const MAX_BYTES = 4_194_304;

export class KeptEvents {
  readonly #events = new EventQueue(MAX_EVENTS, MAX_BYTES);
  readonly #position: Position;

  /** @param origin of this process: a position names it before its first event */
  constructor(origin: string) {
    this.#position = new Map([[origin, 0]]);
  }

  push(event: EventRecord): void {
    while (!this.#events.push(event)) this.#events.shift();
    advance(this.#position, event.id);
  }

  /** Behind the last event. */
  get position(): Position {
    return new Map(this.#position);
  }

  /** The events behind a position, as far as they are kept. */
  after(position: Position): EventRecord[] {
    const all = this.#events.all();
    // Events of a process that the position does not name count as later if they follow all events that it covers.
    const last = all.findLastIndex(({ id }) => covers(position, id));
    return all.filter(({ id }, at) => !covers(position, id) && (at > last || position.has(originOf(id))));
  }
}
