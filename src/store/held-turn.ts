/** A time in which nobody else commits, for a transaction that has conflicted too often. */
import { asHost } from "../system/leave-graph";
import type { Awaitable, Commit, CommitResult, Hold } from "../module/store/port";

/** Then the others go on. In milliseconds. */
const MAX_HOLD_MS = 250;

interface Holder {
  /** Runs a commit now. */
  apply(commit: Commit): Promise<CommitResult>;
  /** Runs a commit when its turn comes. */
  commit(commit: Commit): Awaitable<CommitResult>;
  leave(held: HeldTurn): void;
}

export class HeldTurn implements Hold {
  readonly #holder: Holder;
  readonly #timer: NodeJS.Timeout;
  #isOver = false;

  constructor(holder: Holder) {
    this.#holder = holder;
    this.#timer = asHost(() => setTimeout(() => this.leave(), MAX_HOLD_MS));
  }

  commit(commit: Commit): Awaitable<CommitResult> {
    if (this.#isOver) return this.#holder.commit(commit);
    const done = this.#holder.apply(commit);
    this.leave();
    return done;
  }

  leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#holder.leave(this);
  }
}
