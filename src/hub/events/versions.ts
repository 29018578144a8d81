/**
 * Controls the events of versions before and after their swap. Before its swap a version's events are held, and its
 * subscriptions have not begun. If the version is refused, both are dropped. Pure.
 */
import type { EventVersion } from "../../module/event/record";

/** How many events a version may emit before it serves. Further ones are dropped. */
const MAX_HELD = 1000;

interface HeldEvent {
  readonly version: EventVersion;
  readonly topic: string;
  readonly text: string;
}

/** A module's versions. */
interface Versions<S> {
  /** The id of the version that serves; null: none does. */
  live: number | null;
  /** The highest id that has served: versions up to it that do not serve have left. */
  last: number;
  /** Of the version that serves. */
  subscriptions: Set<S>;
  /** The version that may serve next. */
  next: { readonly id: number; readonly held: HeldEvent[]; readonly subscriptions: Set<S> } | null;
}

export class VersionGate<S> {
  readonly #modules = new Map<string, Versions<S>>();
  readonly #emit: (event: HeldEvent) => void;
  #released: HeldEvent[] = [];

  /** @param emit gets the held events of a version that serves from now on */
  constructor(emit: (event: HeldEvent) => void) {
    this.#emit = emit;
  }

  /** @returns true: the version does not serve yet, and its event is held */
  holds(event: HeldEvent): boolean {
    const next = this.#next(event.version);
    if (next === null) return false;
    if (next.held.length < MAX_HELD) next.held.push(event);
    return true;
  }

  /** @returns whether its version serves. A subscription of one that does not yet comes with `follow` */
  enter(version: EventVersion, subscription: S): "new" | "live" | "left" {
    const next = this.#next(version);
    if (next !== null) next.subscriptions.add(subscription);
    const module = this.#modules.get(version.module);
    if (next !== null || module === undefined) return "new";
    if (module.live !== version.id) return "left";
    module.subscriptions.add(subscription);
    return "live";
  }

  leave({ module, id }: EventVersion, subscription: S): void {
    const versions = this.#modules.get(module);
    if (versions?.live === id) versions.subscriptions.delete(subscription);
    if (versions?.next?.id === id) versions.next.subscriptions.delete(subscription);
  }

  /**
   * @param modules all that serve, or are being replaced (`id` is null)
   * @returns subscriptions of versions that serve no more, and of those that do from now on
   */
  follow(modules: Iterable<{ readonly module: string; readonly id: number | null }>): { ended: S[]; begun: S[] } {
    const ended: S[] = [];
    const begun: S[] = [];
    const serving = new Map([...modules].map(({ module, id }) => [module, id]));
    for (const [name, versions] of this.#modules) {
      const id = serving.get(name) ?? null;
      if (id === versions.live && id !== null) continue;
      ended.push(...versions.subscriptions);
      versions.subscriptions = new Set();
      versions.live = id;
      // No later call would remove the entry: `modules` no longer names it.
      if (!serving.has(name) && versions.next === null) this.#modules.delete(name);
    }
    for (const [name, id] of serving) {
      if (id === null) continue;
      const versions = this.#of(name);
      versions.live = id;
      versions.last = Math.max(versions.last, id);
      const { next } = versions;
      if (next === null || next.id > id) continue;
      versions.next = null;
      if (next.id !== id) continue;
      versions.subscriptions = next.subscriptions;
      begun.push(...next.subscriptions);
      this.#released.push(...next.held);
    }
    return { ended, begun };
  }

  /** Emits the held events of the versions that serve since `follow`. */
  release(): void {
    const released = this.#released;
    this.#released = [];
    for (const event of released) this.#emit(event);
  }

  /** @returns null: it serves, or has served */
  #next({ module, id }: EventVersion): Versions<S>["next"] {
    const versions = this.#of(module);
    if (id <= versions.last) return null;
    // Of several that were refused one after another, only the newest may still serve.
    if (versions.next === null || versions.next.id < id) versions.next = { id, held: [], subscriptions: new Set() };
    return versions.next.id === id ? versions.next : { id, held: [], subscriptions: new Set() };
  }

  #of(module: string): Versions<S> {
    let versions = this.#modules.get(module);
    if (versions === undefined) {
      versions = { live: null, last: 0, subscriptions: new Set(), next: null };
      this.#modules.set(module, versions);
    }
    return versions;
  }
}
