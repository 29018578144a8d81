/** `context.services` in a place: calls go to the server, which finds the callee, and the results come back. */
import { isHalfClosed } from "../../module/half-closed";
import type { ServiceCalls, ServiceOrder } from "../../module/service/calls";
import { errorOf, ServiceError, type ServiceFailure, uncopiedInput } from "../../module/service/error";
import type { CallFrame } from "../../module/service/frame";
import { decodeValue } from "../../module/service/values";
import { asHost } from "../../system/leave-graph";
import { clientText, type FromPlace } from "../remote/messages";
import {
  type AskBatch,
  askTarget,
  encodeInherited,
  TOLD,
  TOLD_FIELDS,
  type ToldBatch,
  type ToldKind,
} from "../services/messages";
import { RemoteStream } from "../remote/stream";

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
  /** Stops waiting for the caller's signals. */
  over(): void;
  parts: RemoteStream<unknown> | null;
}

export class HostedServices implements ServiceCalls {
  readonly #post: (message: FromPlace) => void;
  readonly #maxLetters: number;
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;
  /** Calls of this turn: they leave in one message. */
  #asks: AskBatch = [];
  #isFlushScheduled = false;

  /** @param maxLetters  limit for one input. Infinity: no limit */
  constructor(post: (message: FromPlace) => void, maxLetters: number) {
    this.#post = post;
    this.#maxLetters = maxLetters;
  }

  call(order: ServiceOrder): Promise<unknown> {
    const { module, service, frame, signal } = order;
    if (signal?.aborted === true || isOver(frame?.cancellation()))
      return Promise.reject(
        new ServiceError("CANCELLED", `${module}.${service} was not called: its caller no longer waits`),
      );
    const ask = ++this.#last;
    let fields: AskBatch;
    try {
      fields = askOf(ask, order, this.#maxLetters);
    } catch (error) {
      return Promise.reject(error as ServiceError);
    }
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const over = this.#listen(ask, order);
    this.#waiting.set(ask, { resolve, reject, over, parts: null });
    this.#asks.push(...fields);
    this.#scheduleFlush();
    return promise;
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    asHost(() => setImmediate(() => this.flush()));
  }

  /** Sends what has been called so far. */
  flush(): void {
    this.#isFlushScheduled = false;
    if (this.#asks.length === 0) return;
    const asks = this.#asks;
    this.#asks = [];
    this.#post({ type: "asks", asks });
  }

  told(batch: ToldBatch): void {
    for (let at = 0; at < batch.length; at += TOLD_FIELDS)
      this.#told(batch[at] as number, batch[at + 1] as ToldKind, batch[at + 2] as string);
  }

  #told(ask: number, kind: ToldKind, text: string): void {
    const waiting = this.#waiting.get(ask);
    if (waiting === undefined) return;
    if (kind === TOLD.stream) {
      waiting.parts = new RemoteStream<unknown>(
        () => this.#post({ type: "askCredit", ask }),
        () => this.#leave(ask),
      );
      return waiting.resolve(waiting.parts);
    }
    if (kind === TOLD.part) return waiting.parts?.push(decodeValue(text));
    this.#waiting.delete(ask);
    waiting.over();
    if (kind === TOLD.end) return waiting.parts?.end();
    if (kind === TOLD.value) return waiting.resolve(decodeValue(text));
    const error = errorOf(decodeValue(text) as ServiceFailure);
    if (waiting.parts === null) waiting.reject(error);
    else waiting.parts.fail(error);
  }

  /** The caller no longer waits: cancels the call. */
  #cancel(ask: number, { module, service }: ServiceOrder): void {
    const waiting = this.#waiting.get(ask);
    if (waiting === undefined) return;
    const error = new ServiceError("CANCELLED", `${module}.${service} was cancelled: its caller no longer waits`);
    this.#leave(ask);
    if (waiting.parts === null) waiting.reject(error);
    else waiting.parts.fail(error);
  }

  #leave(ask: number): void {
    this.#waiting.get(ask)?.over();
    if (!this.#waiting.delete(ask)) return;
    // It may not have left yet.
    asHost(() => {
      this.flush();
      this.#post({ type: "askCancel", ask });
    });
  }

  #listen(ask: number, order: ServiceOrder): () => void {
    const giveUp = ({ target }: Event): void => {
      if (isOver(target as AbortSignal)) this.#cancel(ask, order);
    };
    const signals = [order.signal, order.frame?.cancellation()].filter((each) => each != null);
    for (const each of signals) each.addEventListener("abort", giveUp, { once: true });
    return () => {
      for (const each of signals) each.removeEventListener("abort", giveUp);
    };
  }
}

/** Whether nobody wants the reply any more. A client that has only half-closed its connection still may. */
function isOver(signal: AbortSignal | null | undefined): boolean {
  return signal?.aborted === true && !isHalfClosed(signal.reason);
}

/**
 * @param maxLetters limit for its input
 * @returns the fields of one call. @throws ServiceError for an input that cannot be sent
 */
export function askOf(ask: number, order: ServiceOrder, maxLetters: number): AskBatch {
  const { caller, module, service, frame, timeoutMs } = order;
  let input: string;
  try {
    input = order.input.text;
    if (input.length > maxLetters) throw new RangeError(`it has ${Math.round(input.length / 1e6)} MB`);
  } catch (error) {
    throw uncopiedInput(`${module}.${service}`, error);
  }
  const inherited = frame === null ? "" : encodeInherited(frame);
  const client = frame?.client ?? null;
  const text = client === null ? "" : clientText(client);
  return [ask, askTarget(caller, module, service), input, leastMs(frame, timeoutMs), inherited, text];
}

/** @returns in milliseconds; 0: for ever */
export function leastMs(frame: CallFrame | null, timeoutMs: number | undefined): number {
  const left = (frame?.deadlineAt ?? Infinity) - performance.now();
  const least = Math.min(left, timeoutMs ?? Infinity);
  return least === Infinity ? 0 : Math.max(1, Math.ceil(least));
}
