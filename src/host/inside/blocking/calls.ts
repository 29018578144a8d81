/** Service calls of code that cannot await. */
import type { ServiceCallsNow, ServiceOrder } from "../../../module/service/calls";
import { errorOf, ServiceError, type ServiceFailure } from "../../../module/service/error";
import { Carried, decodeValue } from "../../../module/service/values";
import type { ToPlace } from "../../remote/messages";
import { TOLD, TOLD_FIELDS, type ToldKind } from "../../services/messages";
import { askOf, leastMs } from "../asks";
import { type BlockingChannel, Unanswered } from "./channel";

export class BlockingCalls implements ServiceCallsNow {
  readonly #channel: BlockingChannel;
  readonly #maxLetters: number;

  /** @param maxLetters  limit for one input */
  constructor(channel: BlockingChannel, maxLetters: number) {
    this.#channel = channel;
    this.#maxLetters = maxLetters;
  }

  callNow(order: ServiceOrder): Carried {
    const name = `${order.module}.${order.service}`;
    const wait = { name, frame: order.frame, leftMs: leastMs(order.frame, order.timeoutMs) };
    try {
      return this.#channel.ask(
        wait,
        (ask) => ({ type: "asks", asks: askOf(ask, order, this.#maxLetters) }),
        (message, ask) => this.#resultIn(message, ask, wait),
      );
    } catch (error) {
      throw error instanceof Unanswered ? new ServiceError(error.code, error.message) : error;
    }
  }

  #resultIn(message: ToPlace, ask: number, wait: Parameters<BlockingChannel["leave"]>[1]): Carried | undefined {
    if (message.type !== "told") return undefined;
    const at = message.told.findIndex((field, index) => index % TOLD_FIELDS === 0 && field === ask);
    if (at === -1) return undefined;
    const [, kind, text] = message.told.slice(at, at + TOLD_FIELDS) as [number, ToldKind, string];
    if (kind === TOLD.value) return Carried.encoded(text);
    if (kind === TOLD.failure) throw errorOf(decodeValue(text) as ServiceFailure);
    this.#channel.leave(ask, wait);
    throw new ServiceError(
      "INVALID_OUTPUT",
      `${wait.name} streams its result, and C takes one value: call a service that returns one`,
    );
  }
}
