/**
 * The events of a process: from its modules, and from the server's other processes, to the subscribers here. On every
 * path the events of an emitter keep their order, and no event takes a path twice.
 */
import type { Background } from "../../module/background";
import type { EventHub } from "../../module/event/events";
import type { EventRecord, EventSink, EventVersion, EventWish } from "../../module/event/record";
import { readPosition } from "../../module/event/position";
import type { BoundHandler } from "../../module/route";
import type { EventsSnapshot } from "../../observe/snapshot";
import { asHost } from "../../system/leave-graph";
import { HandlerQueue, type HandlerOwner } from "./handler-queue";
import { KeptEvents } from "./kept";
import { chooses, type Subscriber, Subscribers } from "./subscribers";
import { EventTotals, type SubscriberTotal } from "./totals";
import { VersionGate } from "./versions";

/** A module's state after the swap. */
interface ServingModule {
  readonly name: string;
  /** null: it is being replaced. */
  readonly live: { readonly id: number; readonly handlers: readonly BoundHandler[] } | null;
}

interface BusOptions extends Pick<HandlerOwner, "server" | "callRemote"> {
  readonly background: Pick<Background, "isHere">;
  /** Passes events to the other processes of the server. */
  readonly tellOthers: (events: EventRecord[]) => void;
}

export class EventBus implements EventHub {
  readonly #options: BusOptions;
  readonly #handlerOwner: HandlerOwner;
  readonly #totals = new EventTotals();
  readonly #subscribers = new Subscribers();
  /** By module, then by pattern. */
  #handlers = new Map<string, Map<string, HandlerQueue>>();
  readonly #gate = new VersionGate<Subscription>((event) => this.#emit(event.version.module, event.topic, event.text));
  /** Names this process in the ids of its events. */
  readonly #origin = crypto.randomUUID().slice(0, 8);
  readonly #kept = new KeptEvents(this.#origin);
  #lastNumber = 0;
  #outgoing: EventRecord[] = [];
  /** The process serves: handlers of each process run. */
  #isServing = false;

  constructor(options: BusOptions) {
    this.#options = options;
    this.#handlerOwner = {
      server: options.server,
      callRemote: options.callRemote,
      isActive: (background) => (background === "server" ? options.background.isHere : this.#isServing),
    };
  }

  /** The process serves from now on. */
  begin(): void {
    this.#isServing = true;
  }

  /** Sends the events that wait for the end of their turn. */
  flush(): void {
    const events = this.#outgoing;
    this.#outgoing = [];
    if (events.length > 0) this.#options.tellOthers(events);
  }

  emit(version: EventVersion, topic: string, text: string): void {
    if (this.#gate.holds({ version, topic, text })) return;
    this.#emit(version.module, topic, text);
  }

  subscribe(version: EventVersion, wish: EventWish, sink: EventSink): () => void {
    const total = this.#totals.of(version.module, wish.patterns.join(", "));
    const subscription = new Subscription(wish, sink, total);
    const state = this.#gate.enter(version, subscription);
    if (state === "left") {
      subscription.end();
      return () => {};
    }
    if (state === "live") this.#begin(subscription);
    return () => {
      this.#gate.leave(version, subscription);
      this.#subscribers.delete(subscription);
      subscription.close();
    };
  }

  /** Events of another process. @param missed number of events that could not be sent here */
  deliver(events: readonly EventRecord[], missed: number): void {
    this.#totals.missed += missed;
    for (const event of events) this.#deliver(event);
  }

  /**
   * The modules that serve from now on: handlers and subscriptions change in this one step, so that no event is lost or
   * doubled between two versions. Call it in the turn of the swap.
   */
  follow(modules: Iterable<ServingModule>): void {
    const before = this.#handlers;
    const all = [...modules];
    this.#handlers = new Map();
    for (const { name, live } of all) {
      const queues = before.get(name) ?? new Map<string, HandlerQueue>();
      before.delete(name);
      const next = live === null ? pause(queues) : this.#rewire(name, queues, live.handlers);
      if (next.size > 0) this.#handlers.set(name, next);
    }
    for (const queues of before.values()) for (const queue of queues.values()) this.#close(queue);
    const { ended, begun } = this.#gate.follow(all.map(({ name, live }) => ({ module: name, id: live?.id ?? null })));
    for (const subscription of ended) {
      this.#subscribers.delete(subscription);
      subscription.end();
    }
    for (const subscription of begun) this.#begin(subscription);
    this.#gate.release();
  }

  snapshot(): EventsSnapshot {
    return this.#totals.snapshot();
  }

  #rewire(
    module: string,
    before: ReadonlyMap<string, HandlerQueue>,
    handlers: readonly BoundHandler[],
  ): Map<string, HandlerQueue> {
    const next = new Map<string, HandlerQueue>();
    const added: HandlerQueue[] = [];
    for (const handler of handlers) {
      const { pattern } = handler.on;
      const known = before.get(pattern);
      const queue = known ?? new HandlerQueue(handler, this.#handlerOwner, this.#totals.of(module, pattern));
      if (known === undefined) added.push(queue);
      else known.follow(handler);
      next.set(pattern, queue);
    }
    // Events that a handler of the version before had not begun go to the new handlers that choose them.
    const waiting = [...before.values()]
      .filter((queue) => !next.has(queue.pattern))
      .flatMap((queue) => this.#close(queue));
    for (const queue of added) {
      queue.adopt(waiting);
      this.#subscribers.add(queue);
    }
    return next;
  }

  #close(queue: HandlerQueue): EventRecord[] {
    this.#subscribers.delete(queue);
    return queue.close();
  }

  #begin(subscription: Subscription): void {
    this.#subscribers.add(subscription);
    subscription.begin(this.#kept);
  }

  #emit(emitter: string, topic: string, text: string): void {
    const event = { id: `${this.#origin}.${++this.#lastNumber}`, emitter, topic, text };
    this.#totals.emitted(emitter);
    this.#deliver(event);
    if (this.#outgoing.push(event) === 1) asHost(() => setImmediate(() => this.flush()));
  }

  #deliver(event: EventRecord): void {
    this.#kept.push(event);
    for (const subscriber of this.#subscribers.of(event.topic)) subscriber.offer(event);
  }
}

function pause(queues: Map<string, HandlerQueue>): Map<string, HandlerQueue> {
  for (const queue of queues.values()) queue.follow(null);
  return queues;
}

class Subscription implements Subscriber {
  readonly patterns: readonly string[];
  readonly #after: string | null;
  readonly #sink: EventSink;
  readonly #total: SubscriberTotal;
  #isOpen = true;

  constructor({ patterns, after }: EventWish, sink: EventSink, total: SubscriberTotal) {
    this.patterns = patterns;
    this.#after = after;
    this.#sink = sink;
    this.#total = total;
    total.subscribers++;
  }

  /** From here on it gets all events. */
  begin(kept: KeptEvents): void {
    const after = this.#after === null ? null : readPosition(this.#after);
    this.#sink.begin(after === null ? kept.position : new Map(after));
    if (after === null) return;
    for (const event of kept.after(after)) if (chooses(this.patterns, event.topic)) this.offer(event);
  }

  offer(event: EventRecord): void {
    if (this.#sink.push(event)) this.#total.delivered++;
    else this.#total.dropped++;
  }

  end(): void {
    this.close();
    this.#sink.end();
  }

  close(): void {
    if (this.#isOpen) this.#total.subscribers--;
    this.#isOpen = false;
  }
}
