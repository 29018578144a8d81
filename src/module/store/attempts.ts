/** Runs a function as a transaction: again on conflict, and not for ever. */
import type { StoreTransaction, TransactionOptions } from "../contract";
import { asHost } from "../../system/leave-graph";
import { StoreError } from "./error";
import { HeldEvents, holdingEvents } from "./held-events";
import type { CommitResult, CommitSink, Hold, StorePort, Turn } from "./port";
import { Transaction } from "./transaction";

const MAX_ATTEMPTS = 20;
/** The next ones keep others from writing, where that is possible. */
const FREE_ATTEMPTS = 3;
const DEFAULT_TIMEOUT_MS = 10_000;
/** The longest time that a timer takes. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

type Run<R> = (tx: StoreTransaction) => R | Promise<R>;

export function transact<R>(port: StorePort, run: Run<R>, options: TransactionOptions = {}): Promise<Awaited<R>> {
  try {
    return new Attempts(port, run, options).begin();
  } catch (error) {
    return Promise.reject(error as Error);
  }
}

/** From the call to the commit. It is written without `await`, whose promises would cost as much as the rest. */
class Attempts<R> implements CommitSink {
  readonly #port: StorePort;
  readonly #run: Run<R>;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal | undefined;
  readonly #endsAt: number;
  readonly #answer = Promise.withResolvers<Awaited<R>>();
  #attempt = 0;
  #current: Transaction | null = null;
  #held: HeldEvents | null = null;
  /** Keeps others from writing during this attempt. */
  #hold: Hold | null = null;
  /** Of the function. */
  #result: R | undefined;
  /** Why it was given up. null: it was not. */
  #over: StoreError | null = null;
  /** From here on its result is the commit's. */
  #isCommitting = false;
  /** Ends the timer. null: there is none. */
  #end: (() => void) | null = null;

  constructor(port: StorePort, run: Run<R>, { timeoutMs = DEFAULT_TIMEOUT_MS, signal }: TransactionOptions) {
    if (typeof run !== "function") throw new StoreError("INVALID_VALUE", "transaction takes a function");
    if (!(typeof timeoutMs === "number" && timeoutMs > 0))
      throw new StoreError("INVALID_VALUE", `"timeoutMs" is ${Bun.inspect(timeoutMs)}, and must be above 0`);
    if (signal !== undefined && !(signal instanceof AbortSignal))
      throw new StoreError("INVALID_VALUE", `"signal" is ${Bun.inspect(signal, { depth: 0 })}: no AbortSignal`);
    this.#port = port;
    this.#run = run;
    this.#timeoutMs = Math.min(timeoutMs, MAX_TIMEOUT_MS);
    this.#signal = signal;
    this.#endsAt = performance.now() + this.#timeoutMs;
  }

  begin(): Promise<Awaited<R>> {
    if (this.#signal?.aborted === true) throw cancelled();
    if (this.#signal !== undefined) this.#watchOver();
    this.#try();
    return this.#answer.promise;
  }

  /** A transaction that is alone in its turn has an end by itself, and needs no timer. */
  #watchOver(): void {
    if (this.#end !== null) return;
    const late = (): void => this.#stop(this.#lateError());
    const aborted = (): void => this.#stop(cancelled());
    const timer = asHost(() => setTimeout(late, Math.max(1, this.#endsAt - performance.now())));
    this.#signal?.addEventListener("abort", aborted);
    this.#end = () => {
      clearTimeout(timer);
      this.#signal?.removeEventListener("abort", aborted);
    };
  }

  #lateError(): StoreError {
    return new StoreError("TIMEOUT", `the transaction was not over within ${Math.round(this.#timeoutMs)} ms`);
  }

  #stop(error: StoreError): void {
    this.#over ??= error;
    if (this.#isCommitting) return;
    if (this.#current !== null) {
      this.#current.over ??= error;
      this.#current.turn?.leave();
    }
    this.#answer.reject(error);
  }

  // ---- one attempt ----

  #try(): void {
    this.#attempt++;
    if (this.#attempt <= FREE_ATTEMPTS || this.#port.hold === undefined) return this.#enterTurn();
    this.#watchOver();
    this.#holdOthers().then(
      () => (this.#hold === null ? this.#enterTurn() : this.#enter(null)),
      (error) => this.#fail(error),
    );
  }

  async #holdOthers(): Promise<void> {
    this.#hold = (await this.#port.hold?.()) ?? null;
  }

  #enterTurn(): void {
    try {
      const entered = this.#port.enterTurn?.() ?? null;
      if (!(entered instanceof Promise)) return this.#enter(entered);
      entered.then(
        (turn) => this.#enter(turn),
        (error) => this.#fail(error),
      );
    } catch (error) {
      this.#fail(error);
    }
  }

  #enter(turn: Turn | null): void {
    if (this.#over !== null) {
      turn?.leave();
      return this.#fail(this.#over);
    }
    if (turn === null) this.#watchOver();
    else turn.onAside = () => this.#watchOver();
    const tx = new Transaction(this.#port, turn);
    const held = new HeldEvents();
    this.#current = tx;
    this.#held = held;
    let result: R | Promise<R>;
    try {
      result = holdingEvents(held, this.#run, tx);
    } catch (error) {
      return this.#runFailed(tx, error);
    }
    if (!isThenable(result)) return this.#ran(tx, result);
    Promise.resolve(result).then(
      (value) => this.#ran(tx, value),
      (error) => this.#runFailed(tx, error),
    );
  }

  #ran(tx: Transaction, result: R): void {
    if (this.#over !== null) return this.#runFailed(tx, this.#over);
    tx.over = "the transaction is over: await all that it does in its function";
    this.#result = result;
    const mutations = tx.mutations();
    const { turn, checks } = tx;
    if (turn?.isUndone === true) return this.#again();
    this.#isCommitting = true;
    if (turn?.isAlone === true) return turn.commit(mutations, this);
    try {
      const done = (this.#hold ?? this.#port).commit({ checks, mutations });
      if (!(done instanceof Promise)) return this.committed(done);
      done.then(
        (answer) => this.committed(answer),
        (error) => this.failed(error),
      );
    } catch (error) {
      this.failed(error);
    }
  }

  #runFailed(tx: Transaction, error: unknown): void {
    tx.over ??= "the transaction is over: its function has failed";
    if (this.#over === null && tx.turn?.isUndone === true) return this.#again();
    // It may have failed because it saw two moments of the store.
    if (this.#over !== null || tx.turn?.isAlone === true || tx.checks.length < 2) return this.#fail(error);
    void this.#isStale(tx).then(
      (isStale) => (isStale ? this.#again() : this.#fail(error)),
      (failure) => this.#fail(failure),
    );
  }

  async #isStale({ checks }: Transaction): Promise<boolean> {
    const result = await (this.#hold ?? this.#port).commit({ checks, mutations: [] });
    return !result.ok;
  }

  // ---- its commit ----

  committed(result: CommitResult): void {
    if (!result.ok)
      return result.code === "CONFLICT" ? this.#again() : this.#fail(new StoreError(result.code, result.message));
    try {
      this.#held?.send();
    } catch (error) {
      return this.#fail(error);
    }
    this.#leave();
    this.#end?.();
    this.#answer.resolve(this.#result as Awaited<R>);
  }

  failed(error: unknown): void {
    this.#fail(error);
  }

  /** Something that it read has changed. */
  #again(): void {
    this.#leave();
    if (performance.now() > this.#endsAt) return this.#fail(this.#lateError());
    if (this.#attempt < MAX_ATTEMPTS) return this.#try();
    const times = this.#attempt;
    this.#fail(new StoreError("CONFLICT", `other clients have changed what the transaction read, ${times} times`));
  }

  #fail(error: unknown): void {
    this.#leave();
    this.#end?.();
    this.#answer.reject(error);
  }

  #leave(): void {
    this.#isCommitting = false;
    this.#held?.drop();
    this.#current?.turn?.leave();
    this.#hold?.leave();
    this.#hold = null;
  }
}

function isThenable<R>(value: R | Promise<R>): value is Promise<R> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

function cancelled(): StoreError {
  return new StoreError("CANCELLED", "the transaction was cancelled by its signal");
}
