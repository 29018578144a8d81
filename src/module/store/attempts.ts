/** Runs a function as a transaction: again on conflict, and not for ever. */
import type { StoreTransaction, TransactionOptions } from "../contract";
import { asHost } from "../../system/leave-graph";
import { StoreError } from "./error";
import { HeldEvents, holdingEvents } from "./held-events";
import type { StorePort } from "./port";
import { Transaction } from "./transaction";

const MAX_ATTEMPTS = 20;
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

class Attempts<R> {
  readonly #port: StorePort;
  readonly #run: Run<R>;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal | undefined;
  readonly #endsAt: number;
  #current: Transaction | null = null;
  /** Why it was given up. null: it was not. */
  #over: StoreError | null = null;
  /** From here on its result is the commit's. */
  #isCommitting = false;
  #giveUp: ((error: StoreError) => void) | null = null;
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
    const { promise, resolve, reject } = Promise.withResolvers<Awaited<R>>();
    this.#giveUp = reject;
    if (this.#signal !== undefined) this.#watchOver();
    this.#work().then(
      (result) => {
        this.#end?.();
        resolve(result);
      },
      (error) => {
        this.#end?.();
        reject(error);
      },
    );
    return promise;
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
    this.#giveUp?.(error);
  }

  async #work(): Promise<Awaited<R>> {
    for (let attempt = 1; ; attempt++) {
      const entered = this.#port.enterTurn?.() ?? null;
      const turn = entered instanceof Promise ? await entered : entered;
      if (this.#over !== null) {
        turn?.leave();
        throw this.#over;
      }
      if (turn === null) this.#watchOver();
      else turn.onAside = () => this.#watchOver();
      const tx = new Transaction(this.#port, turn);
      this.#current = tx;
      const outcome = await this.#attempt(tx);
      if (outcome !== CONFLICT) return outcome;
      if (performance.now() > this.#endsAt) throw this.#lateError();
      if (attempt === MAX_ATTEMPTS)
        throw new StoreError("CONFLICT", `other clients have changed what the transaction read, ${attempt} times`);
    }
  }

  async #attempt(tx: Transaction): Promise<Awaited<R> | typeof CONFLICT> {
    const held = new HeldEvents();
    try {
      const result = await holdingEvents(held, this.#run, tx);
      if (this.#over !== null) throw this.#over;
      tx.over = new StoreError("FAILED", "the transaction is over: await all that it does in its function");
      if (!(await this.#commit(tx))) return CONFLICT;
      held.send();
      return result;
    } catch (error) {
      tx.over ??= new StoreError("FAILED", "the transaction is over: its function has failed");
      // It may have failed because it saw two moments of the store.
      if (this.#over === null && !this.#isCommitting && (await this.#isStale(tx))) return CONFLICT;
      throw error;
    } finally {
      this.#isCommitting = false;
      held.drop();
      tx.turn?.leave();
    }
  }

  /** @returns false: something that it read has changed */
  async #commit(tx: Transaction): Promise<boolean> {
    const mutations = tx.mutations();
    const { turn, checks } = tx;
    if (turn?.isUndone === true) return false;
    this.#isCommitting = true;
    const result =
      turn?.isAlone === true ? await turn.commit(mutations) : await this.#port.commit({ checks, mutations });
    if (result.ok) return true;
    if (result.code === "CONFLICT") return false;
    throw new StoreError(result.code, result.message);
  }

  async #isStale({ turn, checks }: Transaction): Promise<boolean> {
    if (turn?.isUndone === true) return true;
    if (turn?.isAlone === true || checks.length < 2) return false;
    const result = await this.#port.commit({ checks, mutations: [] });
    return !result.ok;
  }
}

const CONFLICT = Symbol("conflict");

function cancelled(): StoreError {
  return new StoreError("CANCELLED", "the transaction was cancelled by its signal");
}
