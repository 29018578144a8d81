/**
 * Resources that the host keeps for modules, over their versions: `context.shared`. A resource belongs to no version,
 * stays open when its version leaves, and is closed when the server ends.
 */
import type { LoadSpec } from "../version";
import type { SharedSnapshot } from "../../observe/snapshot";
import type { Log, SharedResources, SharedScope } from "../contract";
import { asHost } from "../../system/leave-graph";

type Close = (value: unknown) => unknown;

/** The load of a module that opens it. */
type SharedUser = Pick<LoadSpec, "name" | "generation" | "id">;

interface Resource {
  readonly name: string;
  readonly module: string | null;
  readonly opener: SharedUser;
  readonly since: Date;
  isOpen: boolean;
  /** The loads that wait for it. */
  readonly waiting: Set<number>;
  value: Promise<unknown>;
  /** The newest version's, so that the version before can be freed. */
  close: { readonly by: SharedUser; readonly run: Close } | null;
}

/** All resources of one thread. */
export class SharedStore {
  /** By module and name, in the order of their opening. */
  readonly #resources = new Map<string, Resource>();
  readonly #log: Log;
  /** Resources that are being closed: a name may be open only once. */
  readonly #closing = new Map<string, Promise<unknown>>();
  #isClosed = false;

  constructor(log: Log) {
    this.#log = log;
  }

  /** `context.shared` of one load. */
  for(user: SharedUser): SharedResources {
    return { ...this.#scope(user, user.name), global: this.#scope(user, null) };
  }

  snapshot(): SharedSnapshot[] {
    return [...this.#resources.values()].map(({ name, module, opener, since, isOpen }) => ({
      name,
      module,
      openedBy: { module: opener.name, generation: opener.generation },
      since: since.toISOString(),
      isOpen,
    }));
  }

  /**
   * Whether an open resource was opened by that load, or will be closed by its code. That code stays in memory until
   * then.
   */
  isHeldFrom(id: number): boolean {
    return [...this.#resources.values()].some(({ opener, close }) => opener.id === id || close?.by.id === id);
  }

  /** @returns `context.shared "db" of chat` for each resource that a module can put objects into */
  reachableFrom(module: string): string[] {
    return [...this.#resources.values()].filter((each) => each.module === null || each.module === module).map(labelOf);
  }

  /** Names of the open resources of a module that is removed. */
  openOf(module: string): { readonly own: string[]; readonly global: string[] } {
    const all = [...this.#resources.values()];
    return {
      own: all.filter((each) => each.module === module).map(({ name }) => name),
      global: all.filter((each) => each.module === null && each.opener.name === module).map(({ name }) => name),
    };
  }

  /**
   * Closes the resources that only this module can reach, the last opened first. Never rejects. @param timeoutMs as for
   * `close`
   */
  async closeOf(module: string, timeoutMs: number): Promise<void> {
    for (const name of this.openOf(module).own.reverse()) await this.#close(keyOf(module, name), timeoutMs);
  }

  /**
   * Closes all, the last opened first. Never rejects: a failure, or one that does not end within `timeoutMs`, is
   * logged.
   *
   * @param timeoutMs for each. In milliseconds. 0 waits for ever.
   */
  async close(timeoutMs: number): Promise<void> {
    this.#isClosed = true;
    for (const key of [...this.#resources.keys()].reverse()) await this.#close(key, timeoutMs);
  }

  /** The load is over. If only it waited for a resource, which may never open, the next load does not wait for that. */
  leave(id: number): void {
    for (const [key, { isOpen, waiting }] of this.#resources) {
      if (!waiting.delete(id) || isOpen || waiting.size > 0) continue;
      void this.#close(key, 0);
    }
  }

  #scope(user: SharedUser, module: string | null): SharedScope {
    return {
      open: (name, open, close) => this.#open(user, module, name, open, close) as Promise<never>,
      close: (name) => this.#close(keyOf(module, name), 0),
    };
  }

  #open(user: SharedUser, module: string | null, name: unknown, open: unknown, close: unknown): Promise<unknown> {
    if (typeof name !== "string" || typeof open !== "function") {
      const example = 'open("db", () => new Database(path))';
      return Promise.reject(new TypeError(`context.shared.open takes a name and a function that opens it: ${example}`));
    }
    if (this.#isClosed)
      return Promise.reject(new Error(`context.shared "${name}" cannot be opened: the server shuts down.`));
    const key = keyOf(module, name);
    let resource = this.#resources.get(key);
    if (resource === undefined) {
      const value = this.#begin(key, open as () => unknown);
      resource = {
        name,
        module,
        opener: user,
        since: new Date(),
        isOpen: false,
        waiting: new Set(),
        value,
        close: null,
      };
      this.#resources.set(key, resource);
    }
    if (!resource.isOpen) resource.waiting.add(user.id);
    if (typeof close === "function") resource.close = { by: user, run: close as Close };
    return resource.value;
  }

  #begin(key: string, open: () => unknown): Promise<unknown> {
    const before = this.#closing.get(key);
    // In the host's own context: in the module's, it would be closed with its version.
    const value = asHost(async () => (before === undefined ? open() : before.then(open)));
    value.then(
      () => this.#opened(key, value),
      () => {
        // The next request tries again.
        if (this.#resources.get(key)?.value === value) this.#resources.delete(key);
      },
    );
    return value;
  }

  #opened(key: string, value: Promise<unknown>): void {
    const resource = this.#resources.get(key);
    if (resource?.value !== value) return;
    resource.isOpen = true;
    resource.waiting.clear();
  }

  /** @returns whether there was one */
  async #close(key: string, timeoutMs: number): Promise<boolean> {
    const resource = this.#resources.get(key);
    if (resource === undefined) return false;
    this.#resources.delete(key);
    const closing = asHost(async () => (resource.close?.run ?? closeItself)(await resource.value));
    if (resource.isOpen)
      this.#closing.set(
        key,
        closing.catch(() => {}),
      );
    try {
      if ((await within(closing, timeoutMs)) === LATE) {
        this.#log.warn(`${labelOf(resource)} did not close within ${timeoutMs} ms, and is left`);
      }
    } catch (error) {
      // A failed `open` was already reported to its caller.
      if (resource.isOpen) this.#log.warn(`${labelOf(resource)} could not be closed:`, error);
    } finally {
      this.#closing.delete(key);
    }
    return true;
  }
}

/** A connection that nobody closes would go on calling the code of a module that is gone. */
const CLOSERS = [Symbol.asyncDispose, Symbol.dispose, "close"] as const;

function closeItself(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  for (const name of CLOSERS) {
    const close: unknown = Reflect.get(value, name);
    if (typeof close === "function") return close.call(value) as unknown;
  }
  return undefined;
}

const LATE = Symbol("late");

async function within(work: Promise<unknown>, timeoutMs: number): Promise<unknown> {
  if (timeoutMs === 0) return work;
  const late = Promise.withResolvers<typeof LATE>();
  const timer = asHost(() => setTimeout(() => late.resolve(LATE), timeoutMs));
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
    work.catch(() => {});
  }
}

function keyOf(module: string | null, name: string): string {
  return `${module ?? ""}\0${name}`;
}

function labelOf({ module, name }: Resource): string {
  return module === null ? `context.shared.global "${name}"` : `context.shared "${name}" of ${module}`;
}
