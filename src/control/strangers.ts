/**
 * Connections to the control port that have not sent the token yet. Their number and time are limited, so that a flood
 * of them cannot take the server's descriptors. Pure: the caller passes the time.
 */
import { isLoopback, networkOf } from "../system/address";

/** The most connections of all networks. Fewer if the limit of descriptors is lower than eight times this. */
const MAX_STRANGERS = 64;
/**
 * The most connections of one network. Programs of this machine share an address, so this limit does not hold for them.
 */
const MAX_STRANGERS_OF_NETWORK = 16;
/** The part of the limit of descriptors that they may take. */
const SHARE = 1 / 8;
/** One turn of the event loop may accept this many times more, since only the next turn reads their tokens. */
const ARRIVALS = 4;
/** How long a connection may be open without the token, its TLS handshake included. In milliseconds. */
export const STRANGER_MS = 10_000;
/** The pause between two lines of the log. In milliseconds. */
const LOG_PAUSE_MS = 10_000;

interface Stranger {
  /** null: this machine. */
  readonly network: string | null;
  readonly since: number;
  cut(): void;
}

export class Strangers {
  /** By the connection's number, oldest first. */
  readonly #all = new Map<number, Stranger>();
  readonly #most: number;
  #untold = 0;
  #last = "";
  #toldAt = -LOG_PAUSE_MS;

  /** @param maxDescriptors  the limit of open descriptors */
  constructor(maxDescriptors: number) {
    this.#most = Math.max(1, Math.min(MAX_STRANGERS, Math.floor(maxDescriptors * SHARE)));
  }

  /** Whether a new connection must be refused at once. Counts the refusal. */
  isFull(address: string): boolean {
    if (this.#all.size < ARRIVALS * this.#most) return false;
    this.#note(address);
    return true;
  }

  /** @param cut closes the connection at once, which calls `leave` */
  enter(number: number, address: string, now: number, cut: () => void): void {
    const network = isLoopback(address) ? null : networkOf(address);
    this.#all.set(number, { network, since: now, cut: () => (this.#note(address), cut()) });
  }

  /** The connection has sent the token, or is closed. */
  leave(number: number): void {
    this.#all.delete(number);
  }

  /**
   * Closes the oldest connections above the limits. A client with the token sends it at once, so its connection is
   * rarely among them.
   */
  trim(): void {
    const kept = new Map<string | null, number>();
    let count = 0;
    for (const stranger of [...this.#all.values()].reverse()) {
      const fromThere = kept.get(stranger.network) ?? 0;
      if (count >= this.#most || (stranger.network !== null && fromThere >= MAX_STRANGERS_OF_NETWORK)) stranger.cut();
      else {
        kept.set(stranger.network, fromThere + 1);
        count++;
      }
    }
  }

  /** Closes the connections that took too long. */
  expire(now: number): void {
    for (const { since, cut } of this.#all.values()) {
      if (now - since < STRANGER_MS) return;
      cut();
    }
  }

  /**
   * @returns a line for the log with the number of closed and refused connections; null: there were none, or the pause
   * is not over
   */
  told(now: number): string | null {
    if (this.#untold === 0 || now - this.#toldAt < LOG_PAUSE_MS) return null;
    const count = this.#untold;
    this.#untold = 0;
    this.#toldAt = now;
    const were = count === 1 ? "a connection without the token was" : `${count} connections without the token were`;
    const limits = `${this.#most} may wait, ${MAX_STRANGERS_OF_NETWORK} of one network, for ${STRANGER_MS / 1000} s`;
    return `control.listen: ${were} closed, the last from ${this.#last}: ${limits}`;
  }

  #note(address: string): void {
    this.#untold++;
    this.#last = address;
  }
}
