/**
 * The commits of a process that does not write itself, on their way to the one that does. What was sent and has no answer
 * when the connection ends may have been done: it is not sent again, and its callers are told so. Pure.
 */
import { lettersOf, pushCommit, type Flat } from "../../host/store/flat";
import { StoreError } from "../../module/store/error";
import type { Commit, CommitResult } from "../../module/store/port";

/** Of one commit. */
export type Outcome = CommitResult | StoreError;

interface Waiting {
  readonly commit: Commit;
  readonly letters: number;
  /** That it ends. 0: none. */
  readonly hold: number;
  /** When its caller gives up, as `performance.now()` counts. */
  readonly untilMs: number;
  resolve(result: CommitResult): void;
  reject(error: StoreError): void;
}

/** A message ends behind so many letters. One commit may have more. */
const MAX_BATCH_LETTERS = 4_000_000;
/** Of one commit. A letter takes up to two bytes of a message, which has at most 64 MB. */
const MAX_COMMIT_LETTERS = 30_000_000;
/** Of commits without an answer. */
const MAX_LETTERS = 64_000_000;
const MAX_COMMITS = 100_000;

export class Outbox {
  #waiting: Waiting[] = [];
  readonly #sent = new Map<number, readonly Waiting[]>();
  #count = 0;
  #letters = 0;
  #last = 0;
  #onEmpty: (() => void)[] = [];

  /** Commits without an answer. */
  get size(): number {
    return this.#count;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Resolves when nothing waits for an answer. Never rejects. */
  whenEmpty(): Promise<void> {
    if (this.isEmpty) return Promise.resolve();
    return new Promise((resolve) => this.#onEmpty.push(resolve));
  }

  /**
   * @param hold that it ends; 0: none. Then it is sent alone
   * @returns the result. @throws StoreError BUSY, TOO_LARGE
   */
  add(commit: Commit, untilMs: number, hold = 0): Promise<CommitResult> {
    const flat: Flat = [];
    pushCommit(flat, commit);
    const letters = lettersOf(flat);
    if (letters > MAX_COMMIT_LETTERS)
      throw new StoreError("TOO_LARGE", `the commit has ${Math.round(letters / 1e6)} MB; at most 30 MB are possible`);
    if (this.#count >= MAX_COMMITS || (this.#count > 0 && this.#letters + letters > MAX_LETTERS))
      throw new StoreError("BUSY", "too many writes wait for the process that writes to the store");
    this.#count++;
    this.#letters += letters;
    const { promise, resolve, reject } = Promise.withResolvers<CommitResult>();
    this.#waiting.push({ commit, letters, hold, untilMs, resolve, reject });
    return promise;
  }

  /** @returns what to send now. null: nothing waits */
  next(): { readonly number: number; readonly hold: number; readonly commits: readonly Commit[] } | null {
    if (this.#waiting.length === 0) return null;
    let count = 0;
    let letters = 0;
    for (const each of this.#waiting) {
      if (count > 0 && (each.hold !== 0 || letters + each.letters > MAX_BATCH_LETTERS)) break;
      letters += each.letters;
      count++;
      if (each.hold !== 0) break;
    }
    const number = ++this.#last;
    const batch = this.#waiting.slice(0, count);
    this.#waiting = this.#waiting.slice(count);
    this.#sent.set(number, batch);
    return { number, hold: batch[0]?.hold ?? 0, commits: batch.map(({ commit }) => commit) };
  }

  /** The answer to what was sent. One for another number is late, and ignored. */
  answered(number: number, outcomes: readonly Outcome[]): void {
    const batch = this.#sent.get(number);
    if (batch === undefined) return;
    this.#sent.delete(number);
    for (const [at, waiting] of batch.entries()) this.#end(waiting, outcomes[at] ?? unknown(NO_ANSWER));
  }

  /** The connection has ended. */
  lost(): void {
    for (const number of this.#sent.keys()) this.answered(number, []);
  }

  /** This process writes itself from now on: what was not sent is done here. */
  handOver(commit: (commit: Commit) => Promise<CommitResult>): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting)
      commit(each.commit).then(
        (result) => this.#end(each, result),
        (error: StoreError) => this.#end(each, error),
      );
  }

  /** Gives up what has waited too long. */
  expire(nowMs: number): void {
    const late = this.#waiting.filter(({ untilMs }) => untilMs <= nowMs);
    this.#waiting = this.#waiting.filter(({ untilMs }) => untilMs > nowMs);
    for (const each of late)
      this.#end(
        each,
        new StoreError("UNAVAILABLE", "no process that writes to the store answers: nothing was written"),
      );
    for (const [number, batch] of this.#sent)
      if (batch.every(({ untilMs }) => untilMs <= nowMs)) this.answered(number, []);
  }

  /** This process ends. */
  close(): void {
    for (const each of this.#waiting.splice(0)) this.#end(each, new StoreError("UNAVAILABLE", "the store is closed"));
    this.lost();
  }

  #end({ letters, resolve, reject }: Waiting, outcome: Outcome): void {
    this.#count--;
    this.#letters -= letters;
    if (outcome instanceof StoreError) reject(outcome);
    else resolve(outcome);
    if (this.isEmpty) for (const done of this.#onEmpty.splice(0)) done();
  }
}

const NO_ANSWER = "the process that writes to the store has not answered: nobody knows whether it was written";

function unknown(message: string): StoreError {
  return new StoreError("UNKNOWN", message);
}
