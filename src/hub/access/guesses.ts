/**
 * Makes guessing tokens slow. A wrong token is answered late; after many from one network, its tokens are refused
 * unread for a while. The first wrong token is logged at once, further ones as a number.
 */
import type { ServerLog } from "../../observe/log/log";
import { networkOf } from "../../system/address";

/** Delay of the answer to a wrong token, the same for every mistake. In milliseconds. */
const DELAY_MS = 500;
/** Delayed answers of one network. Above it, its tokens are not compared: a quick answer would reveal a right one. */
const MAX_DELAYED = 32;
/** Pause between two lines of the log. In milliseconds. */
const LOG_PAUSE_MS = 10_000;

export class Guesses {
  readonly #what: string;
  readonly #log: Pick<ServerLog, "warn">;
  /** Delayed answers, by network. */
  readonly #delayed = new Map<string, number>();
  #untold = 0;
  #last = "";
  #timer: Timer | null = null;

  /** @param what begins the lines in the log: "control.listen: a request" */
  constructor(what: string, log: Pick<ServerLog, "warn">) {
    this.#what = what;
    this.#log = log;
  }

  /** Whether a token from this address may be compared. If not, it counts as wrong. */
  mayLook(address: string): boolean {
    if ((this.#delayed.get(networkOf(address)) ?? 0) < MAX_DELAYED) return true;
    this.#note(address);
    return false;
  }

  /** Notes a wrong token. Resolves when the answer may be sent. */
  async wrong(address: string): Promise<void> {
    this.#note(address);
    const network = networkOf(address);
    this.#delayed.set(network, (this.#delayed.get(network) ?? 0) + 1);
    await Bun.sleep(DELAY_MS);
    const left = (this.#delayed.get(network) ?? 1) - 1;
    if (left > 0) this.#delayed.set(network, left);
    else this.#delayed.delete(network);
  }

  /** Notes a wrong token whose answer is not delayed. */
  note(address: string): void {
    this.#note(address);
  }

  /** Logs the remaining number. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#tell();
  }

  #note(address: string): void {
    this.#untold++;
    this.#last = address;
    if (this.#timer === null) this.#tellAndPause();
  }

  #tellAndPause(): void {
    this.#timer = null;
    if (!this.#tell()) return;
    this.#timer = setTimeout(() => this.#tellAndPause(), LOG_PAUSE_MS);
    this.#timer.unref();
  }

  #tell(): boolean {
    const count = this.#untold;
    this.#untold = 0;
    if (count === 0) return false;
    this.#log.warn(
      `${this.#what} with a wrong token${count === 1 ? "" : `, ${count} times`}, the last from ${this.#last}`,
    );
    return true;
  }
}
