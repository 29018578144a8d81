/** Messages between the main thread and its watchdog (a Worker), and the memory that they share besides `MARKS`. */
import type { LogFormat } from "../../config/options";
import type { MarkedModule } from "../../module/graph/marks";

export interface WatchdogSettings {
  /** In milliseconds; more than 0. */
  readonly blockedMs: number;
  readonly format: LogFormat;
  /** null: stderr. */
  readonly file: string | null;
  /** The number of this process among several; 0: it is the only one. */
  readonly slot: number;
  /** The file that notes a block for `hrmr status`. null: none, since another process has the control socket. */
  readonly blockedFile: string | null;
}

export type ToWatchdog =
  | { readonly type: "init"; readonly beats: Int32Array; readonly marks: Int32Array }
  | { readonly type: "settings"; readonly settings: WatchdogSettings }
  /** null: it is gone. */
  | { readonly type: "module"; readonly number: number; readonly marked: MarkedModule | null };

/** The event loop runs again. */
export interface Unblocked {
  readonly culprit: Culprit;
  /** The time that the watchdog saw. In milliseconds. */
  readonly ms: number;
}

/** The code that blocks the event loop, as far as the watchdog can see. */
export interface Culprit {
  /** null: it is not known, or one of `candidates`. */
  readonly module: string | null;
  /** 0 without a module. */
  readonly generation: number;
  /** The running code: `"SLOW "`, `a timer`. */
  readonly what: string;
  /** "greet v3": the modules with open calls. Empty if `module` is known. */
  readonly candidates: readonly string[];
}

/** The interval of the main thread's beats, and of the watchdog's looks. In milliseconds. */
export function stepOf(blockedMs: number): number {
  return Math.min(200, Math.max(5, Math.floor(blockedMs / 5)));
}
