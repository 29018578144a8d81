/**
 * The background process: of all processes of a server, the one that does the work that must be done once. It runs
 * `start` of its modules, and other work that nobody asks for. A server of one process is always its own.
 */
import type { StopReason } from "./contract";

/** The role, as the parts of a process see it. */
export interface Background {
  /** Whether this process is the background process. */
  readonly isHere: boolean;
  /**
   * Calls `listener` at each change: this process becomes the background process, or stops to be it. Another process
   * takes over when all listeners have settled; one that rejects counts as settled.
   *
   * @param listener  gets null when this process takes the role, and the reason when it gives it up
   */
  watch(listener: BackgroundListener): void;
}

type BackgroundListener = (left: StopReason | null) => void | Promise<void>;

/** The role of one process. The master decides who has it. */
export class BackgroundRole implements Background {
  isHere = false;
  readonly #listeners: BackgroundListener[] = [];
  #hasLeft = false;

  watch(listener: BackgroundListener): void {
    this.#listeners.push(listener);
  }

  /** This process is the background process from now on. Does nothing after `release`. */
  take(): void {
    if (this.isHere || this.#hasLeft) return;
    this.isHere = true;
    for (const listener of this.#listeners) void listener(null);
  }

  /** Gives the role up for good. Resolves when another process may take it. Never rejects. */
  async release(reason: StopReason): Promise<void> {
    this.#hasLeft = true;
    if (!this.isHere) return;
    this.isHere = false;
    await Promise.allSettled(this.#listeners.map(async (listener) => await listener(reason)));
  }
}
