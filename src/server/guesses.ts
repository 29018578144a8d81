/**
 * Wrong tokens: each is answered late, and whoever sends many of them is not looked at for a while, so that guessing costs the
 * guesser. The log has the first at once, and those that follow as a number.
 */
import type { ServerLog } from "../observe/log";
import { networkOf } from "./address";

/** A wrong token is answered so much later, whatever was wrong with it. In milliseconds. */
const DELAY_MS = 500;
/** Of one network that wait for that answer. Above it none of it is looked at, right or wrong: a quick answer would tell which. */
const MAX_DELAYED = 32;
/** Of the log's lines. In milliseconds. */
const LOG_PAUSE_MS = 10_000;

export class Guesses {
  readonly #what: string;
  readonly #log: Pick<ServerLog, "warn">;
  /** By network. */
  readonly #delayed = new Map<string, number>();
  #untold = 0;
  #last = "";
  #timer: Timer | null = null;

  /** @param what begins the lines in the log: "control.listen: a request" */
  constructor(what: string, log: Pick<ServerLog, "warn">) {
    this.#what = what;
    this.#log = log;
  }

  /** Whether a token from there is to be compared at all. One that is not counts as wrong. */
  mayLook(address: string): boolean {
    if ((this.#delayed.get(networkOf(address)) ?? 0) < MAX_DELAYED) return true;
    this.#note(address);
    return false;
  }

  /** A token was wrong. Resolves when its sender may be told so. */
  async wrong(address: string): Promise<void> {
    this.#note(address);
    const network = networkOf(address);
    this.#delayed.set(network, (this.#delayed.get(network) ?? 0) + 1);
    await Bun.sleep(DELAY_MS);
    const left = (this.#delayed.get(network) ?? 1) - 1;
    if (left > 0) this.#delayed.set(network, left);
    else this.#delayed.delete(network);
  }

  /** Tells what is not told yet. */
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
    this.#log.warn(`${this.#what} with a wrong token${count === 1 ? "" : `, ${count} times`}, the last from ${this.#last}`);
    return true;
  }
}
