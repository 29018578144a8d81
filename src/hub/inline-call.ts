/** Calls of services that run in this thread. One that answers at once needs only `runService`, and no object. */
import type { Deadline } from "../host/deadlines";
import { failCall, runInline } from "../host/inline";
import { isStream, isThenable } from "../module/graph/returned";
import type { BoundService, InFlight, InFlightKind } from "../module/route";
import { ServiceFrame, serviceContext } from "../module/service/context";
import type { ServiceAnswer } from "../module/service/calls";
import { errorOf, failureIn, ServiceError, uncopiedInput } from "../module/service/error";
import { withinFrame } from "../module/service/frame";
import { Carried } from "../module/service/values";
import { tellBug } from "../observe/tell-bug";
import {
  cancelledError,
  clientOf,
  failedError,
  type FoundCall,
  isCancelled,
  lateError,
  leftMs,
  onCancelled,
} from "./found-call";
import { PartsOf } from "./parts";

/** Makes the frame of a call that is about to run. */
export function frameOf({ order, name, deadlineAt }: FoundCall): ServiceFrame {
  return new ServiceFrame({ caller: order.caller.module, parent: order.frame, name, deadlineAt });
}

/** @returns the result; one that is not there yet is a promise or a stream. @throws what the service throws */
export function runService(found: FoundCall, frame: ServiceFrame): unknown {
  const { order, service, name } = found;
  if (isCancelled(found)) throw cancelledError(found);
  let input: unknown;
  try {
    input = order.input.copy();
  } catch (error) {
    throw uncopiedInput(name, error);
  }
  const context = serviceContext(service.generation.context, frame);
  const handler = service.handler as Handler;
  const result: unknown =
    (service as Partial<BoundService>).isFramed === false
      ? runInline(service, handler, input, context)
      : withinFrame(frame, runInline, service, handler, input, context);
  // An async function that never really waited has answered by now.
  if (!(result instanceof Promise) || Bun.peek.status(result) !== "fulfilled") return result;
  return Bun.peek(result);
}

/** Whether a service's result is there. */
export function isSettled(result: unknown): boolean {
  return !isThenable(result) && !isStream(result);
}

/** @returns the caller's error. One that the service did not mean for its caller is the module's failure, and is logged */
export function errorFrom(found: FoundCall, thrown: unknown): ServiceError {
  const meant = failureIn(thrown);
  if (meant !== null) return errorOf(meant);
  failCall(found.server, found.service, { client: clientOf(found) }, thrown);
  return failedError(found, thrown);
}

/** A call whose result is not there at once. */
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

  constructor(found: FoundCall, frame: ServiceFrame, answer: ServiceAnswer) {
    this.#found = found;
    this.#frame = frame;
    this.#answer = answer;
  }

  /** @param result of `runService`, not settled */
  wait(result: unknown): void {
    if (isThenable(result)) this.#await(result);
    else this.#open(result as AsyncIterable<unknown>);
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

  #await(result: PromiseLike<unknown>): void {
    this.#enter();
    result.then(
      (value) => {
        if (this.#isAnswered) return this.#leave();
        if (isStream(value)) return this.#open(value as AsyncIterable<unknown>);
        this.#settle();
        this.#answer.resolve(Carried.of(value));
      },
      (error) => {
        if (this.#isAnswered) return this.#leave();
        this.#settle();
        this.#answer.reject(errorFrom(this.#found, error));
      },
    );
  }

  #enter(): void {
    const { service, server } = this.#found;
    service.generation.enter(this);
    server.wheel.arm(this, leftMs(this.#found));
    this.#stopListening = onCancelled(this.#found, this.giveUp);
  }

  #open(source: AsyncIterable<unknown>): void {
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
          return error === undefined ? null : errorFrom(this.#found, error);
        },
      });
    } catch (error) {
      this.#leave();
      return this.#answer.reject(errorFrom(this.#found, error));
    }
    this.#answer.stream(this.#parts);
  }

  /** It has its answer. `leave` follows when its code has ended. */
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
