/**
 * All modules of a server: which version of each serves, and how the next set comes to serve (DESIGN section 5).
 * One reload runs at a time; those asked for meanwhile become one more, and each caller gets the verdict of the reload
 * that covered its wish.
 */
import type { ServerLog } from "../observe/log";
import type { Generation } from "./generation";
import type { ModuleEntry, ModuleSet, RegistryOptions } from "./module-set";
import { runReload } from "./reload";
import type { Verdict } from "./verdict";

const GC_QUIET_MS = 300;
const DISPOSALS_PER_GC = 250;
const ROOM_WAIT_MS = 1000;

interface Waiting {
  names: Set<string> | null;
  readonly done: PromiseWithResolvers<Verdict>;
}

export class Registry implements ModuleSet {
  readonly options: RegistryOptions;
  readonly entries = new Map<string, ModuleEntry>();
  lastVerdict: { verdict: Verdict; at: Date } | null = null;
  /** Connections and streams cut since the start because their version had to go. */
  cutCount = 0;
  #lastId = 0;
  #isRunning = false;
  #next: Waiting | null = null;
  #isClosed = false;
  readonly #retiring = new Map<Generation, Promise<void>>();
  #gcTimer: Timer | null = null;
  #uncollected = 0;

  constructor(options: RegistryOptions) {
    this.options = options;
  }

  /**
   * Loads what is new or changed, unloads what is gone.
   *
   * @param names only these modules; null: all
   * @returns the verdict of the reload that covered this call; it never rejects for a module's fault
   */
  reload(names: readonly string[] | null = null): Promise<Verdict> {
    if (this.#isRunning) return this.#queue(names).done.promise;
    return this.#run(names === null ? null : new Set(names));
  }

  nextId(): number {
    return ++this.#lastId;
  }

  /** Lets a replaced version finish what is under way, then frees it. */
  retire(entry: ModuleEntry, generation: Generation): Promise<void> {
    entry.old.add(generation);
    generation.announceReplacement();
    const retired = this.#drainAndDispose(entry, generation);
    this.#retiring.set(generation, retired);
    void retired.finally(() => this.#retiring.delete(generation));
    return retired;
  }

  /** Disposes everything at once: the server has drained. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#gcTimer !== null) clearTimeout(this.#gcTimer);
    for (const entry of this.entries.values()) {
      for (const generation of [...entry.old, ...(entry.live === null ? [] : [entry.live])]) {
        generation.cutAll("The server shuts down.");
        if (generation !== entry.live) continue;
        entry.live = null;
        await this.#dispose(generation);
      }
    }
    await Promise.all(this.#retiring.values());
  }

  async #run(names: Set<string> | null): Promise<Verdict> {
    this.#isRunning = true;
    try {
      const verdict = await runReload(this, names);
      this.lastVerdict = { verdict, at: new Date() };
      return verdict;
    } finally {
      this.#isRunning = false;
      const next = this.#next;
      this.#next = null;
      if (next !== null) this.#run(next.names).then(next.done.resolve, next.done.reject);
    }
  }

  #queue(names: readonly string[] | null): Waiting {
    this.#next ??= { names: new Set(), done: Promise.withResolvers() };
    if (names === null) this.#next.names = null;
    else for (const name of names) this.#next.names?.add(name);
    return this.#next;
  }

  /**
   * Sees to it that one more version may come: a client that never leaves must not collect versions. The oldest gets a moment to
   * finish what has an end, so that reloads in quick succession fail no request; then it is cut.
   */
  async makeRoom(entry: ModuleEntry): Promise<void> {
    const { maxLiveGenerations } = this.options;
    for (const oldest of entry.old) {
      // The live version becomes an old one, and the next one comes.
      if (entry.old.size + 2 <= maxLiveGenerations) return;
      const retired = this.#retiring.get(oldest) ?? Promise.resolve();
      if (!oldest.isAllEndless) await Promise.race([retired, Bun.sleep(ROOM_WAIT_MS)]);
      if (oldest.isDisposed) continue;
      const count = oldest.cutAll(`${oldest.name} v${oldest.number} was the oldest of more than ${maxLiveGenerations} versions.`);
      this.cutCount += count;
      if (count > 0) this.#logOf(oldest).warn(`${count} still under way cut, too many versions live`);
      await retired;
    }
  }

  async #drainAndDispose(entry: ModuleEntry, generation: Generation): Promise<void> {
    const startedAt = performance.now();
    await generation.drain(this.options.drainMs, (count) => {
      this.cutCount += count;
      this.#logOf(generation).warn(`${count} still under way after ${this.options.drainMs} ms were cut`);
    });
    const hadToWait = performance.now() - startedAt > 1;
    await this.#dispose(generation);
    entry.old.delete(generation);
    if (hadToWait) this.#logOf(generation).info("has drained and is freed");
  }

  #logOf({ name, number }: Generation): ServerLog {
    return this.options.log.withFields({ module: name, generation: number });
  }

  async #dispose(generation: Generation): Promise<void> {
    try {
      await generation.dispose();
    } catch (error) {
      this.#logOf(generation).warn(`dispose failed: ${error instanceof Error ? error.message : String(error)}`);
    }
    if (generation.needsPool) await this.options.host.retire(generation.id);
    this.#collectSoon();
  }

  /**
   * An old graph is garbage that only a full collection finds; without one memory grows four- to sevenfold. A full one stops the
   * loop for some 10 ms, so it waits until the reloads pause; within a long burst of them it comes now and then.
   */
  #collectSoon(): void {
    if (this.#isClosed) return;
    if (this.#gcTimer !== null) clearTimeout(this.#gcTimer);
    this.#gcTimer = setTimeout(() => this.#collect(), ++this.#uncollected >= DISPOSALS_PER_GC ? 0 : GC_QUIET_MS);
    // The short, concurrent kind keeps a burst from piling up.
    setTimeout(() => Bun.gc(false), 0);
  }

  #collect(): void {
    this.#gcTimer = null;
    this.#uncollected = 0;
    Bun.gc(true);
  }
}
