/**
 * Decides which connections are accepted, by limits in all, for one address, and for descriptors.
 */
import { DEFAULT_LIMITS, type Limits } from "../../config/options";
import { AddressRates } from "../../protocol/rates";
import { Descriptors } from "../../system/descriptors";
import { isLoopback, networkOf } from "../../system/address";
import type { Transport } from "./client";

/**
 * Descriptors for other uses, roughly: open ones of the server and its modules, and free ones. Bounds
 * `limits.maxConnections`.
 */
const OTHER_DESCRIPTORS = 100;
/**
 * Descriptors that connections must leave for files, pipes and module code: at the limit, accept() fails in a busy
 * loop.
 */
const KEPT_FROM_CONNECTIONS = 64;
/** Descriptors that files being sent must leave for the control socket, reloads and logs. */
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

  /** `limits.maxConnections`, lowered to the descriptor limit. */
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

  /** Whether connections may take `count` more descriptors. */
  maySpare(count: number): boolean {
    // With a very low limit nothing can be kept free. Ten connections are accepted even so.
    return this.#most < 10 ? this.open < 10 : this.descriptors.maySpare(count, KEPT_FROM_CONNECTIONS);
  }

  /** See `FileBudget`. */
  takeFile(): boolean {
    if (!this.descriptors.maySpare(1, KEPT_FROM_FILES)) return false;
    this.descriptors.took(1);
    return true;
  }

  giveFile(): void {
    this.descriptors.gavePerhaps(1);
  }

  /** The most connections that the limit of descriptors allows. */
  get #most(): number {
    return this.descriptors.limit - OTHER_DESCRIPTORS;
  }

  /** @returns how many were refused since it was asked last */
  takeRefused(): number {
    const refused = this.#refused;
    this.#refused = 0;
    return refused;
  }

  /** A connection that is refused for another reason is not counted. */
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
