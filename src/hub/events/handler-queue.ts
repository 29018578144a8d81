/**
 * The events of one handler of a module, one after another. The queue belongs to the module and its pattern, not to a
 * version: an event runs on the version that serves when its turn comes, and one under way ends on its own.
 */
import type { CallServer } from "../../host/inline";
import type { CallHandle, RemoteOrder } from "../../host/remote/call";
import type { BoundHandler } from "../../module/route";
import type { EventRecord } from "../../module/event/record";
import { EventQueue } from "../../module/event/queue";
import { matchesTopic } from "../../module/event/topics";
import { asHost } from "../../system/leave-graph";
import { InlineRun } from "./inline-run";
import { RemoteRun } from "./remote-run";
import type { Subscriber } from "./subscribers";
import type { SubscriberTotal } from "./totals";

export interface HandlerOwner {
  readonly server: CallServer;
  readonly callRemote: (order: RemoteOrder) => CallHandle;
  /** Whether handlers with this `background` run in this process now. */
  isActive(background: BoundHandler["on"]["background"]): boolean;
}

/** How long one turn of the loop may go on with one handler's events. In milliseconds. */
const MAX_TURN_MS = 2;

export class HandlerQueue implements Subscriber {
  readonly pattern: string;
  readonly patterns: readonly string[];
  readonly #owner: HandlerOwner;
  readonly #total: SubscriberTotal;
  readonly #queue = new EventQueue();
  /** null: the module is being replaced, and its events wait. */
  #handler: BoundHandler | null;
  #isBusy = false;
  #isScheduled = false;

  constructor(handler: BoundHandler, owner: HandlerOwner, total: SubscriberTotal) {
    this.pattern = handler.on.pattern;
    this.patterns = [this.pattern];
    this.#handler = handler;
    this.#owner = owner;
    this.#total = total;
    total.subscribers++;
  }

  offer(event: EventRecord): void {
    if (this.#handler !== null && !this.#owner.isActive(this.#handler.on.background)) return;
    if (this.#queue.push(event)) this.#schedule();
    else this.#total.dropped++;
  }

  /** Events of another handler of the module that is gone. */
  adopt(events: readonly EventRecord[]): void {
    for (const event of events)
      if (matchesTopic(this.pattern, event.topic) && !this.#queue.push(event)) this.#total.dropped++;
    this.#schedule();
  }

  follow(handler: BoundHandler | null): void {
    this.#handler = handler;
    this.#schedule();
  }

  /** The module has no such handler any more. @returns the events that had not begun, oldest first */
  close(): EventRecord[] {
    this.#handler = null;
    this.#total.subscribers--;
    return this.#queue.takeAll();
  }

  // Not within the emit: a handler must not run on the emitter's stack.
  #schedule(): void {
    if (this.#isScheduled || this.#isBusy || this.#queue.size === 0) return;
    this.#isScheduled = true;
    asHost(() =>
      setImmediate(() => {
        this.#isScheduled = false;
        this.#turn();
      }),
    );
  }

  #turn(): void {
    const until = performance.now() + MAX_TURN_MS;
    while (!this.#isBusy && this.#handler !== null) {
      const event = this.#queue.shift();
      if (event === undefined) return;
      this.#run(this.#handler, event);
      if (performance.now() > until) return this.#schedule();
    }
  }

  #run(handler: BoundHandler, event: EventRecord): void {
    this.#isBusy = true;
    let isNow = true;
    const over = (isError: boolean): void => {
      this.#isBusy = false;
      this.#total.delivered++;
      if (isError) this.#total.errors++;
      if (!isNow) this.#turn();
    };
    const { server, callRemote } = this.#owner;
    if (handler.run === "inline") new InlineRun(server, handler, over).begin(event);
    else new RemoteRun(server, handler, over).begin(event, callRemote);
    isNow = false;
  }
}
