/** A call of a service that runs in this thread. One that answers at once needs neither a timer nor a place in a list. */
import type { Deadline } from "../host/deadlines";
import { failCall, runInline } from "../host/inline";
import { isStream, isThenable } from "../module/graph/returned";
import type { InFlight, InFlightKind } from "../module/route";
import { ServiceFrame, serviceContext } from "../module/service/context";
import type { ServiceAnswer } from "../module/service/calls";
import { errorOf, failureIn, ServiceError, uncopiedInput } from "../module/service/error";
import { withinFrame } from "../module/service/frame";
import { Carried } from "../module/service/values";
import { tellBug } from "../observe/tell-bug";
import {
  cancelledError,
  chainOf,
  clientOf,
  failedError,
  type FoundCall,
  isCancelled,
  lateError,
  leftMs,
  onCancelled,
} from "./found-call";
import { PartsOf } from "./parts";

export class InlineCall implements InFlight, Deadline {
  kind: InFlightKind = "call";
  inFlightAt = -1;
  isEndless = false;
  /** The wheel's. */
  deadlineAt = 0;
  readonly #found: FoundCall;
  readonly #answer: ServiceAnswer;
  readonly #frame: ServiceFrame;
  #isAnswered = false;
  #parts: PartsOf | null = null;
  #stopListening: (() => void) | null = null;

  constructor(found: FoundCall, answer: ServiceAnswer) {
    const { order, deadlineAt } = found;
    this.#found = found;
    this.#answer = answer;
    this.#frame = new ServiceFrame({
      caller: order.caller.module,
      parent: order.frame,
      chain: chainOf(found),
      deadlineAt,
    });
  }

  /** @returns whether it is over already */
  begin(): boolean {
    const { order, service, name } = this.#found;
    if (isCancelled(this.#found)) return this.#refuse(cancelledError(this.#found));
    let input: unknown;
    try {
      input = order.input.copy();
    } catch (error) {
      return this.#refuse(uncopiedInput(name, error));
    }
    const context = serviceContext(service.generation.context, this.#frame);
    try {
      const handler = service.handler as Handler;
      const result: unknown = withinFrame(this.#frame, () => runInline(service, handler, input, context));
      if (isThenable(result)) return this.#await(result);
      if (isStream(result)) return this.#open(result as AsyncIterable<unknown>);
      this.#resolve(result);
    } catch (error) {
      this.#fail(error);
    }
    return true;
  }

  /** The caller no longer waits: cancels the call. */
  readonly giveUp = (): void => {
    if (this.#isAnswered && this.#parts === null) return;
    const error = cancelledError(this.#found);
    this.#abort(error);
    if (this.#parts !== null) return this.#parts.cut(error);
    this.#settle();
    this.#answer.reject(error);
  };

  #await(result: PromiseLike<unknown>): boolean {
    // An async function that never really waited has answered by now.
    if (result instanceof Promise && Bun.peek.status(result) === "fulfilled") {
      const value: unknown = Bun.peek(result);
      if (!isStream(value)) {
        this.#resolve(value);
        return true;
      }
    }
    this.#enter();
    result.then(
      (value) => {
        if (this.#isAnswered) return this.#leave();
        if (isStream(value)) this.#open(value as AsyncIterable<unknown>);
        else {
          this.#settle();
          this.#resolve(value);
        }
      },
      (error) => {
        if (this.#isAnswered) return this.#leave();
        this.#settle();
        this.#fail(error);
      },
    );
    return false;
  }

  #enter(): void {
    const { service, server } = this.#found;
    service.generation.enter(this);
    server.wheel.arm(this, leftMs(this.#found));
    this.#stopListening = onCancelled(this.#found, this.giveUp);
  }

  #open(source: AsyncIterable<unknown>): boolean {
    const { service, server } = this.#found;
    if (this.inFlightAt < 0) this.#enter();
    server.wheel.disarm(this);
    this.kind = "stream";
    this.isEndless = true;
    this.#isAnswered = true;
    this.#time();
    try {
      this.#parts = new PartsOf(source, {
        run: (fn) => withinFrame(this.#frame, runInline, service, fn),
        over: (error) => {
          this.#parts = null;
          this.#leave();
          return error === undefined ? null : this.#errorOf(error);
        },
      });
    } catch (error) {
      this.#leave();
      this.#answer.reject(this.#errorOf(error));
      return false;
    }
    this.#answer.stream(this.#parts);
    return false;
  }

  #resolve(value: unknown): void {
    this.#isAnswered = true;
    this.#answer.resolve(Carried.of(value));
  }

  #fail(error: unknown): void {
    this.#isAnswered = true;
    this.#answer.reject(this.#errorOf(error));
  }

  #refuse(error: ServiceError): boolean {
    this.#isAnswered = true;
    this.#answer.reject(error);
    return true;
  }

  /** An error that the service did not mean for its caller is the module's failure, and is logged. */
  #errorOf(error: unknown): ServiceError {
    const meant = failureIn(error);
    if (meant !== null) return errorOf(meant);
    const { service, server } = this.#found;
    failCall(server, service, { client: clientOf(this.#found) }, error);
    return failedError(this.#found, error);
  }

  /** An asynchronous call has its answer. `leave` follows when its code has ended. */
  #settle(): void {
    this.#isAnswered = true;
    this.#time();
    this.#leave();
  }

  #time(): void {
    this.#found.service.generation.figures.record(performance.now() - this.#found.askedAt);
  }

  #leave(): void {
    const { service, server } = this.#found;
    server.wheel.disarm(this);
    this.#stopListening?.();
    this.#stopListening = null;
    service.generation.leave(this);
  }

  #abort(error: ServiceError): void {
    try {
      runInline(this.#found.service, () => this.#frame.abort(error));
    } catch (thrown) {
      tellBug(thrown);
    }
  }

  // ---- from outside ----

  expired(): void {
    const error = lateError(this.#found);
    this.#abort(error);
    if (this.#isAnswered) return;
    this.#settle();
    failCall(this.#found.server, this.#found.service, { client: clientOf(this.#found) }, error);
    this.#answer.reject(error);
  }

  cut(reason: string): void {
    const error = new ServiceError("UNAVAILABLE", `${this.#found.name} was cut: ${reason}`);
    this.#abort(error);
    if (this.#parts !== null) return this.#parts.cut(error);
    if (this.#isAnswered) return;
    this.#settle();
    this.#answer.reject(error);
  }
}

type Handler = (input: unknown, context: unknown) => unknown;
