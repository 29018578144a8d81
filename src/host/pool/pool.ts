/**
 * `run: "pool"`: handlers on separate threads. An endless loop costs its own caller an error within its time. Other
 * callers lose nothing, unless their handlers had begun on the same thread and wait there: those cannot be repeated
 * safely.
 */
import type { Log } from "../../module/contract";
import type { LoadSpec } from "../../module/version";
import { spawnWorker } from "../inside/spawn";
import type { ReplyBatch, FromPlace, ToPlace } from "../remote/messages";
import type { OpenPlace } from "../remote/place";
import type { HostPolicy } from "../remote/policy";
import { RemoteHost, type RemoteSettings } from "../remote/remote-host";
import { createShared } from "../remote/saved-replies";

interface PoolThreads {
  /** The number of threads. At least 1. */
  readonly threads: number;
  /**
   * A thread died or was killed; its replacement is on its way.
   *
   * @param culprit the version whose code ended it, if known; null: not known
   */
  onThreadLost(reason: string, thread: number, culprit: LoadSpec | null): void;
}

/** @param settings read at each call: `maxQueued` may change */
export function openPool(settings: RemoteSettings, threads: PoolThreads): RemoteHost {
  return new RemoteHost(threadPolicy(threads, settings.log), settings);
}

/** Modules share the threads: the crash of one module must not take them from the others. */
function threadPolicy({ threads, onThreadLost }: PoolThreads, log: Log): HostPolicy {
  return {
    count: Math.max(1, threads),
    open: openThread,
    isTrusted: true,
    texts: {
      name: "The pool",
      cure: "raise limits.maxQueued or threads",
      gone: "is on no pool thread any more",
      closed: "The pool is closed: the server shuts down.",
    },
    nameOf: (index) => `Pool thread ${index}`,
    lost: (reason, index, suspect) => {
      onThreadLost(reason, index, suspect);
      return suspect;
    },
    startsAnew: () => true,
    tryAgain: () => true,
    restored: () => {},
    notRestored: (spec, error, { index }) => notRestored(log, spec, error, index),
  };
}

function notRestored(log: Log, { name, generation }: LoadSpec, error: Error, index: number): void {
  log.error(
    `Module "${name}" v${generation} could not be put back into pool thread ${index}, and runs on the others: ${error.message}`,
  );
}

/** A Worker of this process. */
const openThread: OpenPlace = (index, loadTimeoutMs, owner) => {
  const worker = spawnWorker();
  const shared = createShared();
  const closed = Promise.withResolvers<void>();
  let lastError = "";
  worker.onmessage = ({ data }: { data: ReplyBatch | FromPlace }) => owner.received(data);
  worker.onerror = (event) => (lastError = event.message.split("\n", 1)[0] ?? "");
  worker.addEventListener("close", (event) => {
    closed.resolve();
    owner.ended(describeExit(event, lastError));
  });
  worker.postMessage({ type: "init", shared, host: index, loadTimeoutMs } satisfies ToPlace);
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
