/**
 * What a version leaves behind when it goes: what the host had to take away, and versions that stay in memory because something else
 * still refers to them.
 */
import type { LeakSnapshot } from "../observe/snapshot";
import { isAuthors } from "./globals-watch";

/** What a version had not put away itself. */
export interface LeftBehind {
  /** Events of listeners on `process`, one a listener. The host took them off. */
  readonly listeners: readonly string[];
  /** Names on globalThis that still have what it set there. They stay. */
  readonly globals: readonly string[];
  /** Armed ones. The host stopped them. */
  readonly timers: number;
  /** Descriptors that closed with it: sockets, servers, files. 0 where that cannot be told. */
  readonly descriptors: number;
}

export const NOTHING_LEFT: LeftBehind = { listeners: [], globals: [], timers: 0, descriptors: 0 };

/** @returns "2 timers (stopped), globalThis.cache (stays)"; null: nothing was left */
export function leftBehindText({ listeners, globals, timers, descriptors }: LeftBehind): string | null {
  const parts: string[] = [];
  if (listeners.length > 0) parts.push(`${counted(listeners.length, "listener")} on process (${unique(listeners)}; removed)`);
  if (timers > 0) parts.push(`${counted(timers, "timer")} (stopped)`);
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
  /** Something that its code keeps alive, and nothing else. null: its code is not in this process. */
  readonly remains: WeakRef<object> | null;
  readonly left: LeftBehind;
}

interface Watched extends DisposedVersion {
  readonly since: Date;
  collections: number;
}

/** A stale pointer on the stack may keep anything over one collection; nothing but a reference does it over two. */
const COLLECTIONS_SURVIVED = 2;
/** Of more than that, the oldest are forgotten. */
const MAX_WATCHED = 200;

export class LeakWatch {
  #watched: Watched[] = [];
  readonly #holders: (id: number) => readonly string[];

  /** @param holders names what of the host holds something of that load: `context.shared "db"` */
  constructor(holders: (id: number) => readonly string[]) {
    this.#holders = holders;
  }

  watch(version: DisposedVersion): void {
    if (version.remains === null) return;
    this.#watched.push({ ...version, since: new Date(), collections: 0 });
    if (this.#watched.length > MAX_WATCHED) this.#watched.shift();
  }

  /**
   * To be called a turn of the loop after each full collection.
   *
   * @returns `leaked`: those that are known to stay from now on. `isOpen`: some can only be told by one more collection
   */
  collected(): { leaked: LeakSnapshot[]; isOpen: boolean } {
    this.#watched = this.#watched.filter(({ remains }) => remains?.deref() !== undefined);
    for (const each of this.#watched) each.collections++;
    return {
      leaked: this.#watched.filter(({ collections }) => collections === COLLECTIONS_SURVIVED).map((each) => this.#describe(each)),
      isOpen: this.#watched.some(({ collections }) => collections < COLLECTIONS_SURVIVED),
    };
  }

  /** Those known to stay, oldest first. */
  snapshot(): LeakSnapshot[] {
    return this.#watched.filter(({ collections }) => collections >= COLLECTIONS_SURVIVED).map((each) => this.#describe(each));
  }

  #describe({ module, generation, id, since, left }: Watched): LeakSnapshot {
    const holders = [...this.#holders(id), ...left.globals.map((name) => `globalThis.${name}`)];
    const why =
      holders.length > 0 ? `${holders.join(", ")} may hold something of it` : "something outside of it holds a function or an object of it";
    return { module, generation, since: since.toISOString(), why };
  }
}

function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}

function unique(names: readonly string[]): string {
  return [...new Set(names)].join(", ");
}
