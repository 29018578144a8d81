/** The iterator of `context.events.subscribe`. */
import type { HubEvent, Subscription } from "../contract";
import { advance, type Position, positionText } from "./position";
import { type EventRecord, eventOf, type EventSink } from "./record";
import { EventQueue } from "./queue";

type Next = IteratorResult<HubEvent, undefined>;

export class EventStream implements Subscription, EventSink {
  readonly #leave: () => void;
  readonly #queue = new EventQueue();
  onTaken: (() => void) | null = null;
  #waiting: ((next: Next) => void)[] = [];
  #isOver = false;
  #position: Position = new Map();

  /** @param leave called when its reader leaves it, not after `end` */
  constructor(leave: () => void) {
    this.#leave = leave;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  get position(): string {
    return positionText(this.#position);
  }

  begin(position: Position): void {
    this.#position = position;
  }

  /** Never rejects. The events that have come before the end are still read. */
  next(): Promise<Next> {
    const event = this.#queue.shift();
    if (event !== undefined) return Promise.resolve(this.#take(event));
    if (this.#isOver) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  return(): Promise<Next> {
    this.#queue.takeAll();
    if (!this.#isOver) {
      this.end();
      this.#leave();
    }
    return Promise.resolve({ done: true, value: undefined });
  }

  push(event: EventRecord): boolean {
    if (this.#isOver) return true;
    const resolve = this.#waiting.shift();
    if (resolve === undefined) return this.#queue.push(event);
    resolve(this.#take(event));
    return true;
  }

  #take(event: EventRecord): Next {
    this.onTaken?.();
    advance(this.#position, event.id);
    return { done: false, value: eventOf(event) };
  }

  end(): void {
    this.#isOver = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve({ done: true, value: undefined });
  }
}
