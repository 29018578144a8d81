/** A handler of events that runs in this thread, for one event. */
import type { Deadline } from "../../host/deadlines";
import { HandlerTimeoutError } from "../../host/errors";
import { beginCall, type CallServer, endCall, failCall, handlerMs, runInline } from "../../host/inline";
import { type EventRecord, eventOf } from "../../module/event/record";
import { isThenable } from "../../module/graph/returned";
import type { BoundHandler, InFlight } from "../../module/route";
import { ServiceFrame } from "../../module/service/context";
import { withinFrame } from "../../module/service/frame";
import { tellBug } from "../../observe/tell-bug";
import { deadlineOf } from "../chain";
import { NO_CLIENT } from "../found-call";

/** Called once, when the handler has ended or its time is over. */
export type Over = (isError: boolean) => void;

type Handler = (event: unknown, context: unknown) => unknown;

export class InlineRun implements InFlight, Deadline {
  readonly kind = "call";
  readonly isEndless = false;
  inFlightAt = -1;
  /** The wheel's. */
  deadlineAt = 0;
  readonly #server: CallServer;
  readonly #handler: BoundHandler;
  readonly #over: Over;
  readonly #askedAt = performance.now();
  readonly #frame: ServiceFrame;
  #isOver = false;

  constructor(server: CallServer, handler: BoundHandler, over: Over) {
    this.#server = server;
    this.#handler = handler;
    this.#over = over;
    // The handler must not inherit the emitter's frame: it belongs to no call.
    const deadlineAt = deadlineOf(this.#askedAt, null, handlerMs(server, handler));
    this.#frame = new ServiceFrame({ caller: "", parent: null, name: null, deadlineAt });
  }

  begin(event: EventRecord): void {
    const handler = this.#handler;
    const startedAt = beginCall(handler, false);
    const run = handler.handler as unknown as Handler;
    try {
      const result: unknown = withinFrame(
        this.#frame,
        runInline,
        handler,
        run,
        eventOf(event),
        handler.generation.context,
      );
      // An async function that never really waited has ended by now.
      if (isThenable(result) && !(result instanceof Promise && Bun.peek.status(result) === "fulfilled"))
        return this.#await(result);
      endCall(handler, startedAt);
      this.#over(false);
    } catch (error) {
      endCall(handler, startedAt);
      this.#fail(error);
      this.#over(true);
    }
  }

  #await(result: PromiseLike<unknown>): void {
    const handler = this.#handler;
    handler.generation.enter(this);
    this.#server.wheel.arm(this, handlerMs(this.#server, handler));
    result.then(
      () => this.#settle(false),
      (error) => {
        if (this.#isOver) return;
        this.#fail(error);
        this.#settle(true);
      },
    );
  }

  #settle(isError: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#server.wheel.disarm(this);
    this.#handler.generation.figures.record(performance.now() - this.#askedAt);
    this.#handler.generation.leave(this);
    this.#over(isError);
  }

  #fail(error: unknown): void {
    failCall(this.#server, this.#handler, { client: NO_CLIENT }, error);
  }

  #end(error: Error): void {
    if (this.#isOver) return;
    try {
      runInline(this.#handler, () => this.#frame.abort(error));
    } catch (thrown) {
      tellBug(thrown);
    }
    this.#fail(error);
    this.#settle(true);
  }

  // ---- from outside ----

  expired(): void {
    const ms = handlerMs(this.#server, this.#handler);
    this.#end(new HandlerTimeoutError(`the handler of ${this.#handler.on.pattern} did not end within ${ms} ms`));
  }

  cut(reason: string): void {
    this.#end(new Error(`the handler of ${this.#handler.on.pattern} was cut: ${reason}`));
  }
}
