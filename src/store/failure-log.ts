/** Failures of the database in the log: each once, and not once a write. */
import { maskUrls } from "../config/quoted";
import type { Log } from "../module/contract";
import type { StoreError } from "../module/store/error";

/** A failure that goes on is told again after so long. In milliseconds. */
const AGAIN_MS = 60_000;

export class FailureLog {
  readonly #log: Pick<Log, "error" | "info">;
  readonly #now: () => number;
  /** null: the last write was durable. */
  #last: { readonly text: string; readonly at: number } | null = null;
  /** Failures like the last one, which were not told. */
  #untold = 0;

  /** @param now  in milliseconds */
  constructor(log: Pick<Log, "error" | "info">, now: () => number = () => performance.now()) {
    this.#log = log;
    this.#now = now;
  }

  failed({ code, message }: StoreError): void {
    const text = `store: ${code}: ${maskUrls(message)}`;
    const now = this.#now();
    if (this.#last?.text === text && now - this.#last.at < AGAIN_MS) {
      this.#untold++;
      return;
    }
    this.#log.error(`${text}${this.#more()}`);
    this.#last = { text, at: now };
  }

  /** A write is durable. */
  worked(): void {
    if (this.#last === null) return;
    this.#log.info(`store: it is written again${this.#more()}`);
    this.#last = null;
  }

  #more(): string {
    const untold = this.#untold;
    this.#untold = 0;
    return untold === 0 ? "" : ` (${untold} more like the last one)`;
  }
}
