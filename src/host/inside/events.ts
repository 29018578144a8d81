/** `context.events` in a place: events go to the server, which has the subscribers, and come back for those here. */
import type { EventHub } from "../../module/event/events";
import type { EventSink, EventVersion } from "../../module/event/record";
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

  subscribe(version: EventVersion, pattern: string, sink: EventSink): () => void {
    const feed = ++this.#last;
    this.#sinks.set(feed, sink);
    let taken = 0;
    sink.onTaken = () => {
      if (++taken < TAKEN_TOGETHER) return;
      asHost(() => this.#post({ type: "eventTaken", feed, count: taken }));
      taken = 0;
    };
    this.#post({ type: "eventSubscribe", feed, version, pattern });
    return () => {
      if (this.#sinks.delete(feed)) this.#post({ type: "eventLeave", feed });
    };
  }

  receive({ feed, text }: EventSent): void {
    const sink = this.#sinks.get(feed);
    if (sink === undefined) return;
    if (text === null) {
      this.#sinks.delete(feed);
      this.#post({ type: "eventLeave", feed });
      return sink.end();
    }
    sink.push(decodeEvent(text));
  }
}
