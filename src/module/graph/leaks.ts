/**
 * Things that a version leaves behind: resources that the host had to close, and versions that stay in memory because
 * something still refers to them.
 */
import type { LeakSnapshot } from "../../observe/snapshot";
import { isAuthors } from "./globals-watch";

/** The host's knowledge of a load that is over. */
export interface LeakHolders {
  /** Whether a resource that it opened by `context.shared` is still open, so that the load has to stay in memory. */
  isMeant(id: number): boolean;
  /** The shared resources that a module can put objects into, in words: `context.shared "rooms" of chat`. */
  reachable(module: string): readonly string[];
}

/** Resources that a version has not closed itself. */
export interface LeftBehind {
  /** The event of each listener on `process`. The host removed them. */
  readonly listeners: readonly string[];
  /** Names on globalThis that still have its values. They stay. */
  readonly globals: readonly string[];
  /** Armed timers. The host stopped them. */
  readonly timers: number;
  /** Requests of `node:http` under way. The host cut them. */
  readonly requests: number;
  /** Descriptors that closed with it: sockets, servers, files. 0 if not known. */
  readonly descriptors: number;
}

export const NOTHING_LEFT: LeftBehind = { listeners: [], globals: [], timers: 0, requests: 0, descriptors: 0 };

/** @returns "2 timers (stopped), globalThis.cache (stays)"; null: nothing was left */
export function leftBehindText({ listeners, globals, timers, requests, descriptors }: LeftBehind): string | null {
  const parts: string[] = [];
  if (listeners.length > 0)
    parts.push(`${counted(listeners.length, "listener")} on process (${unique(listeners)}; removed)`);
  if (timers > 0) parts.push(`${counted(timers, "timer")} (stopped)`);
  if (requests > 0) parts.push(`${counted(requests, "request")} of node:http (cut)`);
  if (descriptors > 0) parts.push(`${counted(descriptors, "open socket or file", "open sockets or files")} (closed)`);
  const own = globals.filter(isAuthors);
  if (own.length > 0) parts.push(`${own.map((name) => `globalThis.${name}`).join(", ")} (stays)`);
  return parts.length === 0 ? null : parts.join(", ");
}

/** A version that was disposed. */
export interface DisposedVersion {
  readonly module: string;
  readonly generation: number;
  /** The load's number. */
  readonly id: number;
  /** An object that only its code keeps alive. null: its code is not in this process. */
  readonly remains: WeakRef<object> | null;
  readonly left: LeftBehind;
}

interface Watched extends DisposedVersion {
  readonly since: Date;
  collections: number;
}

/** A stale pointer on the stack may keep an object over one collection. Only a reference does so over two. */
const COLLECTIONS_SURVIVED = 2;
/** Above this number, the oldest are forgotten. */
const MAX_WATCHED = 200;

export class LeakWatch {
  #watched: Watched[] = [];
  readonly #holders: LeakHolders;

  constructor(holders: LeakHolders) {
    this.#holders = holders;
  }

  watch(version: DisposedVersion): void {
    if (version.remains === null) return;
    this.#watched.push({ ...version, since: new Date(), collections: 0 });
    if (this.#watched.length > MAX_WATCHED) this.#watched.shift();
  }

  /**
   * Call it a turn of the loop after each full collection.
   *
   * @returns `leaked`: versions that are now known to stay. `isOpen`: some need one more collection to decide
   */
  collected(): { leaked: LeakSnapshot[]; isOpen: boolean } {
    this.#watched = this.#watched.filter(({ remains }) => remains?.deref() !== undefined);
    for (const each of this.#watched) each.collections++;
    return {
      leaked: this.#watched
        .filter((each) => each.collections === COLLECTIONS_SURVIVED && this.#isLeak(each))
        .map((each) => this.#describe(each)),
      isOpen: this.#watched.some(({ collections }) => collections < COLLECTIONS_SURVIVED),
    };
  }

  /** Versions that are known to stay, oldest first. */
  snapshot(): LeakSnapshot[] {
    return this.#watched
      .filter((each) => each.collections >= COLLECTIONS_SURVIVED && this.#isLeak(each))
      .map((each) => this.#describe(each));
  }

  /**
   * Whether a version stays in memory by mistake. A version with open `context.shared` resources is meant to stay. The
   * first version of a module may stay because a package keeps an object on globalThis for all its copies (zod's
   * registry): that does not grow, and the author cannot change it. A second version that stays is a mistake. So is a
   * version held by the author's own names on globalThis.
   */
  #isLeak({ module, generation, id, left }: Watched): boolean {
    if (left.globals.some(isAuthors)) return true;
    const isFirst = !this.#watched.some(
      (each) => each.module === module && each.generation < generation && each.collections >= COLLECTIONS_SURVIVED,
    );
    return !isFirst && !this.#holders.isMeant(id);
  }

  #describe({ module, generation, since, left }: Watched): LeakSnapshot {
    const globals = left.globals.filter(isAuthors).map((name) => `globalThis.${name}`);
    const reachable = this.#holders.reachable(module);
    const modules = reachable.length === 0 ? "" : `, or ${reachable.join(", ")},`;
    const why =
      globals.length > 0
        ? `${globals.join(", ")} may hold something of it: delete it in dispose`
        : `another module${modules} holds a function or an object of it: keep plain data there, or remove it in dispose`;
    return { module, generation, since: since.toISOString(), why };
  }
}

function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}

function unique(names: readonly string[]): string {
  return [...new Set(names)].join(", ");
}
