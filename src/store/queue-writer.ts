/** Commits to a database elsewhere: those that come while one batch is under way are the next one. */
import { asHost } from "../system/leave-graph";
import type { StoreError } from "../module/store/error";
import type { Awaitable, Commit, CommitResult } from "../module/store/port";
import type { Backend } from "./backend";
import { storeError, type Writer, type WriterOwner } from "./writer";

const MAX_BATCH = 1000;
/** A batch also ends behind so many letters: it is in memory several times while it is sent. */
const MAX_BATCH_LETTERS = 4 * 1024 * 1024;

interface Waiting {
  readonly commit: Commit;
  resolve(result: CommitResult): void;
  reject(error: StoreError): void;
}

export class QueueWriter implements Writer {
  readonly #backend: Backend;
  readonly #owner: WriterOwner;
  #waiting: Waiting[] = [];
  #isBusy = false;
  #underWay = 0;
  #idle: (() => void)[] = [];

  constructor(backend: Backend, owner: WriterOwner) {
    this.#backend = backend;
    this.#owner = owner;
  }

  commit(commit: Commit): Promise<CommitResult> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ commit, resolve, reject });
      if (this.#isBusy) return;
      this.#isBusy = true;
      asHost(() => setImmediate(() => void this.#work()));
    });
  }

  read<T>(read: () => Awaitable<T>): Awaitable<T> {
    return read();
  }

  enterTurn(): null {
    return null;
  }

  hold(): null {
    return null;
  }

  get waiting(): number {
    return this.#waiting.length + this.#underWay;
  }

  async between<T>(work: () => Awaitable<T>): Promise<T> {
    return await work();
  }

  idle(): Promise<void> {
    if (!this.#isBusy) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  async #work(): Promise<void> {
    while (this.#waiting.length > 0) await this.#send(this.#nextBatch());
    this.#isBusy = false;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }

  #nextBatch(): readonly Waiting[] {
    let size = 0;
    let letters = 0;
    while (size < Math.min(this.#waiting.length, MAX_BATCH) && letters < MAX_BATCH_LETTERS)
      letters += lettersOf((this.#waiting[size++] as Waiting).commit);
    return this.#waiting.splice(0, size);
  }

  async #send(batch: readonly Waiting[]): Promise<void> {
    const began = performance.now();
    this.#underWay = batch.length;
    try {
      const done = await this.#backend.commit(batch.map(({ commit }) => commit));
      const results = done.map(({ result }) => result);
      this.#owner.committed({
        results,
        transactions: batch.filter(({ commit }) => commit.checks.length > 0).length,
        durationMs: performance.now() - began,
      });
      const changes = done.flatMap((each) => each.changes);
      if (changes.length > 0) this.#owner.changed(changes);
      for (const [at, { resolve }] of batch.entries()) resolve(results[at] as CommitResult);
    } catch (error) {
      const failed = storeError(error);
      this.#owner.failed(failed);
      for (const { reject } of batch) reject(failed);
    } finally {
      this.#underWay = 0;
    }
  }
}

function lettersOf({ mutations }: Commit): number {
  let letters = 0;
  for (const mutation of mutations) letters += "text" in mutation ? mutation.text.length : mutation.key.length;
  return letters;
}
