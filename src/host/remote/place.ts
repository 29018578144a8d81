/**
 * The server's view of a place where handlers run: a thread (a Worker of this process), or a process. Both get the same
 * messages and share memory of the same layout.
 */
import type { CallBatch, ReplyBatch, SharedMemory, FromPlace, ToPlace } from "./messages";

export interface Place {
  readonly shared: SharedMemory;
  post(data: CallBatch | ToPlace): void;
  /** Calls `fn` as soon as posted messages are read; at once if they are already. */
  whenReady(fn: () => void): void;
  /** Ends it in any state. Resolves when it is gone: a Worker in native code may take long. Idempotent. */
  end(): Promise<void>;
  /** Facts for status. null: none. */
  facts(): PlaceFacts | null;
}

export interface PlaceFacts {
  readonly pid: number;
  /** At the last look; 0 if not known. */
  readonly memoryBytes: number;
}

export type PlaceState = "idle" | "running" | "blocked" | "restarting" | "stopped" | "closed";

/** For status: a place, even one that has not started. */
export interface PlaceStatus {
  /** From 1: `context.host` of the modules in a thread. */
  readonly index: number;
  readonly state: PlaceState;
  /** Calls sent to it and streams open on it. */
  readonly inFlight: number;
  /** Calls sent to it since the start. */
  readonly calls: number;
  readonly restarts: number;
  /** Of a process that runs. */
  readonly facts: PlaceFacts | null;
}

/** Events of a place. They never come from within the call that opens it. */
export interface PlaceOwner {
  received(data: ReplyBatch | FromPlace): void;
  /** It ended by itself, or its owner had to end it: "it was ended by SIGSEGV". At most once. */
  ended(reason: string): void;
}

/**
 * @param index         the place's number, from 1
 * @param loadTimeoutMs for each step of a module's load. In milliseconds. 0 waits for ever.
 */
export type OpenPlace = (index: number, loadTimeoutMs: number, owner: PlaceOwner) => Place;
