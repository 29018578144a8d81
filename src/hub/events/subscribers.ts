/** The subscribers of a process, by pattern. */
import { hasWildcard, matchesTopic } from "../../module/event/topics";
import type { EventRecord } from "../../module/event/record";

export interface Subscriber {
  readonly patterns: readonly string[];
  offer(event: EventRecord): void;
}

/** How many topics are remembered with their subscribers. */
const MAX_KNOWN = 1000;

export class Subscribers {
  /** Those without a wildcard, by topic. */
  readonly #exact = new Map<string, Set<Subscriber>>();
  readonly #wild = new Set<Subscriber>();
  /** By topic. Until a subscriber comes or goes. */
  readonly #known = new Map<string, readonly Subscriber[]>();

  add(subscriber: Subscriber): void {
    this.#known.clear();
    if (subscriber.patterns.some(hasWildcard)) this.#wild.add(subscriber);
    else for (const pattern of subscriber.patterns) this.#addExact(pattern, subscriber);
  }

  delete(subscriber: Subscriber): void {
    this.#known.clear();
    this.#wild.delete(subscriber);
    for (const pattern of subscriber.patterns) {
      const same = this.#exact.get(pattern);
      if (same?.delete(subscriber) === true && same.size === 0) this.#exact.delete(pattern);
    }
  }

  #addExact(topic: string, subscriber: Subscriber): void {
    const same = this.#exact.get(topic);
    if (same === undefined) this.#exact.set(topic, new Set([subscriber]));
    else same.add(subscriber);
  }

  of(topic: string): readonly Subscriber[] {
    const known = this.#known.get(topic);
    if (known !== undefined) return known;
    const found = [...(this.#exact.get(topic) ?? [])];
    for (const subscriber of this.#wild) if (chooses(subscriber.patterns, topic)) found.push(subscriber);
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(topic, found);
    return found;
  }
}

/** Whether one of the patterns chooses the topic. */
export function chooses(patterns: readonly string[], topic: string): boolean {
  return patterns.some((pattern) => matchesTopic(pattern, topic));
}
