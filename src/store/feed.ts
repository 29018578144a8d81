/** Durable changes to the watches, in the order of their versions. */
import type { StoredChange, StoreVersion, WatchSink, WatchWish } from "../module/store/port";
import { storeError } from "./writer";
import type { Backend } from "./backend";

/** Changes that are read from the log at a time. */
const STEP = 1000;

interface Watch {
  readonly owner: StoreVersion;
  readonly wish: WatchWish;
  readonly sink: WatchSink;
  /** It has all changes up to this version. */
  at: number;
  /** "log": it gets changes from the log until it has all. "full": its sink has no room. */
  state: "live" | "log" | "full" | "over";
}

export class Feed {
  readonly #changesAfter: Backend["changesAfter"];
  readonly #watches = new Set<Watch>();
  /** By module: the version that serves, or has served last. */
  readonly #served = new Map<string, number>();
  /** Watches that ended since changes were lost. */
  lost = 0;
  /** Of the newest change that the watches were told. */
  version: number;

  constructor(version: number, changesAfter: Backend["changesAfter"]) {
    this.version = version;
    this.#changesAfter = changesAfter;
  }

  get size(): number {
    return this.#watches.size;
  }

  /** @returns ends it, without `end` of the sink. Idempotent */
  add(owner: StoreVersion, wish: WatchWish, sink: WatchSink): () => void {
    const watch: Watch = { owner, wish, sink, at: wish.after ?? this.version, state: "live" };
    this.#watches.add(watch);
    sink.begin(watch.at);
    if (watch.at < this.version) void this.#readLog(watch);
    else if (watch.at > this.version) this.#lose(watch, aheadText(watch.at, this.version));
    return () => {
      watch.state = "over";
      this.#watches.delete(watch);
    };
  }

  publish(changes: readonly StoredChange[]): void {
    const [first, last] = [changes[0]?.version ?? 0, changes.at(-1)?.version ?? 0];
    const isWhole = first <= this.version + 1;
    this.version = Math.max(this.version, last);
    if (this.#watches.size === 0) return;
    for (const watch of this.#watches) {
      if (watch.state !== "live") continue;
      if (isWhole) this.#push(watch, changes);
      // The log has those between.
      else void this.#readLog(watch);
    }
  }

  /** The modules that serve from now on: watches of replaced versions end. */
  follow(modules: Iterable<{ readonly name: string; readonly live: { readonly id: number } | null }>): void {
    const serving = new Map([...modules].map(({ name, live }) => [name, live?.id ?? null]));
    for (const watch of this.#watches) {
      const { module, id } = watch.owner;
      const live = serving.get(module) ?? null;
      const served = this.#served.get(module) ?? 0;
      if (live === null ? id <= served : id < live) this.#end(watch, null, "");
    }
    for (const [name, id] of serving) if (id !== null) this.#served.set(name, id);
  }

  close(code: string | null, message: string): void {
    for (const watch of this.#watches) this.#end(watch, code, message);
  }

  #lose(watch: Watch, message: string): void {
    this.lost++;
    this.#end(watch, "GONE", message);
  }

  #end(watch: Watch, code: string | null, message: string): void {
    if (watch.state === "over") return;
    watch.state = "over";
    this.#watches.delete(watch);
    watch.sink.end(code, message);
  }

  /** @returns false: its sink is full, or it is over */
  #push(watch: Watch, changes: readonly StoredChange[]): boolean {
    for (const change of changes) {
      if (change.version <= watch.at) continue;
      if (isWished(change, watch.wish) && !watch.sink.push(change)) return this.#full(watch);
      watch.at = change.version;
    }
    return true;
  }

  /** A reader that has room again gets the rest from the log, if it is still there. */
  #full(watch: Watch): false {
    if (watch.sink.onRoom === undefined) this.#lose(watch, TOO_SLOW);
    if (watch.state === "over") return false;
    watch.state = "full";
    watch.sink.onRoom = () => {
      if (watch.state === "full") void this.#readLog(watch);
    };
    return false;
  }

  async #readLog(watch: Watch): Promise<void> {
    watch.state = "log";
    try {
      while (isReading(watch)) {
        const found = this.#changesAfter(watch.at, STEP);
        const changes = found instanceof Promise ? await found : found;
        if (!isReading(watch)) return;
        if (changes === null) return this.#lose(watch, NOT_KEPT);
        if (!this.#push(watch, changes)) return;
        if (changes.length < STEP && watch.at >= this.version) watch.state = "live";
        else if (changes.length === 0) watch.at = this.version;
      }
    } catch (error) {
      const { code, message } = storeError(error);
      this.#end(watch, code, message);
    }
  }
}

const TOO_SLOW = "the watch was read too slowly, and changes are lost. Read the documents again, then watch";
const NOT_KEPT =
  "changes behind that version are not kept any more (`store.keptChanges`). Read the documents again, then watch";

function aheadText(at: number, version: number): string {
  return `the newest version of the store is ${version}, and not ${at}: it was restored, or is another one. Read the documents again, then watch`;
}

function isReading(watch: Watch): boolean {
  return watch.state === "log";
}

function isWished({ collection, key }: StoredChange, wish: WatchWish): boolean {
  if (collection !== wish.collection) return false;
  return wish.key === null ? key.startsWith(wish.prefix) : key === wish.key;
}
