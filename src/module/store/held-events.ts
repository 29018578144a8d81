/**
 * Events that are emitted within a transaction: they wait for its commit. A run that is repeated, or fails, has emitted
 * none. It follows the function over every await.
 */
import { AsyncLocalStorage } from "node:async_hooks";

/** Of one run of a transaction's function. */
export class HeldEvents {
  /** null: none. */
  #waiting: (() => void)[] | null = null;
  #state: "held" | "sent" | "dropped" = "held";

  add(emit: () => void): void {
    if (this.#state === "held") (this.#waiting ??= []).push(emit);
    // Work that the function has left behind goes on after the commit.
    else if (this.#state === "sent") emit();
  }

  /** The commit is durable. */
  send(): void {
    this.#state = "sent";
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null) for (const emit of waiting) emit();
  }

  /** The run has come to nothing. Does nothing after `send`. */
  drop(): void {
    if (this.#state === "held") this.#state = "dropped";
    this.#waiting = null;
  }
}

const runs = new AsyncLocalStorage<HeldEvents>();

/** @returns those of the transaction that the running code belongs to. null: it belongs to none */
export function heldEvents(): HeldEvents | null {
  return runs.getStore() ?? null;
}

export function holdingEvents<A, R>(held: HeldEvents, fn: (arg: A) => R, arg: A): R {
  return runs.run(held, fn, arg);
}
