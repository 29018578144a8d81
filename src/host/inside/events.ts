/** `context.events` in a place: events go to the server, which has the subscribers, and come back for those here. */
import type { EventHub } from "../../module/event/events";
import type { EventSink, EventVersion, EventWish } from "../../module/event/record";
import { readPosition } from "../../module/event/position";
import { asHost } from "../../system/leave-graph";
import { decodeEvent } from "../events/messages";
import type { EventMessage, EventSent } from "../remote/messages";

/** Fewer than may be on their way: the rest comes meanwhile. */
const TAKEN_TOGETHER = 16;

export class HostedEvents implements EventHub {
  readonly #post: (message: EventMessage) => void;
  readonly #sinks = new Map<number, EventSink>();
  #last = 0;

  constructor(post: (message: EventMessage) => void) {
    this.#post = post;
  }

  emit(version: EventVersion, topic: string, text: string): void {
    this.#post({ type: "eventEmit", version, topic, text });
  }

  subscribe(version: EventVersion, wish: EventWish, sink: EventSink): () => void {
    const feed = ++this.#last;
    this.#sinks.set(feed, sink);
    let taken = 0;
    sink.onTaken = () => {
      if (++taken < TAKEN_TOGETHER) return;
      asHost(() => this.#post({ type: "eventTaken", feed, count: taken }));
      taken = 0;
    };
    this.#post({ type: "eventSubscribe", feed, version, wish });
    return () => {
      if (this.#sinks.delete(feed)) this.#post({ type: "eventLeave", feed });
    };
  }

  receive({ feed, kind, text }: EventSent): void {
    const sink = this.#sinks.get(feed);
    if (sink === undefined) return;
    if (kind === "begin") return sink.begin(readPosition(text) ?? new Map());
    if (kind === "end") {
      this.#sinks.delete(feed);
      this.#post({ type: "eventLeave", feed });
      return sink.end();
    }
    sink.push(decodeEvent(text));
  }
}
