/** A call of a service that runs on the pool or in a process of its module. */
import { HandlerTimeoutError, HostBusyError, HostLostError, UnavailableError } from "../host/errors";
import { beginCall, failCall } from "../host/inline";
import type { CallHandle, RemoteCallOwner, RemoteOrder } from "../host/remote/call";
import { decodeResult, encodeServiceCall } from "../host/services/messages";
import type { InFlight, InFlightKind } from "../module/route";
import type { ServiceAnswer } from "../module/service/calls";
import { errorOf, ServiceError, type ServiceFailure, uncopiedInput } from "../module/service/error";
import { Carried, decodeValue } from "../module/service/values";
import { asHost } from "../system/leave-graph";
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

type Reply = Parameters<RemoteCallOwner["resolve"]>[0];

export class RemoteServiceCall implements InFlight, RemoteCallOwner {
  kind: InFlightKind = "call";
  inFlightAt = -1;
  isEndless = false;
  readonly #found: FoundCall;
  readonly #answer: ServiceAnswer;
  readonly #startedAt: number;
  #handle: CallHandle | null = null;
  #parts: RemoteParts | null = null;
  #isAnswered = false;
  #stopListening: (() => void) | null = null;

  constructor(found: FoundCall, answer: ServiceAnswer) {
    this.#found = found;
    this.#answer = answer;
    this.#startedAt = beginCall(found.service, false);
  }

  /** @returns a function that cancels the call */
  begin(call: (order: RemoteOrder) => CallHandle): () => void {
    const found = this.#found;
    const latin1 = this.#encode();
    if (latin1 === null) return this.#giveUp;
    found.service.generation.enter(this);
    this.#stopListening = onCancelled(found, this.#giveUp);
    const order = {
      route: found.service,
      client: clientOf(found),
      latin1,
      body: null,
      timeoutMs: leftMs(found),
      owner: this,
    };
    this.#handle = asHost(() => call(order));
    return this.#giveUp;
  }

  /** @returns null: it cannot be called, and the caller already has the error */
  #encode(): string | null {
    const { order, name } = this.#found;
    if (isCancelled(this.#found)) return this.#refuse(cancelledError(this.#found));
    const call = {
      caller: order.caller.module,
      identity: order.frame?.identity ?? null,
      chain: chainOf(this.#found),
      leftMs: leftMs(this.#found),
    };
    try {
      return encodeServiceCall(call, order.input.text);
    } catch (error) {
      return this.#refuse(uncopiedInput(name, error));
    }
  }

  #refuse(error: ServiceError): null {
    this.#settle();
    this.#answer.reject(error);
    return null;
  }

  readonly #giveUp = (): void => this.#end(cancelledError(this.#found));

  #end(error: ServiceError): void {
    if (this.#parts !== null) return this.#parts.cut(error);
    if (this.#isAnswered) return;
    this.#handle?.cancel();
    this.#settle();
    this.#answer.reject(error);
  }

  #settle(): void {
    this.#isAnswered = true;
    const { generation } = this.#found.service;
    if (this.#startedAt > 0) generation.figures.record(performance.now() - this.#startedAt);
    else generation.figures.ended(this.#startedAt);
    if (this.#parts === null) this.#leave();
  }

  #leave(): void {
    this.#stopListening?.();
    this.#stopListening = null;
    this.#found.service.generation.leave(this);
  }

  // ---- RemoteCallOwner ----

  resolve(reply: Reply): void {
    if (typeof reply === "string") {
      this.#settle();
      return this.#answerWith(reply);
    }
    if (reply === null || reply instanceof Uint8Array)
      return this.reject(new Error("the module's host answered a service call with bytes"));
    this.kind = "stream";
    this.isEndless = true;
    this.#parts = new RemoteParts(reply as AsyncIterable<string>, {
      over: () => {
        this.#parts = null;
        this.#leave();
      },
      errorOf: (error) => this.#errorOf(error),
    });
    this.#settle();
    this.#answer.stream(this.#parts);
  }

  #answerWith(reply: string): void {
    const { isFailure, encoded } = decodeResult(reply);
    if (isFailure) this.#answer.reject(failureOf(encoded));
    else this.#answer.resolve(Carried.encoded(encoded));
  }

  reject(error: Error): void {
    this.#settle();
    this.#answer.reject(this.#errorOf(error));
  }

  #errorOf(error: Error): ServiceError {
    const found = this.#found;
    const { name, service, server } = found;
    if (error instanceof HostBusyError) return new ServiceError("BUSY", `${name} was not called: ${error.message}`);
    if (error instanceof UnavailableError) return new ServiceError("UNAVAILABLE", `${name}: ${error.message}`);
    failCall(server, service, { client: clientOf(found) }, error);
    if (error instanceof HandlerTimeoutError) return lateError(found);
    if (error instanceof HostLostError) return new ServiceError("UNAVAILABLE", `${name}: ${error.message}`);
    return failedError(found, error);
  }

  // ---- InFlight ----

  cut(reason: string): void {
    this.#end(new ServiceError("UNAVAILABLE", `${this.#found.name} was cut: ${reason}`));
  }
}

function failureOf(encoded: string): ServiceError {
  return errorOf(decodeValue(encoded) as ServiceFailure);
}

interface RemotePartsOwner {
  over(): void;
  /** @returns the reader's error. Logs one that the service did not mean */
  errorOf(error: Error): ServiceError;
}

/** The parts of a result, as they come from the place. */
class RemoteParts implements AsyncIterableIterator<Carried> {
  readonly #iterator: AsyncIterator<string>;
  readonly #owner: RemotePartsOwner;
  #cut: Error | null = null;
  #isOver = false;

  constructor(source: AsyncIterable<string>, owner: RemotePartsOwner) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#owner = owner;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Carried>> {
    if (this.#cut !== null) throw this.#cut;
    try {
      const next = await this.#iterator.next();
      // `cut` ends the iterator, and its reader must not take that for the end of the result.
      if (this.#cut !== null) throw this.#cut as Error;
      if (next.done === true) return this.#end();
      const { isFailure, encoded } = decodeResult(next.value);
      if (isFailure) throw failureOf(encoded);
      return { done: false, value: Carried.encoded(encoded) };
    } catch (error) {
      this.#end();
      throw error instanceof ServiceError ? error : this.#owner.errorOf(error as Error);
    }
  }

  async return(): Promise<IteratorResult<Carried>> {
    if (!this.#isOver) await this.#iterator.return?.();
    return this.#end();
  }

  cut(error: Error): void {
    this.#cut = error;
    void this.#iterator.return?.();
    this.#end();
  }

  #end(): IteratorResult<Carried> {
    if (!this.#isOver) {
      this.#isOver = true;
      this.#owner.over();
    }
    return { done: true, value: undefined };
  }
}
