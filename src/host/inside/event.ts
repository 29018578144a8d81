/** Handlers of events in a module's process: the message becomes an event. */
import type { EventHandler, Message, ModuleContext } from "../../module/contract";
import { eventOf } from "../../module/event/record";
import { withinFrame } from "../../module/service/frame";
import { decodeEvent } from "../events/messages";
import type { HostedMessage } from "./message";

/** @returns the handler that replaces the module's function */
export function eventHandler(
  handler: EventHandler,
): (message: Message, context: ModuleContext) => Promise<void> | void {
  return (message, context) => {
    const frame = {
      chain: NOTHING,
      deadlineAt: Infinity,
      client: null,
      identity: null,
      cancellation: () => message.signal,
    };
    const event = eventOf(decodeEvent((message as HostedMessage).latin1));
    const result = withinFrame(frame, handler, event, context) as PromiseLike<unknown> | undefined;
    return typeof result?.then === "function" ? Promise.resolve(result).then(() => undefined) : undefined;
  };
}

const NOTHING: readonly string[] = [];
