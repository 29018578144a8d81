/**
 * Where the code of a thread runs, as the main thread sees it: a Worker of this process, or a process of its own. Both
 * get the same messages and share memory of the same layout.
 */
import { spawnWorker } from "../inside/spawn";
import type { CallBatch, ReplyBatch, SharedMemory, ToMain, ToWorker } from "./messages";
import { createShared } from "./saved-replies";

export interface Place {
  readonly shared: SharedMemory;
  post(data: CallBatch | ToWorker): void;
  /** Calls `fn` when what is posted is read: at once, if it is. */
  whenReady(fn: () => void): void;
  /**
   * Ends it, whatever it does. Resolves when it is gone: a Worker in the middle of native code may take long.
   * Idempotent.
   */
  end(): Promise<void>;
  /** What runs there, for status. null: nothing of its own to tell. */
  facts(): PlaceFacts | null;
}

export interface PlaceFacts {
  readonly pid: number;
  /** As last seen; 0 where that cannot be told. */
  readonly memoryBytes: number;
}

/** Events of a place. They never come from within the call that opens it. */
export interface PlaceEvents {
  received(data: ReplyBatch | ToMain): void;
  /** It ended by itself, or had to be ended by the place: "it was ended by SIGSEGV". At most once. */
  ended(reason: string): void;
}

/**
 * @param index         the thread's number, from 1
 * @param loadTimeoutMs for each step of a module's load. In milliseconds. 0 waits for ever.
 */
export type OpenPlace = (index: number, loadTimeoutMs: number, events: PlaceEvents) => Place;

/** A Worker of this process. */
export const openWorker: OpenPlace = (index, loadTimeoutMs, events) => {
  const worker = spawnWorker();
  const shared = createShared();
  const closed = Promise.withResolvers<void>();
  let lastError = "";
  worker.onmessage = ({ data }: { data: ReplyBatch | ToMain }) => events.received(data);
  worker.onerror = (event) => (lastError = event.message.split("\n", 1)[0] ?? "");
  worker.addEventListener("close", (event) => {
    closed.resolve();
    events.ended(describeExit(event, lastError));
  });
  worker.postMessage({ type: "init", shared, host: index, loadTimeoutMs } satisfies ToWorker);
  return {
    shared,
    post: (data) => worker.postMessage(data),
    whenReady: (fn) => fn(),
    end: () => {
      worker.terminate();
      worker.unref();
      return closed.promise;
    },
    facts: () => null,
  };
};

function describeExit(event: Event, lastError: string): string {
  const code = "code" in event ? String(event.code) : "unknown";
  return lastError === "" ? `it exited with code ${code}` : lastError;
}
