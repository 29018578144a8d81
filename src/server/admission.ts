/**
 * Who is let in: how many connections in all, of one address, and what the descriptor limit leaves for them.
 */
import { DEFAULT_LIMITS, type Limits } from "../config/options";
import { AddressRates } from "../protocol/rates";
import { Descriptors } from "./descriptors";
import { isLoopback, networkOf } from "./address";
import type { Transport } from "./client";

/** What the server itself and its modules have open, roughly, and what is kept free: for what `limits.maxConnections` may be at most. */
const OTHER_DESCRIPTORS = 100;
/** Kept free of connections, for files, pipes and module code: at the limit accept() fails in a busy loop. */
const KEPT_FROM_CONNECTIONS = 64;
/** Kept free of files that are being sent too, for the control socket, reloads and logs. */
const KEPT_FROM_FILES = 40;

export class Admission {
  readonly #limits: Limits;
  readonly descriptors: Descriptors;
  readonly #perAddress = new Map<string, number>();
  readonly #rates = new AddressRates();
  /** Connections refused since `takeRefused` was called last. */
  #refused = 0;
  open = 0;
  accepted = 0;
  refused = 0;

  /** @param limits read at each connection: a reload may change them in place */
  constructor(limits: Limits, descriptors = new Descriptors()) {
    this.#limits = limits;
    this.descriptors = descriptors;
  }

  /** What the descriptor limit leaves of `limits.maxConnections`. */
  get maxConnections(): number {
    return Math.min(this.#limits.maxConnections, Math.max(this.#most, 10));
  }

  /** For the person who started the server; null: the descriptor limit is in nobody's way. */
  get note(): string | null {
    const { maxConnections } = this.#limits;
    if (maxConnections <= this.#most) return null;
    return `At most ${this.maxConnections} connections, not ${maxConnections}: the limit of open files allows no more (raise it: ulimit -n, or LimitNOFILE of systemd).`;
  }

  /**
   * Counts a connection in, or refuses it.
   *
   * @param remoteAddress as Bun tells it
   * @returns the network it is counted under ("": none), for `leave`; null when it is one too many
   */
  enter(remoteAddress: string, transport: Transport): string | null {
    const limit = this.#addressLimit(remoteAddress, transport);
    const address = limit > 0 ? networkOf(remoteAddress) : "";
    const fromThere = this.#perAddress.get(address) ?? 0;
    const isFull = this.open >= this.maxConnections || !this.maySpare(1) || (limit > 0 && fromThere >= limit);
    if (isFull || this.#isTooFast(remoteAddress, transport)) {
      this.#refused++;
      this.refused++;
      return null;
    }
    this.open++;
    this.accepted++;
    this.descriptors.took(1);
    if (limit > 0) this.#perAddress.set(address, fromThere + 1);
    return address;
  }

  /** A connection is gone. @param address what `enter` returned */
  leave(address: string): void {
    this.open--;
    this.descriptors.gave(1);
    if (address === "") return;
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#perAddress.set(address, left);
    else this.#perAddress.delete(address);
  }

  /** Whether `count` descriptors more can be had for connections without running into the limit. */
  maySpare(count: number): boolean {
    // Where the limit is so low that nothing could be kept free, ten connections are let in all the same.
    return this.#most < 10 ? this.open < 10 : this.descriptors.maySpare(count, KEPT_FROM_CONNECTIONS);
  }

  /** What a connection needs besides its own. @returns false: there are not so many */
  takeSplice(count: number): boolean {
    const isRoom = this.maySpare(count);
    if (isRoom) this.descriptors.tookForNow(count);
    return isRoom;
  }

  /** As `FileBudget` has it. */
  takeFile(): boolean {
    if (!this.descriptors.maySpare(1, KEPT_FROM_FILES)) return false;
    this.descriptors.took(1);
    return true;
  }

  giveFile(): void {
    this.descriptors.gavePerhaps(1);
  }

  /** More connections than these cannot be, whatever else is open. */
  get #most(): number {
    return this.descriptors.limit - OTHER_DESCRIPTORS;
  }

  /** @returns how many were refused since it was asked last */
  takeRefused(): number {
    const refused = this.#refused;
    this.#refused = 0;
    return refused;
  }

  /** What was refused for another reason is not counted. */
  #isTooFast(remoteAddress: string, transport: Transport): boolean {
    const limit = this.#limits.maxNewConnectionsPerSecond;
    if (limit === 0 || transport !== "tcp" || isLoopback(remoteAddress)) return false;
    return !this.#rates.take(networkOf(remoteAddress), limit, performance.now());
  }

  /** Programs of this machine share one address: unless a number was configured, they are not counted by it. */
  #addressLimit(remoteAddress: string, transport: Transport): number {
    const limit = this.#limits.maxConnectionsPerAddress;
    if (transport !== "tcp" || limit === 0) return 0;
    return limit === DEFAULT_LIMITS.maxConnectionsPerAddress && isLoopback(remoteAddress) ? 0 : limit;
  }
}
