/**
 * Watches the event loop of this process: names inline code that blocks it in the log, during the block, and counts it.
 * Nothing can stop such code.
 */
import { asHost } from "../../system/leave-graph";
import { MARKS, watchMarks } from "../../module/graph/marks";
import type { ServerLog } from "../../observe/log/log";
import type { BlockedSnapshot } from "../../observe/snapshot";
import { fieldsOf, unblockedText } from "./look";
import { stepOf, type ToWatchdog, type Unblocked, type WatchdogSettings } from "./messages";

interface WatchdogOptions {
  /** Called by `configure`. `blockedMs` of 0: nothing is watched. */
  settings(): WatchdogSettings;
  readonly log: ServerLog;
}

/** The parts of an active watch. */
interface Watch {
  readonly worker: Worker;
  heart: Timer;
  readonly stopMarks: () => void;
}

export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #beats = new Int32Array(new SharedArrayBuffer(4));
  readonly #blocked = new Map<string | null, BlockedSnapshot>();
  #watch: Watch | null = null;
  #stepMs = 0;
  #lastBeatAt = 0;
  /** The longest time between two beats since the last block was counted. In milliseconds. */
  #longestGapMs = 0;

  constructor(options: WatchdogOptions) {
    this.#options = options;
  }

  /** Starts, changes or ends the watch by the present settings. */
  configure(): void {
    const settings = this.#options.settings();
    if (settings.blockedMs === 0) return this.close();
    this.#stepMs = stepOf(settings.blockedMs);
    if (this.#watch === null) this.#watch = asHost(() => this.#open());
    else {
      clearInterval(this.#watch.heart);
      this.#watch.heart = this.#beatEvery(this.#stepMs);
    }
    post(this.#watch.worker, { type: "settings", settings });
  }

  /** By module: how often and how long it has blocked the event loop. */
  snapshot(): BlockedSnapshot[] {
    return [...this.#blocked.values()];
  }

  close(): void {
    if (this.#watch === null) return;
    const { worker, heart, stopMarks } = this.#watch;
    this.#watch = null;
    clearInterval(heart);
    stopMarks();
    worker.terminate();
  }

  #open(): Watch {
    // A separate entry of the compiled binary: build.ts names it.
    const worker = new Worker(new URL("./watchdog-worker.ts", import.meta.url).href, { smol: true });
    worker.unref();
    worker.onmessage = ({ data }: { data: Unblocked }) => this.#count(data);
    worker.onerror = (event) => this.#options.log.warn(`the event loop is not watched any more: ${event.message}`);
    post(worker, { type: "init", beats: this.#beats, marks: MARKS });
    const stopMarks = watchMarks((number, marked) => post(worker, { type: "module", number, marked }));
    return { worker, heart: this.#beatEvery(this.#stepMs), stopMarks };
  }

  #beatEvery(stepMs: number): Timer {
    this.#lastBeatAt = performance.now();
    return asHost(() => setInterval(() => this.#beat(), stepMs).unref());
  }

  #beat(): void {
    const now = performance.now();
    this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#lastBeatAt);
    this.#lastBeatAt = now;
    Atomics.add(this.#beats, 0, 1);
  }

  /** The block began between two beats: on average half a step after the last one. The watchdog has seen less of it. */
  #count({ culprit, ms }: Unblocked): void {
    const seenMs = Math.max(ms, Math.min(this.#longestGapMs - this.#stepMs / 2, ms + 3 * this.#stepMs));
    this.#longestGapMs = 0;
    const { module } = culprit;
    const before = this.#blocked.get(module) ?? { module, count: 0, longestMs: 0, totalMs: 0 };
    this.#blocked.set(module, {
      module,
      count: before.count + 1,
      longestMs: Math.max(before.longestMs, Math.round(seenMs)),
      totalMs: before.totalMs + Math.round(seenMs),
    });
    this.#options.log.withFields(fieldsOf(culprit)).warn(unblockedText(culprit, seenMs));
  }
}

function post(worker: Worker, message: ToWatchdog): void {
  worker.postMessage(message);
}
