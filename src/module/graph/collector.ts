/**
 * Frees the memory of disposed versions. Only a full collection finds an old graph; without one, memory grows four- to
 * sevenfold. A full collection stops the loop for some 10 ms, so it waits for a pause between reloads. During a long
 * burst of reloads it runs from time to time.
 */
import { asHost } from "../../system/leave-graph";
import type { LeakSnapshot } from "../../observe/snapshot";
import { type DisposedVersion, type LeakHolders, LeakWatch } from "./leaks";

const QUIET_MS = 300;
const DISPOSALS_PER_GC = 250;
/** The pause before the second collection. A version that survives both is held by a reference. */
const SECOND_LOOK_MS = 1000;

interface CollectorOptions {
  /** Called once for each disposed version that stays in memory. */
  leaked(leak: LeakSnapshot): void;
  /** Parts of the host that may hold an object of a load. */
  readonly holders: LeakHolders;
  /** The time without a disposal before a collection. In milliseconds. Default 300. */
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
    // Short, concurrent collections limit the memory of a burst.
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
    // Reading a weak reference keeps its object alive until the end of the turn. Read it only in a later turn.
    setImmediate(() => this.#look());
  }

  #look(): void {
    if (this.#isClosed) return;
    const { leaked, isOpen } = this.#leaks.collected();
    for (const leak of leaked) this.#options.leaked(leak);
    if (isOpen && this.#timer === null) this.#collectIn(SECOND_LOOK_MS);
  }
}
