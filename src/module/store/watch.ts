/** The iterator of `collection.watch`. It holds a bounded number of changes: a slow reader costs its own watch. */
import type { StoreChange, StoreWatch, WatchOptions } from "../contract";
import { asHost } from "../../system/leave-graph";
import { StoreError } from "./error";
import { mustBeKey } from "./names";
import type { StoredChange, StorePort, StoreVersion, WatchSink, WatchWish } from "./port";
import type { Form } from "./values";

type Next<T> = IteratorResult<StoreChange<T>, undefined>;

interface Waiting<T> {
  resolve(next: Next<T>): void;
  reject(error: StoreError): void;
}

const MAX_CHANGES = 10_000;
/** Of documents and keys. */
const MAX_LETTERS = 8_388_608;
/** Taken changes at the begin of the list, before the rest moves there. */
const MAX_FIRST = 1000;

export function openWatch<T>(port: StorePort, version: StoreVersion, wish: WatchWish, form: Form): StoreWatch<T> {
  return asHost(() => {
    const stream = new WatchStream<T>(form.decode, () => leave());
    const leave = port.watch(version, wish, stream);
    return stream;
  });
}

export function wishOf(collection: string, { key, prefix = "", after }: WatchOptions = {}): WatchWish {
  if (after !== undefined && !(Number.isSafeInteger(after) && after >= 0))
    throw new StoreError("INVALID_VALUE", `"after" is ${Bun.inspect(after)}, and must be a version`);
  return {
    collection,
    key: key === undefined ? null : mustBeKey(key),
    prefix: mustBeKey(prefix),
    after: after ?? null,
  };
}

class WatchStream<T> implements StoreWatch<T>, WatchSink {
  readonly ready: Promise<number>;
  readonly #ready = Promise.withResolvers<number>();
  readonly #decode: Form["decode"];
  readonly #leave: () => void;
  #changes: StoredChange[] = [];
  #first = 0;
  #letters = 0;
  #waiting: Waiting<T>[] = [];
  /** How it has ended; "failed": its reader has not heard of it yet. */
  #state: "open" | "failed" | "over" = "open";
  #error: StoreError | null = null;
  onRoom: (() => void) | null = null;

  /** @param leave called when its reader leaves it, not after `end` */
  constructor(decode: Form["decode"], leave: () => void) {
    this.#decode = decode;
    this.#leave = leave;
    this.ready = this.#ready.promise;
    // Whoever reads the changes gets the error there.
    this.ready.catch(() => {});
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  begin(at: number): void {
    this.#ready.resolve(at);
  }

  next(): Promise<Next<T>> {
    const change = this.#shift();
    if (change !== undefined) {
      if (this.#first === this.#changes.length) this.#hasRoom();
      return Promise.resolve({ done: false, value: this.#changeOf(change) });
    }
    if (this.#state === "failed") {
      this.#state = "over";
      return Promise.reject(this.#error as StoreError);
    }
    if (this.#state === "over") return Promise.resolve(DONE);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(): Promise<Next<T>> {
    this.#changes = [];
    this.#first = 0;
    const wasOpen = this.#state === "open";
    this.end(null, "");
    this.#state = "over";
    if (wasOpen) this.#leave();
    return Promise.resolve(DONE);
  }

  push(change: StoredChange): boolean {
    if (this.#state !== "open") return true;
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) {
      waiting.resolve({ done: false, value: this.#changeOf(change) });
      return true;
    }
    const size = this.#changes.length - this.#first;
    if (size >= MAX_CHANGES || (size > 0 && this.#letters + lettersOf(change) > MAX_LETTERS)) return false;
    this.#changes.push(change);
    this.#letters += lettersOf(change);
    return true;
  }

  end(code: string | null, message: string): void {
    if (this.#state !== "open") return;
    this.#error = code === null ? null : new StoreError(code, message);
    const waiting = this.#waiting;
    this.#waiting = [];
    // A reader that waits hears of the error at once.
    const [first] = waiting;
    this.#state = this.#error !== null && first === undefined ? "failed" : "over";
    this.#ready.reject(this.#error ?? new StoreError("CANCELLED", "the watch ended before it began"));
    for (const each of waiting) {
      if (each === first && this.#error !== null) each.reject(this.#error);
      else each.resolve(DONE);
    }
  }

  #changeOf({ collection, key, kind, text, version }: StoredChange): StoreChange<T> {
    return { collection, key, kind, value: text === null ? null : (this.#decode(text) as T), version };
  }

  #hasRoom(): void {
    const told = this.onRoom;
    this.onRoom = null;
    if (told !== null) asHost(() => queueMicrotask(told));
  }

  #shift(): StoredChange | undefined {
    const change = this.#changes[this.#first];
    if (change === undefined) return undefined;
    this.#letters -= lettersOf(change);
    if (++this.#first === this.#changes.length || this.#first >= MAX_FIRST) {
      this.#changes = this.#changes.slice(this.#first);
      this.#first = 0;
    }
    return change;
  }
}

const DONE = { done: true, value: undefined } as const;

function lettersOf({ key, text }: StoredChange): number {
  return key.length + (text?.length ?? 0);
}
