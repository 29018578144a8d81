/** Counts events by emitter, and by subscriber and pattern, for the status and the metrics. */
import type { EmitterSnapshot, EventsSnapshot, SubscriberSnapshot } from "../../observe/snapshot";

/** Patterns may come from clients. Further ones are counted together. */
const MAX_PATTERNS = 1000;
const OTHERS = "(others)";

/** One module's subscribers to one pattern. */
export type SubscriberTotal = { -readonly [Field in keyof SubscriberSnapshot]: SubscriberSnapshot[Field] };
type EmitterTotal = { -readonly [Field in keyof EmitterSnapshot]: EmitterSnapshot[Field] };

export class EventTotals {
  readonly #emitters = new Map<string, EmitterTotal>();
  /** Events of other processes that did not come here. */
  missed = 0;
  readonly #subscribers = new Map<string, SubscriberTotal>();

  emitted(module: string): void {
    const total = this.#emitters.get(module);
    if (total === undefined) this.#emitters.set(module, { module, emitted: 1 });
    else total.emitted++;
  }

  of(module: string, topic: string): SubscriberTotal {
    const key = `${module}\0${topic}`;
    const known = this.#subscribers.get(key);
    if (known !== undefined) return known;
    if (this.#subscribers.size >= MAX_PATTERNS && topic !== OTHERS) return this.of(module, OTHERS);
    const total: SubscriberTotal = { module, topic, subscribers: 0, delivered: 0, dropped: 0, errors: 0 };
    this.#subscribers.set(key, total);
    return total;
  }

  snapshot(): EventsSnapshot {
    return {
      missed: this.missed,
      emitters: [...this.#emitters.values()].map((total) => ({ ...total })),
      subscribers: [...this.#subscribers.values()].map((total) => ({ ...total })),
    };
  }
}
