/** The server's side of `context.store` in one place. */
import { decodeValue, encodeValue } from "../../module/service/values";
import { StoreError } from "../../module/store/error";
import type {
  Awaitable,
  Commit,
  SqlStatement,
  StoredChange,
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
  pushChange,
  pushDocuments,
  pushPage,
  pushResult,
  readCommit,
  readIndexRange,
  readKeyRange,
  readTexts,
} from "./flat";
import { ASK, MAX_BATCH_LETTERS, type StoreTold, TOLD } from "./messages";

/** Asks and watches of one place at a time. More are refused (BUSY). */
const MAX_ASKS = 10_000;
const MAX_WATCHES = 1000;
/** Of asks that wait for their turn. */
const MAX_HELD_LETTERS = 64_000_000;
/** Sent to the place, and not yet received there: then the next ask waits. */
const MAX_UNREAD_LETTERS = 16_000_000;
/** Reads under way at a time: each may become 4 MB of answer. */
const MAX_READS = 64;

interface PlaceStoreOptions {
  /** The place has hrmr's own code only on its side of the channel: it sends what it may. */
  readonly isTrusted: boolean;
}

/** An ask that is not answered yet. */
interface Open {
  readonly number: number;
  readonly letters: number;
  readonly isCommit: boolean;
  run(): Awaitable<(flat: Flat) => void>;
}

export class PlaceStore {
  readonly #store: StorePort;
  readonly #post: (message: StoreTold) => void;
  readonly #options: PlaceStoreOptions;
  /** Not begun, oldest first. */
  #waiting: Open[] = [];
  /** All asks without an answer. */
  #open = new Set<Open>();
  #watches = new Map<number, PlaceWatch>();
  #heldLetters = 0;
  #reads = 0;
  #unreadLetters = 0;
  /** What this turn answers: it leaves in one message. */
  #told: Flat = [];
  #toldLetters = 0;
  #isFlushScheduled = false;

  constructor(store: StorePort, post: (message: StoreTold) => void, options: PlaceStoreOptions) {
    this.#store = store;
    this.#post = post;
    this.#options = options;
  }

  /** @throws TypeError for a message of another form */
  receive(asks: Flat): void {
    const reader = new FlatReader(asks);
    while (!reader.isAtEnd) this.#receive(reader.number(), reader.number(), reader);
    this.#go();
    // The answers of this turn share one message.
    this.#flush();
  }

  /** The place is gone: ends its watches, and begins nothing more that it has asked. Its commits that have begun go on. */
  drop(): void {
    for (const watch of this.#watches.values()) watch.leave();
    this.#watches = new Map();
    this.#waiting = [];
    this.#open = new Set();
    this.#heldLetters = 0;
    this.#reads = 0;
    this.#unreadLetters = 0;
    this.#told = [];
    this.#toldLetters = 0;
  }

  #receive(number: number, kind: number, reader: FlatReader): void {
    switch (kind) {
      case ASK.watch:
        return this.#watch(
          number,
          { id: reader.number(), module: reader.text() },
          {
            collection: reader.text(),
            key: reader.textOrNull(),
            prefix: reader.text(),
            after: reader.numberOrNull(),
          },
        );
      case ASK.leave:
        this.#watches.get(number)?.leave();
        this.#watches.delete(number);
        return;
      case ASK.taken:
        this.#unreadLetters = Math.max(0, this.#unreadLetters - number);
        return;
    }
    const begins = reader.at;
    const run = this.#readAsk(kind, reader);
    const ask = { number, letters: reader.lettersSince(begins), isCommit: kind === ASK.commit, run };
    if (this.#open.size >= MAX_ASKS || this.#heldLetters + ask.letters > MAX_HELD_LETTERS)
      return this.#fail(
        number,
        new StoreError("BUSY", `the store has too much to do for this module: ${this.#open.size} requests wait`),
      );
    this.#open.add(ask);
    this.#heldLetters += ask.letters;
    this.#waiting.push(ask);
  }

  #readAsk(kind: number, reader: FlatReader): Open["run"] {
    if (kind === ASK.commit) return this.#readCommit(reader);
    if (kind === ASK.sql) return this.#readSql(reader);
    const collection = reader.text();
    const store = this.#store;
    if (kind === ASK.get) {
      const keys = readTexts(reader);
      return () => then(store.get(collection, keys), (documents) => (flat) => pushDocuments(flat, documents));
    }
    if (kind === ASK.list) {
      const range = readKeyRange(reader);
      return () => then(store.list(collection, range), (page) => (flat) => pushPage(flat, page));
    }
    if (kind === ASK.count) return () => then(store.count(collection), (count) => (flat) => void flat.push(count));
    if (kind !== ASK.find) throw new TypeError("a message of the store has an unknown kind");
    const range = readIndexRange(reader);
    return () => then(store.find(collection, range), (page) => (flat) => pushPage(flat, page));
  }

  #readCommit(reader: FlatReader): Open["run"] {
    const commit = readCommit(reader);
    return () => {
      if (!this.#options.isTrusted) mustBeJson(commit);
      return then(this.#store.commit(commit), (result) => (flat) => pushResult(flat, result));
    };
  }

  #readSql(reader: FlatReader): Open["run"] {
    const [parts, values] = decodeValue(reader.text()) as [SqlStatement["parts"], SqlStatement["values"]];
    return () => then(this.#store.sql({ parts, values }), (rows) => (flat) => void flat.push(encodeValue(rows)));
  }

  /** Begins asks, oldest first, as long as the place takes their answers. */
  #go(): void {
    let begun = 0;
    for (const ask of this.#waiting) {
      if (this.#unreadLetters + this.#toldLetters >= MAX_UNREAD_LETTERS) break;
      if (!ask.isCommit && this.#reads >= MAX_READS) break;
      begun++;
      this.#begin(ask);
    }
    // A new array only where it is needed: most turns begin all.
    if (begun === this.#waiting.length) this.#waiting.length = 0;
    else if (begun > 0) this.#waiting = this.#waiting.slice(begun);
    for (const watch of this.#watches.values()) watch.flush();
  }

  #begin(ask: Open): void {
    if (!ask.isCommit) this.#reads++;
    try {
      const answer = ask.run();
      if (!(answer instanceof Promise)) return this.#answer(ask, answer);
      answer.then(
        (push) => this.#settle(ask, push, null),
        (error: unknown) => this.#settle(ask, null, error),
      );
    } catch (error) {
      this.#answer(ask, null, error);
    }
  }

  #settle(ask: Open, push: ((flat: Flat) => void) | null, error: unknown): void {
    // The place was lost meanwhile.
    if (!this.#open.has(ask)) return;
    this.#answer(ask, push, error);
    this.#scheduleFlush();
  }

  #answer(ask: Open, push: ((flat: Flat) => void) | null, error?: unknown): void {
    this.#open.delete(ask);
    this.#heldLetters -= ask.letters;
    if (!ask.isCommit) this.#reads--;
    if (push === null) return this.#fail(ask.number, error);
    this.tell(ask.number, TOLD.answer, push);
  }

  #fail(number: number, error: unknown): void {
    const { code, message } = error instanceof StoreError ? error : { code: "FAILED", message: String(error) };
    this.tell(number, TOLD.failure, (flat) => flat.push(code, message));
  }

  #watch(number: number, version: StoreVersion, wish: WatchWish): void {
    if (this.#watches.has(number)) throw new TypeError("a message of the store begins a watch twice");
    const watch = new PlaceWatch(number, this);
    if (this.#watches.size >= MAX_WATCHES)
      return watch.refuse(new StoreError("BUSY", `there are ${MAX_WATCHES} watches of this place`));
    this.#watches.set(number, watch);
    try {
      watch.begun(this.#store.watch(version, wish, watch));
    } catch (error) {
      this.#watches.delete(number);
      watch.refuse(error);
    }
  }

  /** Whether a watch may send its next change. */
  get hasRoom(): boolean {
    return this.#unreadLetters + this.#toldLetters < MAX_UNREAD_LETTERS;
  }

  /** Of a watch: it has said its last. */
  ended(number: number): void {
    this.#watches.delete(number);
  }

  tell(number: number, kind: number, push: (flat: Flat) => void): void {
    // Of code that cannot await: its answer goes another way.
    if (number < 0) this.#flush();
    const from = this.#told.length;
    this.#told.push(number, kind);
    push(this.#told);
    this.#toldLetters += lettersOf(this.#told, from);
    if (number < 0 || this.#toldLetters > MAX_BATCH_LETTERS) this.#flush();
    else this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    // A module's code may be on the stack.
    asHost(() =>
      setImmediate(() => {
        this.#isFlushScheduled = false;
        this.#go();
        this.#flush();
      }),
    );
  }

  #flush(): void {
    if (this.#told.length === 0) return;
    const told = this.#told;
    this.#told = [];
    this.#unreadLetters += this.#toldLetters;
    this.#toldLetters = 0;
    this.#post({ type: "storeTold", told });
  }
}

/** A change that waits for the place: fewer than an iterator there would hold. */
const MAX_CHANGES = 10_000;
const MAX_CHANGE_LETTERS = 8_388_608;

/** A watch of the place. Its changes wait here while the place does not read. */
class PlaceWatch implements WatchSink {
  readonly #number: number;
  readonly #owner: PlaceStore;
  #leave: (() => void) | null = null;
  #changes: StoredChange[] = [];
  #letters = 0;
  #end: { readonly code: string | null; readonly message: string } | null = null;
  #isOver = false;

  constructor(number: number, owner: PlaceStore) {
    this.#number = number;
    this.#owner = owner;
  }

  begun(leave: () => void): void {
    this.#leave = leave;
    if (this.#isOver) leave();
  }

  leave(): void {
    this.#isOver = true;
    this.#changes = [];
    this.#leave?.();
  }

  refuse(error: unknown): void {
    const { code, message } = error instanceof StoreError ? error : { code: "FAILED", message: String(error) };
    this.end(code, message);
  }

  begin(at: number): void {
    if (!this.#isOver) this.#owner.tell(this.#number, TOLD.begin, (flat) => flat.push(at));
  }

  push(change: StoredChange): boolean {
    if (this.#isOver || this.#end !== null) return false;
    const letters = change.key.length + (change.text?.length ?? 0);
    const isFull = this.#changes.length >= MAX_CHANGES || this.#letters + letters > MAX_CHANGE_LETTERS;
    if (isFull && this.#changes.length > 0) return false;
    this.#changes.push(change);
    this.#letters += letters;
    this.flush();
    return true;
  }

  end(code: string | null, message: string): void {
    if (this.#isOver) return;
    this.#end ??= { code, message };
    this.flush();
  }

  /** Sends as much as the place takes. */
  flush(): void {
    let sent = 0;
    while (sent < this.#changes.length && this.#owner.hasRoom) {
      const change = this.#changes[sent++] as StoredChange;
      this.#letters -= change.key.length + (change.text?.length ?? 0);
      this.#owner.tell(this.#number, TOLD.change, (flat) => pushChange(flat, change));
    }
    if (sent > 0) this.#changes = this.#changes.slice(sent);
    if (this.#end === null || this.#changes.length > 0) return;
    const { code, message } = this.#end;
    this.#isOver = true;
    this.#owner.ended(this.#number);
    this.#owner.tell(this.#number, TOLD.end, (flat) => flat.push(code, message));
  }
}

/** Of a module's process, which may send anything: text that is not JSON would break all who read it. */
function mustBeJson({ mutations }: Commit): void {
  for (const mutation of mutations) {
    if (mutation.kind !== "set" && mutation.kind !== "patch") continue;
    try {
      JSON.parse(mutation.text);
    } catch {
      throw new StoreError("INVALID_VALUE", `the value for "${mutation.key}" is not JSON`);
    }
  }
}

function then<T, R>(value: Awaitable<T>, use: (value: T) => R): Awaitable<R> {
  return value instanceof Promise ? value.then(use) : use(value);
}
