/** A handler of events that runs in its module's process, for one event. */
import { beginCall, type CallServer, failCall } from "../../host/inline";
import { encodeEvent } from "../../host/events/messages";
import type { CallHandle, RemoteCallOwner, RemoteOrder } from "../../host/remote/call";
import type { EventRecord } from "../../module/event/record";
import type { BoundHandler, InFlight } from "../../module/route";
import { NO_CLIENT } from "../found-call";
import type { Over } from "./inline-run";

export class RemoteRun implements InFlight, RemoteCallOwner {
  readonly kind = "call";
  readonly isEndless = false;
  inFlightAt = -1;
  readonly #server: CallServer;
  readonly #handler: BoundHandler;
  readonly #over: Over;
  readonly #startedAt: number;
  #handle: CallHandle | null = null;
  #isOver = false;

  constructor(server: CallServer, handler: BoundHandler, over: Over) {
    this.#server = server;
    this.#handler = handler;
    this.#over = over;
    this.#startedAt = beginCall(handler, false);
  }

  begin(event: EventRecord, call: (order: RemoteOrder) => CallHandle): void {
    const handler = this.#handler;
    handler.generation.enter(this);
    const timeoutMs = handler.timeoutMs ?? this.#server.timeouts.handlerMs;
    const latin1 = encodeEvent(event);
    this.#handle = call({ route: handler, client: NO_CLIENT, latin1, body: null, timeoutMs, owner: this });
  }

  #settle(error: Error | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { generation } = this.#handler;
    if (this.#startedAt > 0) generation.figures.record(performance.now() - this.#startedAt);
    else generation.figures.ended(this.#startedAt);
    generation.leave(this);
    if (error !== null) failCall(this.#server, this.#handler, { client: NO_CLIENT }, error);
    this.#over(error !== null);
  }

  // ---- RemoteCallOwner ----

  resolve(): void {
    this.#settle(null);
  }

  reject(error: Error): void {
    this.#settle(error);
  }

  // ---- InFlight ----

  cut(reason: string): void {
    this.#handle?.cancel();
    this.#settle(new Error(`the handler of ${this.#handler.on.pattern} was cut: ${reason}`));
  }
}
