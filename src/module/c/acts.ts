/** The things that C does besides replying: it calls services and emits events. */
import { messageOf } from "../../config/user-error";
import type { Client, ModuleContext } from "../contract";
import type { ServiceCallsNow } from "../service/calls";
import { failureIn, ServiceError } from "../service/error";
import { type CallFrame, currentFrame } from "../service/frame";
import { Carried } from "../service/values";

/** The result of an act, all as text for C. */
type ActResult =
  | { readonly json: string }
  /** `data` as JSON. null: there is none. */
  | { readonly code: string; readonly message: string; readonly data: string | null };

/**
 * Calls a service and waits for its result.
 *
 * @param context null: `hrmr_module` runs
 * @param name "kv.get"
 * @param json the input. null: none
 * @param timeoutMs 0: no limit besides those of the callee and the frame
 */
export function callService(
  calls: ServiceCallsNow,
  context: ModuleContext | null,
  { name, json, timeoutMs }: { readonly name: string; readonly json: string | null; readonly timeoutMs: number },
): ActResult {
  return resultOf(() => {
    const caller = serving(context, "hrmr_call");
    const dot = name.lastIndexOf(".");
    if (dot < 1)
      throw new ServiceError("INVALID_INPUT", `hrmr_call: ${JSON.stringify(name)} is not a service. Write "kv.get"`);
    const order = {
      caller: { module: caller.name, generation: caller.generation },
      module: name.slice(0, dot),
      service: name.slice(dot + 1),
      input: Carried.given(valueOf(name, json)),
      frame: new HoldingFrame(currentFrame(), caller.name),
      timeoutMs: timeoutMs > 0 ? timeoutMs : undefined,
      signal: undefined,
    };
    return calls.callNow(order).json;
  });
}

/** Emits an event. */
export function emitEvent(context: ModuleContext | null, topic: string, json: string | null): ActResult {
  return resultOf(() => {
    const { events } = serving(context, "hrmr_emit");
    const value = valueOf(`hrmr_emit: ${JSON.stringify(topic)}`, json);
    try {
      events.emit(topic, value);
    } catch (error) {
      throw new ServiceError("INVALID_INPUT", messageOf(error));
    }
    return "null";
  });
}

function serving(context: ModuleContext | null, what: string): ModuleContext {
  if (context !== null) return context;
  throw new ServiceError(
    "UNAVAILABLE",
    `${what} has no effect in hrmr_module. Call it in a handler, in start or in live`,
  );
}

function valueOf(name: string, json: string | null): unknown {
  if (json === null) return undefined;
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new ServiceError("INVALID_INPUT", `${name}: the text is not JSON: ${messageOf(error)}`);
  }
}

function resultOf(act: () => string): ActResult {
  try {
    return { json: act() };
  } catch (error) {
    const { code, message, data } = failureIn(error) ?? { code: "FAILED", message: messageOf(error) };
    return { code, message, data: data === undefined ? null : jsonOf(data) };
  }
}

function jsonOf(data: unknown): string | null {
  try {
    return JSON.stringify(data) ?? null;
  } catch {
    // It has no JSON, such as a BigInt.
    return null;
  }
}

/** The frame of a call that holds the process of its module. */
class HoldingFrame implements CallFrame {
  readonly chain: readonly string[];
  readonly #above: CallFrame | null;

  constructor(above: CallFrame | null, module: string) {
    this.#above = above;
    this.chain = [...(above?.chain ?? []), module];
  }

  get deadlineAt(): number {
    return this.#above?.deadlineAt ?? Infinity;
  }

  get client(): Client | null {
    return this.#above?.client ?? null;
  }

  get identity(): string | null {
    return this.#above?.identity ?? null;
  }

  cancellation(): AbortSignal | null {
    return this.#above?.cancellation() ?? null;
  }
}
