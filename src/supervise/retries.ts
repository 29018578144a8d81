/**
 * Tries modules that failed at a start again, until they serve: their database may start after the server. A reload
 * tries them at once.
 */
import type { Log } from "../module/contract";
import { RETRY_DELAYS_MS as DELAYS_MS, retryDelayMs } from "../system/backoff";

/** Tries due within this time share one reload. */
const TOGETHER_MS = 200;

interface Waiting {
  /** Tries so far, without the start. */
  tries: number;
  nextTryAtMs: number;
  /** The last reason that was logged. */
  told: string | null;
}

interface RetriesOwner {
  /** Reloads these modules, in all processes. Never rejects. */
  tryAgain(names: readonly string[]): Promise<void>;
  /** Modules that at least one process has no serving version of, with the reason. */
  failing(): Promise<ReadonlyMap<string, string>>;
  readonly log: Log;
}

export class Retries {
  readonly #owner: RetriesOwner;
  readonly #waiting = new Map<string, Waiting>();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #isClosed = false;

  constructor(owner: RetriesOwner) {
    this.#owner = owner;
  }

  /** Adds modules that could not be started, here or in a process that replaced a lost one. */
  add(names: readonly string[]): void {
    const added = names.filter((name) => !this.#waiting.has(name));
    for (const name of added) this.#waiting.set(name, { tries: 0, nextTryAtMs: Date.now() + DELAYS_MS[0], told: null });
    if (added.length > 0)
      this.#owner.log.info(`tried again in ${DELAYS_MS[0] / 1000} s, then later each time: ${added.join(", ")}`);
    this.#arm();
  }

  /** Call it after every reload: it drops modules that serve by now. Never rejects. */
  async reloaded(): Promise<void> {
    if (this.#waiting.size === 0) return;
    const failing = await this.#owner.failing();
    for (const [name, waiting] of this.#waiting) {
      const reason = failing.get(name);
      if (reason === undefined) this.#waiting.delete(name);
      else this.#wait(name, waiting, reason);
    }
    this.#arm();
  }

  /** The time of the next try, by module. ISO 8601. */
  nextTries(): Record<string, string> {
    return Object.fromEntries(
      [...this.#waiting].map(([name, { nextTryAtMs }]) => [name, new Date(nextTryAtMs).toISOString()]),
    );
  }

  close(): void {
    this.#isClosed = true;
    this.#waiting.clear();
    this.#arm();
  }

  #wait(name: string, waiting: Waiting, reason: string): void {
    waiting.tries++;
    const delayMs = retryDelayMs(waiting.tries);
    waiting.nextTryAtMs = Date.now() + delayMs;
    // After the first tries, an unchanged reason is not logged again: a module may fail for days.
    if (waiting.tries >= DELAYS_MS.length && reason === waiting.told) return;
    waiting.told = reason;
    this.#owner.log.warn(
      `Module "${name}" was tried again and failed, the next try is in ${delayMs / 1000} s: ${reason}`,
    );
  }

  #arm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#isClosed || this.#waiting.size === 0) return;
    const first = Math.min(...[...this.#waiting.values()].map(({ nextTryAtMs }) => nextTryAtMs));
    this.#timer = setTimeout(() => void this.#tryDue(), Math.max(0, first - Date.now()));
  }

  async #tryDue(): Promise<void> {
    const until = Date.now() + TOGETHER_MS;
    const due = [...this.#waiting].filter(([, { nextTryAtMs }]) => nextTryAtMs <= until).map(([name]) => name);
    // Set the next time before the try: if the try does not take place, it must not repeat at once.
    for (const name of due) this.#postpone(name);
    if (due.length > 0) await this.#owner.tryAgain(due);
    this.#arm();
  }

  #postpone(name: string): void {
    const waiting = this.#waiting.get(name);
    if (waiting !== undefined) waiting.nextTryAtMs = Date.now() + retryDelayMs(waiting.tries);
  }
}
