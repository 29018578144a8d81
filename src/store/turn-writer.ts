/**
 * Commits to a database of this thread: all of one turn of the loop share one COMMIT, and are answered after it.
 * Transactions that await nothing but the store run one after another, so that they never conflict.
 */
import { asHost } from "../system/leave-graph";
import type { StoreError } from "../module/store/error";
import type {
  Awaitable,
  Commit,
  CommitResult,
  CommitSink,
  Hold,
  IndexRange,
  KeyRange,
  Mutation,
  Page,
  StoredChange,
  StoredDocument,
  Turn,
} from "../module/store/port";
import type { Backend, Batch } from "./backend";
import { HeldTurn } from "./held-turn";
import { storeError, type Writer, type WriterOwner } from "./writer";

/** A backend whose methods answer at once. */
export type SyncBackend = Backend & Required<Pick<Backend, "begin">>;

interface Answer {
  /** The COMMIT is durable. */
  done(): void;
  failed(error: StoreError): void;
}

export class TurnWriter implements Writer {
  readonly #backend: SyncBackend;
  readonly #owner: WriterOwner;
  #batch: Batch | null = null;
  /** They wait for the end of the turn. */
  #answers: Answer[] = [];
  #results: CommitResult[] = [];
  #transactions = 0;
  #changes: StoredChange[] = [];
  /** Of the present batch. */
  #fate: Fate = { isUndone: false };
  #isEndScheduled = false;
  #alone: LoopTurn | HeldTurn | null = null;
  /** They wait until nothing runs alone. */
  #queue: (() => void)[] = [];
  #first = 0;
  #isRunning = false;
  /** They wait for the end of the batch. */
  #between: (() => void)[] = [];
  #idle: (() => void)[] = [];

  constructor(backend: SyncBackend, owner: WriterOwner) {
    this.#backend = backend;
    this.#owner = owner;
  }

  commit(commit: Commit): Promise<CommitResult> {
    if (this.#alone === null) return this.apply(commit);
    return new Promise((resolve, reject) => {
      this.#queue.push(() => void this.apply(commit).then(resolve, reject));
    });
  }

  read<T>(read: () => Awaitable<T>): Awaitable<T> {
    const result = read();
    if (this.#batch === null) return result;
    return new Promise((resolve, reject) => {
      this.#answers.push({
        done: () => resolve(result),
        // What it saw never was.
        failed: () => {
          try {
            resolve(read());
          } catch (error) {
            reject(storeError(error));
          }
        },
      });
    });
  }

  enterTurn(): Turn | Promise<Turn> {
    if (this.#alone === null) return this.#begin();
    return new Promise((resolve, reject) => {
      this.#queue.push(() => {
        try {
          resolve(this.#begin());
        } catch (error) {
          reject(storeError(error));
        }
      });
    });
  }

  hold(): Promise<Hold> {
    return new Promise((resolve) => {
      const begin = (): void => {
        const held = new HeldTurn(this);
        this.#alone = held;
        resolve(held);
      };
      if (this.#alone === null) begin();
      else this.#queue.push(begin);
    });
  }

  #begin(): LoopTurn {
    this.#scheduleEnd();
    this.#keepOthersOut();
    const turn = new LoopTurn({ writer: this, backend: this.#backend, owner: this.#owner, fate: this.#fate });
    this.#alone = turn;
    return turn;
  }

  /** Another process must not write between the reads and the writes of what runs alone. */
  #keepOthersOut(): void {
    try {
      this.#batch ??= this.#backend.begin();
    } catch (error) {
      const failed = storeError(error);
      // Nobody writes there: it can be read, and the first write tells the error.
      if (failed.code !== "READ_ONLY") throw failed;
    }
  }

  async between<T>(work: () => Awaitable<T>): Promise<T> {
    if (this.#batch === null) return await work();
    return await new Promise((resolve, reject) => {
      this.#between.push(() => {
        try {
          resolve(work());
        } catch (error) {
          reject(storeError(error));
        }
      });
    });
  }

  get waiting(): number {
    return this.#results.length + this.#queue.length - this.#first;
  }

  idle(): Promise<void> {
    if (this.#isIdle) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  get #isIdle(): boolean {
    return !this.#isEndScheduled && this.#alone === null;
  }

  /** Runs a commit within the turn. */
  apply(commit: Commit): Promise<CommitResult> {
    return new Promise((committed, failed) => this.applyFor({ committed, failed }, commit));
  }

  /** @param isTransaction  one that ran alone, and so has no checks */
  applyFor(sink: CommitSink, commit: Commit, isTransaction = commit.checks.length > 0): void {
    this.#scheduleEnd();
    let result: CommitResult;
    try {
      this.#batch ??= this.#backend.begin();
      const done = this.#batch.apply(commit);
      for (const change of done.changes) this.#changes.push(change);
      result = done.result;
    } catch (error) {
      const failed = storeError(error);
      // An error that is none of the database has written nothing.
      if (failed === error) this.#fail(failed);
      return sink.failed(failed);
    }
    this.#results.push(result);
    if (isTransaction) this.#transactions++;
    this.#answers.push(new Applied(sink, result));
  }

  /** Told when all of the turn so far is durable. */
  settled(sink: CommitSink): void {
    const read = this.read(() => NOTHING_WRITTEN);
    if (read instanceof Promise) read.then((result) => sink.committed(result), sink.failed.bind(sink));
    else sink.committed(read);
  }

  /** Nothing runs alone any more, if this was it. */
  leave(turn: LoopTurn | HeldTurn): void {
    if (this.#alone !== turn) return;
    this.#alone = null;
    this.#runQueue();
    this.#tellIdle();
  }

  #runQueue(): void {
    // What begins there may be over at once, and come back here.
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (this.#alone === null && this.#first < this.#queue.length) {
      const next = this.#queue[this.#first++] as () => void;
      next();
    }
    this.#isRunning = false;
    if (this.#first < this.#queue.length) return;
    this.#queue = [];
    this.#first = 0;
  }

  #scheduleEnd(): void {
    if (this.#isEndScheduled) return;
    this.#isEndScheduled = true;
    asHost(() => setImmediate(this.#endTurn));
  }

  readonly #endTurn = (): void => {
    this.#isEndScheduled = false;
    this.#putAside();
    this.#commitBatch();
    this.#runBetween();
    this.#runQueue();
    this.#tellIdle();
  };

  /** A hold lasts for several turns of the loop. */
  #putAside(): void {
    if (!(this.#alone instanceof LoopTurn)) return;
    this.#alone.putAside();
    this.#alone = null;
  }

  #tellIdle(): void {
    if (!this.#isIdle || this.#idle.length === 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }

  #runBetween(): void {
    if (this.#between.length === 0) return;
    const between = this.#between;
    this.#between = [];
    for (const work of between) work();
  }

  #commitBatch(): void {
    const batch = this.#batch;
    if (batch === null) return;
    const began = performance.now();
    try {
      batch.commit();
    } catch (error) {
      this.#fail(storeError(error));
      return;
    }
    this.#batch = null;
    const [answers, results, changes, transactions] = [this.#answers, this.#results, this.#changes, this.#transactions];
    this.#forget();
    this.#owner.committed({ results, transactions, durationMs: performance.now() - began });
    if (changes.length > 0) this.#owner.changed(changes);
    for (const answer of answers) answer.done();
  }

  #fail(error: StoreError): void {
    this.#batch?.rollback();
    this.#batch = null;
    this.#fate.isUndone = true;
    this.#putAside();
    const answers = this.#answers;
    this.#forget();
    this.#owner.failed(error);
    for (const answer of answers) answer.failed(error);
  }

  #forget(): void {
    this.#answers = [];
    this.#results = [];
    this.#changes = [];
    this.#transactions = 0;
    this.#fate = { isUndone: false };
  }
}

interface Fate {
  isUndone: boolean;
}

const NOTHING_WRITTEN: CommitResult = Object.freeze({ ok: true, mutated: [] });

interface LoopTurnParts {
  readonly writer: TurnWriter;
  readonly backend: SyncBackend;
  readonly owner: WriterOwner;
  /** Of the batch that it begins in. */
  readonly fate: Readonly<Fate>;
}

const NO_CHECKS: Commit["checks"] = [];

/** A commit that waits for the end of the turn. */
class Applied implements Answer {
  readonly #sink: CommitSink;
  readonly #result: CommitResult;

  constructor(sink: CommitSink, result: CommitResult) {
    this.#sink = sink;
    this.#result = result;
  }

  done(): void {
    this.#sink.committed(this.#result);
  }

  failed(error: StoreError): void {
    this.#sink.failed(error);
  }
}

class LoopTurn implements Turn {
  readonly #writer: TurnWriter;
  readonly #backend: SyncBackend;
  readonly #owner: WriterOwner;
  readonly #fate: Readonly<Fate>;
  isAlone = true;
  onAside: (() => void) | null = null;

  constructor({ writer, backend, owner, fate }: LoopTurnParts) {
    this.#writer = writer;
    this.#backend = backend;
    this.#owner = owner;
    this.#fate = fate;
  }

  get isUndone(): boolean {
    return this.#fate.isUndone;
  }

  get(collection: string, keys: readonly string[]): readonly (StoredDocument | null)[] {
    return this.#backend.get(collection, keys) as readonly (StoredDocument | null)[];
  }

  list(collection: string, range: KeyRange): Page {
    return this.#backend.list(collection, range) as Page;
  }

  find(collection: string, range: IndexRange): Page {
    this.#owner.mustFind(collection, range.index);
    return this.#backend.find(collection, range) as Page;
  }

  commit(mutations: readonly Mutation[], sink: CommitSink): void {
    if (mutations.length === 0) this.#writer.settled(sink);
    else this.#writer.applyFor(sink, { checks: NO_CHECKS, mutations }, true);
    this.leave();
  }

  leave(): void {
    this.isAlone = false;
    this.#writer.leave(this);
  }

  /** The turn of the loop is over. */
  putAside(): void {
    this.isAlone = false;
    this.onAside?.();
  }
}
