/** A watch of a client: it ends when the client's token is revoked, and says when changes were missed. */
import type { Collection, StoreChange, StoreEntry, StoreWatch } from "hrmr";
import { isGone } from "../refusal";
import type { WatchGuards } from "./guards";

export interface WatchWish {
  /** Only this key. null: all with the prefix. */
  readonly key: string | null;
  readonly prefix: string;
  /** A version: changes behind it first. null: from now on. */
  readonly after: number | null;
  /** The documents as they are come first, if `after` is null. */
  readonly isFull: boolean;
}

/**
 * "ready": what comes from here on are changes behind this version. "gone": changes before it were missed, since the
 * reader was too slow or away for too long.
 */
export type Told<T> =
  | { readonly kind: "ready"; readonly version: number }
  | { readonly kind: "gone"; readonly version: number }
  | (Pick<StoreChange<T>, "key" | "kind" | "value" | "version"> & {
      /** A document as it is: its version is no place to go on from. */
      readonly isStored?: true;
    });

interface WatchOptions<T> {
  readonly collection: Collection<T>;
  readonly wish: WatchWish;
  readonly guards: WatchGuards;
  /** @throws Refusal if the client may not read it any more */
  readonly check: () => void;
}

export class ClientWatch<T> implements AsyncIterable<Told<T>> {
  readonly #options: WatchOptions<T>;
  #watch: StoreWatch<T> | null = null;
  #guard: { end(): void } | null = null;
  #isClosed = false;
  /** Why it has ended. null: it has not, or by `close`. */
  #refusal: unknown = null;

  constructor(options: WatchOptions<T>) {
    this.#options = options;
  }

  /** Idempotent. The iterator ends, also one that waits. */
  close(): void {
    this.#isClosed = true;
    this.#guard?.end();
    void this.#watch?.return?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Told<T>, void> {
    const { guards, wish } = this.#options;
    this.#guard = guards.add(() => this.#check());
    try {
      let after = wish.after;
      for (;;) {
        try {
          yield* this.#from(after);
          break;
        } catch (error) {
          if (!isGone(error)) throw error;
        }
        if (this.#isClosed) break;
        const version = await this.#now();
        yield { kind: "gone", version };
        after = wish.isFull ? null : version;
      }
      if (this.#refusal !== null) throw this.#refusal;
    } finally {
      this.close();
    }
  }

  async *#from(after: number | null): AsyncGenerator<Told<T>, void> {
    const { wish } = this.#options;
    const watch = this.#open(after);
    const version = await watch.ready;
    if (wish.isFull && after === null) yield* this.#stored();
    if (this.#isClosed) return;
    yield { kind: "ready", version };
    for await (const { key, kind, value, version: at } of watch) {
      this.#check();
      if (this.#isClosed) return;
      yield { kind, key, value, version: at };
    }
  }

  /** The newest version of the store. */
  async #now(): Promise<number> {
    const watch = this.#open(null);
    const version = await watch.ready;
    await watch.return?.();
    return version;
  }

  #open(after: number | null): StoreWatch<T> {
    const { collection, wish } = this.#options;
    const { key, prefix } = wish;
    const watch = collection.watch({
      ...(key === null ? { prefix } : { key }),
      ...(after === null ? null : { after }),
    });
    this.#watch = watch;
    if (this.#isClosed) this.close();
    return watch;
  }

  async *#stored(): AsyncGenerator<Told<T>, void> {
    const { collection, wish } = this.#options;
    const { key, prefix } = wish;
    if (key !== null) {
      const found = await collection.get(key);
      if (found !== null) yield toldOf({ key, ...found });
      return;
    }
    let page = await collection.list({ prefix });
    while (page.length > 0 && !this.#isClosed) {
      this.#check();
      if (this.#isClosed) return;
      for (const entry of page) yield toldOf(entry);
      page = await collection.list({ prefix, after: (page.at(-1) as StoreEntry<T>).key });
    }
  }

  #check(): void {
    if (this.#isClosed) return;
    try {
      this.#options.check();
    } catch (error) {
      this.#refusal = error;
      this.close();
    }
  }
}

function toldOf<T>({ key, value, version }: StoreEntry<T>): Told<T> {
  return { kind: "set", key, value, version, isStored: true };
}
