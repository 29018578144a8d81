/**
 * The vote in the middle of a reload: waits until each process has said what it could load, then tells each what to
 * leave.
 */
import { type Agreement, decide, type Proposal } from "./agree";

export class Round {
  readonly #awaited: Set<number>;
  readonly #proposals = new Map<number, Proposal>();
  readonly #decided = Promise.withResolvers<Agreement>();

  /** @param slots the processes that were asked to reload */
  constructor(slots: readonly number[]) {
    this.#awaited = new Set(slots);
  }

  /** @returns what process `slot` must not swap to, once all have proposed or are gone */
  propose(slot: number, proposal: Proposal): Promise<Agreement> {
    this.#proposals.set(slot, proposal);
    this.lost(slot);
    return this.#decided.promise;
  }

  /** Process `slot` will say nothing (more). */
  lost(slot: number): void {
    if (!this.#awaited.delete(slot) || this.#awaited.size > 0) return;
    this.#decided.resolve(decide(this.#proposals));
  }
}
