/** The store in a place: what is asked goes to the server, which has the engine. */
import { encodeValue, decodeValue } from "../../module/service/values";
import { StoreError } from "../../module/store/error";
import type {
  Commit,
  CommitResult,
  IndexRange,
  KeyRange,
  Page,
  SqlStatement,
  StoredDocument,
  StorePort,
  StoreVersion,
  WatchSink,
  WatchWish,
} from "../../module/store/port";
import { asHost } from "../../system/leave-graph";
import {
  type Flat,
  FlatReader,
  lettersOf,
  pushCommit,
  pushIndexRange,
  pushKeyRange,
  pushTexts,
  readChange,
  readDocuments,
  readPage,
  readResult,
} from "../store/flat";
import { ASK, MAX_BATCH_LETTERS, type StoreAsks, TOLD } from "../store/messages";

interface Waiting {
  /** Reads the answer and hands it over. */
  answer(reader: FlatReader): void;
  fail(error: StoreError): void;
}

export class HostedStore implements StorePort {
  readonly #post: (message: StoreAsks) => void;
  readonly #maxLetters: number;
  readonly #waiting = new Map<number, Waiting>();
  readonly #watches = new Map<number, WatchSink>();
  #last = 0;
  /** What this turn asks: it leaves in one message. */
  #asks: Flat = [];
  #letters = 0;
  /** Letters that the server does not know to be received yet. */
  #taken = 0;
  #isFlushScheduled = false;

  /** @param maxLetters  limit for one commit or statement. Infinity: no limit */
  constructor(post: (message: StoreAsks) => void, maxLetters: number) {
    this.#post = post;
    this.#maxLetters = maxLetters;
  }

  get(collection: string, keys: readonly string[]): Promise<readonly (StoredDocument | null)[]> {
    const ask: Flat = [collection];
    pushTexts(ask, keys);
    return this.#ask(ASK.get, ask, readDocuments);
  }

  list(collection: string, range: KeyRange): Promise<Page> {
    const ask: Flat = [collection];
    pushKeyRange(ask, range);
    return this.#ask(ASK.list, ask, readPage);
  }

  find(collection: string, range: IndexRange): Promise<Page> {
    const ask: Flat = [collection];
    pushIndexRange(ask, range);
    return this.#ask(ASK.find, ask, readPage);
  }

  count(collection: string): Promise<number> {
    return this.#ask(ASK.count, [collection], (reader) => reader.number());
  }

  commit(commit: Commit): Promise<CommitResult> {
    const ask: Flat = [];
    pushCommit(ask, commit);
    return this.#ask(ASK.commit, ask, readResult);
  }

  sql({ parts, values }: SqlStatement): Promise<readonly Record<string, unknown>[]> {
    const readRows = (reader: FlatReader): Record<string, unknown>[] =>
      decodeValue(reader.text()) as Record<string, unknown>[];
    return this.#ask(ASK.sql, [encodeValue([parts, values])], readRows);
  }

  watch(version: StoreVersion, { collection, key, prefix, after }: WatchWish, sink: WatchSink): () => void {
    const number = ++this.#last;
    this.#watches.set(number, sink);
    this.#send(number, ASK.watch, [version.id, version.module, collection, key, prefix, after]);
    return () => this.#leave(number);
  }

  #leave(number: number): void {
    if (this.#watches.delete(number)) this.#send(number, ASK.leave, []);
  }

  #ask<T>(kind: number, fields: Flat, read: (reader: FlatReader) => T): Promise<T> {
    const letters = lettersOf(fields);
    if (letters > this.#maxLetters)
      return Promise.reject(
        new StoreError("TOO_LARGE", `it has ${Math.round(letters / 1e6)} MB; at most 30 MB leave a process at once`),
      );
    const number = ++this.#last;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#waiting.set(number, { answer: (reader) => resolve(read(reader)), fail: reject });
    this.#send(number, kind, fields);
    return promise;
  }

  #send(number: number, kind: number, fields: Flat): void {
    const letters = lettersOf(fields);
    // Else several of the largest in one turn would make a message that no process may send.
    if (this.#letters > 0 && this.#letters + letters > MAX_BATCH_LETTERS) asHost(() => this.flush());
    this.#letters += letters;
    this.#asks.push(number, kind);
    for (const field of fields) this.#asks.push(field);
    this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    asHost(() => setImmediate(() => this.flush()));
  }

  /** Sends what was asked so far. */
  flush(): void {
    this.#isFlushScheduled = false;
    if (this.#taken > 0) this.#asks.push(this.#taken, ASK.taken);
    if (this.#asks.length === 0) return;
    const asks = this.#asks;
    this.#asks = [];
    this.#letters = 0;
    this.#taken = 0;
    this.#post({ type: "storeAsks", asks });
  }

  told(told: Flat): void {
    this.#taken += lettersOf(told);
    this.#scheduleFlush();
    const reader = new FlatReader(told);
    while (!reader.isAtEnd) this.#told(reader.number(), reader.number(), reader);
  }

  #told(number: number, kind: number, reader: FlatReader): void {
    if (kind === TOLD.begin) {
      const at = reader.number();
      this.#watches.get(number)?.begin(at);
    } else if (kind === TOLD.change) {
      const change = readChange(reader);
      const sink = this.#watches.get(number);
      if (sink === undefined || sink.push(change)) return;
      this.#leave(number);
      sink.end("GONE", "the reader of this watch is too slow: read the documents again");
    } else if (kind === TOLD.end) {
      const code = reader.textOrNull();
      const message = reader.text();
      const sink = this.#watches.get(number);
      this.#watches.delete(number);
      sink?.end(code, message);
    } else this.#answered(number, kind, reader);
  }

  #answered(number: number, kind: number, reader: FlatReader): void {
    const waiting = this.#waiting.get(number);
    // Each ask waits until it is answered, once.
    if (waiting === undefined) throw new Error(`The store has answered ${number}, which nobody asks.`);
    this.#waiting.delete(number);
    if (kind === TOLD.answer) waiting.answer(reader);
    else waiting.fail(new StoreError(reader.text(), reader.text()));
  }
}
