/**
 * What a handler's calls inherit from the call that it answers: its deadline, its cancellation, its client, and the
 * services on the way to it. It follows the handler over every await.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Client, Session } from "../contract";

export interface CallFrame {
  /**
   * The services that wait for this one, the first caller's first: ["stats.count", "kv.get"]. Empty for a route. A name
   * without a dot is a module whose process stands still until its call is answered.
   */
  readonly chain: readonly string[];
  /** When the first of them stops waiting. By performance.now(). Infinity: never. */
  readonly deadlineAt: number;
  /** The client of the message or request. null: there is none, as for a schedule. */
  readonly client: Client | null;
  /** The client's identity. */
  readonly identity: string | null;
  /** Of a call that the client itself makes, not of those that a module makes for it. */
  readonly direct?: { readonly client: Client; readonly session: Session };
  /** @returns aborts when the result is no longer needed. null: it never does. Making it costs time: call late */
  cancellation(): AbortSignal | null;
}

const frames = new AsyncLocalStorage<CallFrame>();

/** @returns the frame of the running code. null: it answers no call, such as a timer's */
export function currentFrame(): CallFrame | null {
  return frames.getStore() ?? null;
}

/** Calls `fn` within the frame. */
export function withinFrame<A extends unknown[], R>(frame: CallFrame, fn: (...args: A) => R, ...args: A): R {
  return frames.run(frame, fn, ...args);
}
