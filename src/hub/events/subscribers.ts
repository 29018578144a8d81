/** The subscribers of a process, by pattern. */
import { hasWildcard, matchesTopic } from "../../module/event/topics";
import type { EventRecord } from "../../module/event/record";

export interface Subscriber {
  readonly pattern: string;
  offer(event: EventRecord): void;
}

/** How many topics are remembered with their subscribers. */
const MAX_KNOWN = 1000;

export class Subscribers {
  /** Those of one topic, by it. */
  readonly #exact = new Map<string, Set<Subscriber>>();
  readonly #wild = new Set<Subscriber>();
  /** By topic. Until a subscriber comes or goes. */
  readonly #known = new Map<string, readonly Subscriber[]>();

  add(subscriber: Subscriber): void {
    this.#known.clear();
    if (hasWildcard(subscriber.pattern)) this.#wild.add(subscriber);
    else {
      const same = this.#exact.get(subscriber.pattern);
      if (same === undefined) this.#exact.set(subscriber.pattern, new Set([subscriber]));
      else same.add(subscriber);
    }
  }

  delete(subscriber: Subscriber): void {
    this.#known.clear();
    this.#wild.delete(subscriber);
    const same = this.#exact.get(subscriber.pattern);
    if (same?.delete(subscriber) === true && same.size === 0) this.#exact.delete(subscriber.pattern);
  }

  of(topic: string): readonly Subscriber[] {
    const known = this.#known.get(topic);
    if (known !== undefined) return known;
    const found = [...(this.#exact.get(topic) ?? [])];
    for (const subscriber of this.#wild) if (matchesTopic(subscriber.pattern, topic)) found.push(subscriber);
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(topic, found);
    return found;
  }
}
