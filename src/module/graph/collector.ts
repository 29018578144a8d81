/**
 * Frees what disposed versions held. An old graph is garbage that only a full collection finds; without one memory
 * grows four- to sevenfold. A full one stops the loop for some 10 ms, so it waits until the reloads pause; within a
 * long burst of them it comes now and then.
 */
import { asHost } from "./leave-graph";
import type { LeakSnapshot } from "../../observe/snapshot";
import { type DisposedVersion, type LeakHolders, LeakWatch } from "./leaks";

const QUIET_MS = 300;
const DISPOSALS_PER_GC = 250;
/** Before the collection that decides whether what survived the last one is kept by something. */
const SECOND_LOOK_MS = 1000;

interface CollectorOptions {
  /** A version that was disposed stays in memory. Once for each. */
  leaked(leak: LeakSnapshot): void;
  /** Parts of the host that may hold an object of a load. */
  readonly holders: LeakHolders;
  /** Without a disposal, before a collection. In milliseconds. Default 300. */
  readonly quietMs?: number;
}

export class Collector {
  readonly #options: CollectorOptions;
  readonly #leaks: LeakWatch;
  #timer: Timer | null = null;
  #uncollected = 0;
  #isClosed = false;

  constructor(options: CollectorOptions) {
    this.#options = options;
    this.#leaks = new LeakWatch(options.holders);
  }

  disposed(version: DisposedVersion): void {
    if (this.#isClosed) return;
    this.#leaks.watch(version);
    const { quietMs = QUIET_MS } = this.#options;
    this.#collectIn(++this.#uncollected >= DISPOSALS_PER_GC ? 0 : quietMs);
    // The short, concurrent kind keeps a burst from piling up.
    asHost(() => setTimeout(() => Bun.gc(false), 0));
  }

  /** Versions that were disposed and are known to stay, oldest first. */
  leaks(): LeakSnapshot[] {
    return this.#leaks.snapshot();
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #collectIn(ms: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = asHost(() => setTimeout(() => this.#collect(), ms));
  }

  #collect(): void {
    this.#timer = null;
    this.#uncollected = 0;
    Bun.gc(true);
    // Whoever looks at a weak reference keeps what it refers to until the end of the turn: so not in this one, and not
    // before.
    setImmediate(() => this.#look());
  }

  #look(): void {
    if (this.#isClosed) return;
    const { leaked, isOpen } = this.#leaks.collected();
    for (const leak of leaked) this.#options.leaked(leak);
    if (isOpen && this.#timer === null) this.#collectIn(SECOND_LOOK_MS);
  }
}
