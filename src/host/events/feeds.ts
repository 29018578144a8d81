/** The server's side of the subscriptions in one place. Events are sent as fast as the place takes them. */
import type { EventHub } from "../../module/event/events";
import type { EventRecord, EventSink } from "../../module/event/record";
import { type Position, positionText } from "../../module/event/position";
import { EventQueue } from "../../module/event/queue";
import type { EventMessage, EventSent } from "../remote/messages";
import { encodeEvent } from "./messages";

/** How many events may be on their way to one subscription. */
const WINDOW = 64;

export class PlaceEvents {
  readonly #hub: EventHub;
  readonly #post: (message: EventSent) => void;
  readonly #feeds = new Map<number, Feed>();

  constructor(hub: EventHub, post: (message: EventSent) => void) {
    this.#hub = hub;
    this.#post = post;
  }

  receive(message: EventMessage): void {
    switch (message.type) {
      case "eventEmit":
        return this.#hub.emit(message.version, message.topic, message.text);
      case "eventSubscribe": {
        const { feed: number, version, wish } = message;
        const feed = new Feed((kind, text) => this.#post({ type: "event", feed: number, kind, text }));
        this.#feeds.set(number, feed);
        feed.leave = this.#hub.subscribe(version, wish, feed);
        return;
      }
      case "eventTaken":
        return this.#feeds.get(message.feed)?.taken(message.count);
      case "eventLeave":
        this.#feeds.get(message.feed)?.leave();
        this.#feeds.delete(message.feed);
    }
  }

  /** The place is gone. */
  drop(): void {
    for (const { leave } of this.#feeds.values()) leave();
    this.#feeds.clear();
  }
}

class Feed implements EventSink {
  onTaken = null;
  leave = (): void => {};
  readonly #send: (kind: EventSent["kind"], text: string) => void;
  readonly #queue = new EventQueue();
  #room = WINDOW;
  #isEnding = false;

  constructor(send: (kind: EventSent["kind"], text: string) => void) {
    this.#send = send;
  }

  begin(position: Position): void {
    this.#send("begin", positionText(position));
  }

  push(event: EventRecord): boolean {
    if (!this.#queue.push(event)) return false;
    this.#flush();
    return true;
  }

  end(): void {
    this.#isEnding = true;
    this.#flush();
  }

  taken(count: number): void {
    this.#room += count;
    this.#flush();
  }

  #flush(): void {
    while (this.#room > 0) {
      const event = this.#queue.shift();
      if (event === undefined) break;
      this.#room--;
      this.#send("event", encodeEvent(event));
    }
    if (!this.#isEnding || this.#queue.size > 0) return;
    this.#isEnding = false;
    this.#send("end", "");
  }
}
