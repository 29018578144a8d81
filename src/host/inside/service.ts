/** Services: the message becomes an input, and the result or its failure a reply, whole or in parts. */
import type { Client, Message, ModuleContext, Reply } from "../../module/contract";
import { isStream, isThenable } from "../../module/graph/returned";
import type { ModuleShape } from "../../module/shape/shape";
import { type CallFacts, serviceContext } from "../../module/service/context";
import { failureIn, uncopiedResult } from "../../module/service/error";
import { type CallFrame, withinFrame } from "../../module/service/frame";
import { decodeValue, encodeValue } from "../../module/service/values";
import { type CarriedCall, decodeServiceCall, encodeFailure, encodeResult } from "../services/messages";
import type { HostedMessage } from "./message";

type Handler = ModuleShape["services"][number]["handler"];

/** @returns the handler that replaces the module's function */
export function serviceHandler(handler: Handler): (message: Message, context: ModuleContext) => Reply | Promise<Reply> {
  return (message, context) => {
    const { call, input } = decodeServiceCall((message as HostedMessage).latin1);
    const frame = new HostedFrame(message, call);
    try {
      const result = withinFrame(frame, handler, decodeValue(input), serviceContext(context, frame));
      return isThenable(result) ? Promise.resolve(result).then(replyOf).catch(failed) : replyOf(result);
    } catch (error) {
      return failed(error);
    }
  };
}

class HostedFrame implements CallFrame, CallFacts {
  readonly caller: string;
  readonly identity: string | null;
  readonly asker = null;
  readonly chain: readonly string[];
  readonly deadlineAt: number;
  readonly #message: Message;

  constructor(message: Message, { caller, identity, chain, leftMs }: CarriedCall) {
    this.#message = message;
    this.caller = caller;
    this.identity = identity;
    this.chain = chain;
    this.deadlineAt = leftMs === 0 ? Infinity : performance.now() + leftMs;
  }

  get client(): Client {
    return this.#message.client;
  }

  get signal(): AbortSignal {
    return this.#message.signal;
  }

  cancellation(): AbortSignal {
    return this.signal;
  }
}

function replyOf(result: unknown): Reply {
  return isStream(result) ? partsOf(result as AsyncIterable<unknown>) : resultOf(result);
}

function resultOf(value: unknown): string {
  try {
    return encodeResult(encodeValue(value));
  } catch (error) {
    throw uncopiedResult(error);
  }
}

async function* partsOf(source: AsyncIterable<unknown>): AsyncGenerator<string> {
  try {
    for await (const part of source) yield resultOf(part);
  } catch (error) {
    yield failed(error);
  }
}

/** @returns a failure that the service meant. @throws any other one: the server logs it */
function failed(error: unknown): string {
  const failure = failureIn(error);
  if (failure === null) throw error;
  return encodeFailure(encodeValue(failure));
}
