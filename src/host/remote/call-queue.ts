/** Calls that no place has taken yet, and the choice of the place that gets them. */
import { asHost } from "../../system/leave-graph";
import type { RemoteCall } from "./call";
import type { CallSource, Keeper } from "./keeper";

/** The amount of work in a batch: cheap handlers share a message, expensive ones spread over the places. */
const BATCH_US = 200;
const MAX_BATCH = 32;

export class CallQueue implements CallSource {
  readonly #keepers: readonly Keeper[];
  readonly #mayBeServed: (call: RemoteCall) => boolean;
  #calls: RemoteCall[] = [];
  #averageUs = BATCH_US;
  #isFlushScheduled = false;
  #last: Keeper | null = null;

  /**
   * @param keepers      of the places that take the calls
   * @param mayBeServed whether a place will take the call later. If none can, it has failed the call
   */
  constructor(keepers: readonly Keeper[], mayBeServed: (call: RemoteCall) => boolean) {
    this.#keepers = keepers;
    this.#mayBeServed = mayBeServed;
  }

  get size(): number {
    return this.#calls.length;
  }

  add(call: RemoteCall): void {
    this.#calls.push(call);
    this.#scheduleFlush();
  }

  takeBack(calls: RemoteCall[]): void {
    this.#calls = [...calls, ...this.#calls];
    this.#scheduleFlush();
  }

  noteRoom(): void {
    if (this.#calls.length > 0) this.#scheduleFlush();
  }

  noteCost(us: number, calls: number): void {
    if (calls > 0) this.#averageUs = this.#averageUs * 0.8 + (us / calls) * 0.2;
  }

  /** Removes the calls for which `isMeant` is true. */
  remove(isMeant: (call: RemoteCall) => boolean): RemoteCall[] {
    const removed = this.#calls.filter(isMeant);
    if (removed.length > 0) this.#calls = this.#calls.filter((call) => !isMeant(call));
    return removed;
  }

  /** Removes calls that have waited too long. The handlers' time of the others has not begun. */
  expire(now: number, killGraceMs: number): RemoteCall[] {
    for (const call of this.#calls) call.beganAt = now;
    return this.remove(({ timeoutMs, askedAt }) => timeoutMs > 0 && now - askedAt > 2 * (timeoutMs + killGraceMs));
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    // After all sockets that this turn of the loop reads, so that their calls share messages.
    asHost(() => setImmediate(this.#flush));
  }

  readonly #flush = (): void => {
    this.#isFlushScheduled = false;
    const calls = this.#calls;
    const batchSize = Math.max(1, Math.min(MAX_BATCH, Math.floor(BATCH_US / this.#averageUs)));
    this.#calls = [];
    let keeper: Keeper | null = null;
    /** How many more calls of the module `loadId` the keeper takes in this batch. */
    let left = 0;
    let loadId = -1;
    let full = -1;
    for (let at = 0; at < calls.length; at++) {
      const call = calls[at] as RemoteCall;
      if (call.owner === null) continue;
      if (call.loadId === full) {
        this.#calls.push(call);
        continue;
      }
      if (left === 0 || call.loadId !== loadId) {
        if (keeper === null || left === 0 || keeper.room(call.loadId) <= 0) {
          keeper = this.#choose(call.loadId, batchSize);
          left = batchSize;
        }
        loadId = call.loadId;
        left = Math.min(left, keeper?.room(loadId) ?? 1);
      }
      left--;
      if (keeper !== null) keeper.sent.add(call);
      else if (this.#mayBeServed(call)) {
        this.#calls.push(call);
        full = call.loadId;
      }
    }
    for (const each of this.#keepers) each.sent.flush();
  };

  /**
   * Cheap calls stay with the place that had the last ones, as long as it answers promptly: waking another one costs as
   * much as many of them. Other calls go to the place with the fewest open ones.
   */
  #choose(loadId: number, batchSize: number): Keeper | null {
    const last = this.#last;
    const isCheap = batchSize === MAX_BATCH;
    if (isCheap && last !== null && last.room(loadId) > 0 && last.sent.isPrompt(performance.now())) return last;
    this.#last = this.#leastLoaded(loadId);
    return this.#last;
  }

  #leastLoaded(loadId: number): Keeper | null {
    let best: Keeper | null = null;
    for (const keeper of this.#keepers) {
      if (keeper.room(loadId) > 0 && (best === null || keeper.sent.open.size < best.sent.open.size)) best = keeper;
    }
    return best;
  }
}
