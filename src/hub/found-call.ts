/** A call with its callee. The hub hands it to the host that runs it. */
import { isHalfClosed } from "../module/half-closed";
import type { CallServer } from "../host/inline";
import type { Client } from "../module/contract";
import type { BoundRoute } from "../module/route";
import type { ServiceOrder } from "../module/service/calls";
import { chainBelow } from "../module/service/context";
import { ServiceError, textOf } from "../module/service/error";

export interface FoundCall {
  readonly order: ServiceOrder;
  /** A service, or a task of a schedule. */
  readonly service: BoundRoute;
  /** "kv.get". */
  readonly name: string;
  /** By performance.now(); Infinity: never. */
  readonly deadlineAt: number;
  readonly server: CallServer;
  /** By performance.now(). */
  readonly askedAt: number;
}

/** The client of calls that no client began. */
export const NO_CLIENT: Client = { address: "hrmr", port: 0, transport: "unix", isLocal: true, connection: 0 };

export function clientOf({ order }: FoundCall): Client {
  return order.frame?.client ?? NO_CLIENT;
}

/** The services that wait, the callee as the last of them. */
export function chainOf({ order, name }: FoundCall): readonly string[] {
  return chainBelow(order.frame, name);
}

/** How long it may take from now on. In milliseconds, at least 1; 0: for ever. */
export function leftMs({ deadlineAt }: FoundCall): number {
  return deadlineAt === Infinity ? 0 : Math.max(1, Math.ceil(deadlineAt - performance.now()));
}

export function lateError({ name, order, service, server }: FoundCall): ServiceError {
  const own = order.timeoutMs ?? service.timeoutMs ?? server.timeouts.handlerMs;
  return new ServiceError("TIMEOUT", `${name} did not answer in time (${own} ms, or what its caller had left)`);
}

export function cancelledError({ name }: FoundCall): ServiceError {
  return new ServiceError("CANCELLED", `${name} was cancelled: its caller no longer waits`);
}

/** The callee threw an error that is not a ServiceError. It is logged; the caller does not get its text. */
export function failedError({ name }: FoundCall, error: unknown): ServiceError {
  return new ServiceError("FAILED", `${name} failed: ${textOf(error)}`);
}

/** Calls `giveUp` when the caller no longer waits. @returns a function that removes the listener */
export function onCancelled({ order }: FoundCall, giveUp: () => void): () => void {
  const frames = order.frame?.cancellation() ?? null;
  if (order.signal === undefined && frames === null) return NOTHING_TO_REMOVE;
  const signals = [order.signal, frames].filter((each) => each != null);
  const aborted = ({ target }: Event): void => {
    if (!isHalfClosed((target as AbortSignal).reason)) giveUp();
  };
  for (const signal of signals) signal.addEventListener("abort", aborted, { once: true });
  return () => {
    for (const signal of signals) signal.removeEventListener("abort", aborted);
  };
}

function NOTHING_TO_REMOVE(): void {}

/** Whether the caller no longer waited when it called. */
export function isCancelled({ order }: FoundCall): boolean {
  return isOver(order.signal) || isOver(order.frame?.cancellation());
}

function isOver(signal: AbortSignal | null | undefined): boolean {
  return signal?.aborted === true && !isHalfClosed(signal.reason);
}
