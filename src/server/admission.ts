/**
 * Who is let in: how many connections in all, of one address, and what the descriptor limit leaves for them.
 */
import { readFileSync } from "node:fs";
import { DEFAULT_LIMITS, type Limits } from "../config/options";
import { AddressRates } from "../protocol/rates";
import { isLoopback, networkOf } from "./address";
import type { Transport } from "./client";

/** Descriptors kept free for files, pipes and module code: at the limit accept() fails in a busy loop. */
const RESERVED_DESCRIPTORS = 100;

export class Admission {
  readonly #limits: Limits;
  readonly #descriptors: number;
  readonly #perAddress = new Map<string, number>();
  readonly #rates = new AddressRates();
  /** Connections refused since `takeRefused` was called last. */
  #refused = 0;
  open = 0;
  accepted = 0;
  refused = 0;

  /** @param limits read at each connection: a reload may change them in place */
  constructor(limits: Limits, descriptors = descriptorLimit() - RESERVED_DESCRIPTORS) {
    this.#limits = limits;
    this.#descriptors = descriptors;
  }

  /** What the descriptor limit leaves of `limits.maxConnections`. */
  get maxConnections(): number {
    return Math.min(this.#limits.maxConnections, Math.max(this.#descriptors, 10));
  }

  /** For the person who started the server; null: the descriptor limit is in nobody's way. */
  get note(): string | null {
    const { maxConnections } = this.#limits;
    if (maxConnections <= this.#descriptors) return null;
    return `At most ${this.maxConnections} connections, not ${maxConnections}: the limit of open files allows no more (raise it: ulimit -n, or LimitNOFILE of systemd).`;
  }

  /**
   * Counts a connection in, or refuses it.
   *
   * @param remoteAddress as Bun tells it
   * @param extraDescriptors those in use beside one a connection
   * @returns the network it is counted under ("": none), for `leave`; null when it is one too many
   */
  enter(remoteAddress: string, transport: Transport, extraDescriptors: number): string | null {
    const limit = this.#addressLimit(remoteAddress, transport);
    const address = limit > 0 ? networkOf(remoteAddress) : "";
    const fromThere = this.#perAddress.get(address) ?? 0;
    const isFull = this.open >= this.maxConnections || !this.maySpare(1, extraDescriptors) || (limit > 0 && fromThere >= limit);
    if (isFull || this.#isTooFast(remoteAddress, transport)) {
      this.#refused++;
      this.refused++;
      return null;
    }
    this.open++;
    this.accepted++;
    if (limit > 0) this.#perAddress.set(address, fromThere + 1);
    return address;
  }

  /** A connection is gone. @param address what `enter` returned */
  leave(address: string): void {
    this.open--;
    if (address === "") return;
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#perAddress.set(address, left);
    else this.#perAddress.delete(address);
  }

  /** Whether `count` descriptors more can be had without running into the limit. */
  maySpare(count: number, extraDescriptors: number): boolean {
    return this.open + extraDescriptors + count <= Math.max(this.#descriptors, this.maxConnections);
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

/** Bun raises the soft limit to the hard one by itself, so the hard one counts. */
export function descriptorLimit(): number {
  try {
    const line = /^Max open files\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return line === undefined || line === "unlimited" ? Infinity : Number(line);
  } catch {
    // No /proc outside Linux: the smallest common default there is 256.
    return 256 + RESERVED_DESCRIPTORS;
  }
}
