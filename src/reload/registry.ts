/**
 * All modules of a server: the serving version of each, and the way to the next set (docs/reloads.md). `ReloadQueue`
 * lets one reload run at a time.
 */
import { describeFailure } from "./verdict/failure-text";
import type { ServerLog } from "../observe/log/log";
import type { LeakSnapshot } from "../observe/snapshot";
import { BackgroundRole } from "../module/background";
import type { Generation } from "../module/generation";
import { approvedModule, type ModuleEntry } from "./entry";
import type { ApprovedModule } from "./versions/approved";
import { Collector } from "../module/graph/collector";
import { addWatched } from "../module/build/inputs";
import { writeKeptBuilds } from "../module/build/kept-build";
import { type LeftBehind, leftBehindText } from "../module/graph/leaks";
import { Lives } from "./life/lives";
import type { LoadSettings, ModuleSet, RegistryOptions } from "./module-set";
import { loadApproved, runReload } from "./reload";
import { ReloadTotals } from "./verdict/totals";
import { EVERYTHING, type ReloadOrder } from "./order";
import { asHost } from "../system/leave-graph";
import { hostSettings } from "../module/shape/settings";
import { SharedStore } from "../module/graph/shared";
import type { Verdict } from "./verdict/verdict";

const ROOM_WAIT_MS = 1000;

export class Registry implements ModuleSet {
  readonly options: RegistryOptions;
  readonly entries = new Map<string, ModuleEntry>();
  readonly remembered: Map<string, ApprovedModule>;
  readonly totals = new ReloadTotals();
  current: LoadSettings;
  /** Connections and streams cut since the start because their version had to go. */
  cutCount = 0;
  #lastId = 0;
  #overlooked: ReadonlySet<string> = new Set();
  #isClosed = false;
  #isReloading = false;
  readonly #retiring = new Map<Generation, Promise<void>>();
  readonly shared: SharedStore;
  readonly lives: Lives;
  readonly #collector: Collector;
  /** The things that versions left behind and no verdict has reported yet, by module. */
  readonly #left = new Map<string, string[]>();

  constructor(options: RegistryOptions) {
    this.options = options;
    this.shared = new SharedStore(options.log);
    const { host, log, background = new BackgroundRole() } = options;
    this.lives = new Lives({ entries: this.entries, background, host, log });
    this.#collector = new Collector({
      leaked: (leak) => this.#tellLeak(leak),
      holders: {
        isMeant: (id) => this.shared.isHeldFrom(id),
        reachable: (module) => this.shared.reachableFrom(module),
      },
    });
    this.remembered = new Map(Object.entries(options.remembered ?? {}));
    const { settings, shipped, use, drainMs, loadMs, maxLiveGenerations, places, environment } = options;
    this.current = {
      settings,
      shipped,
      ...(use === undefined ? null : { use }),
      drainMs,
      loadMs,
      maxLiveGenerations,
      ...(places === undefined ? null : { places }),
      ...(environment === undefined ? null : { environment }),
    };
  }

  /**
   * Loads new and changed modules, unloads removed ones. One at a time: the caller queues.
   *
   * @param next the settings of `order.next`. A module gets its new settings with its new version. One that fails keeps
   *   its old version and settings, and the next reload tries it again. null: unchanged
   * @returns the verdict; it never rejects for a module's fault
   * @throws UserError if the modules folder cannot be read, if a new module in `next.use` has no middleware, or if
   *   another process refuses the whole reload. Nothing has changed then, settings included
   */
  async reload(order: ReloadOrder = EVERYTHING, next: LoadSettings | null = null): Promise<Verdict> {
    if (this.#isReloading) throw new Error("A reload is under way already.");
    this.#isReloading = true;
    const startedMs = performance.now();
    try {
      const verdict = await runReload(this, order, next);
      this.totals.note(verdict);
      return verdict;
    } catch (error) {
      this.totals.noteRefused(`ERR ${describeFailure(error)}\n`, performance.now() - startedMs);
      throw error;
    } finally {
      this.#isReloading = false;
      this.#tellLeft();
    }
  }

  /**
   * In place of the first reload: serves exactly these versions, without a look at the disk or the other processes. The
   * next reload looks at the disk.
   *
   * @param approved the result of `approved` in another process of this server, or in the server before its restart
   * @param isResumed it was the server before its restart: shipped modules come from this hrmr
   * @returns the verdict; not ok if a version that serves elsewhere could not be started here
   */
  load(approved: readonly ApprovedModule[], isResumed = false): Promise<Verdict> {
    return loadApproved(this, approved, isResumed);
  }

  /** The serving versions, in the order of their arrival, for a process that has to serve the same. Plain data. */
  approved(): ApprovedModule[] {
    return [...this.entries.values()].map(approvedModule);
  }

  /** The files that the modules were built from, for `--watch`: names in a folder, by its absolute path. Plain data. */
  inputs(): Record<string, string[]> {
    const watched: Record<string, string[]> = {};
    for (const { built } of this.entries.values())
      if (built !== null) addWatched(built.inputs, this.options.stateDir, watched);
    return watched;
  }

  nextId(): number {
    return ++this.#lastId;
  }

  overlooked(sentences: readonly string[]): void {
    for (const sentence of sentences) if (!this.#overlooked.has(sentence)) this.options.log.warn(sentence);
    this.#overlooked = new Set(sentences);
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

  /** Disposes all modules at once, after the drain and after `lives.close`. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#collector.close();
    writeKeptBuilds();
    for (const entry of this.entries.values()) {
      for (const generation of [...entry.old, ...(entry.live === null ? [] : [entry.live])]) {
        generation.cutAll("The server shuts down.");
        if (generation !== entry.live) continue;
        entry.live = null;
        await this.#dispose(generation);
      }
    }
    await Promise.all(this.#retiring.values());
    await this.shared.close(this.current.loadMs);
  }

  /** Versions that were disposed and are still in memory, oldest first. */
  leaks(): LeakSnapshot[] {
    return this.#collector.leaks();
  }

  disposed(generation: Generation, left: LeftBehind): void {
    this.options.store?.forget(generation.id);
    if (this.#isClosed) return;
    const { name, number, id, remains } = generation;
    this.#collector.disposed({ module: name, generation: number, id, remains, left });
    const text = leftBehindText(left);
    if (text !== null) this.#left.set(name, [...(this.#left.get(name) ?? []), `v${number} left ${text}`]);
    if (!this.#isReloading) this.#tellLeft();
  }

  takeLeftBehind(name: string): string[] {
    const notes = this.#left.get(name) ?? [];
    this.#left.delete(name);
    return notes;
  }

  /** Logs things left by versions whose reload has been reported already. */
  #tellLeft(): void {
    for (const [name, notes] of this.#left) this.options.log.withFields({ module: name }).warn(notes.join("; "));
    this.#left.clear();
  }

  #tellLeak({ module, generation, why }: LeakSnapshot): void {
    this.options.log.withFields({ module, generation }).warn(`was disposed and cannot be freed: ${why}`);
  }

  /**
   * Makes room for one more version: a client that never leaves must not collect versions. The oldest one gets a moment
   * to finish its calls, so that reloads in quick succession fail no request. Then it is cut.
   */
  async makeRoom(entry: ModuleEntry): Promise<void> {
    const { maxLiveGenerations } = this.current;
    for (const oldest of entry.old) {
      // The swap makes the live version an old one, and adds the next.
      if (entry.old.size + 2 <= maxLiveGenerations) return;
      const retired = this.#retiring.get(oldest) ?? Promise.resolve();
      if (!oldest.isAllEndless) await Promise.race([retired, Bun.sleep(ROOM_WAIT_MS)]);
      if (oldest.isDisposed) continue;
      const count = oldest.cutAll(
        `${oldest.name} v${oldest.number} was the oldest of more than ${maxLiveGenerations} versions.`,
      );
      this.cutCount += count;
      if (count > 0) this.#logOf(oldest).warn(`${count} still under way cut, too many versions live`);
      await retired;
    }
  }

  async #drainAndDispose(entry: ModuleEntry, generation: Generation): Promise<void> {
    const startedAt = performance.now();
    const drainMs = hostSettings(generation.spec.config).drainMs ?? this.current.drainMs;
    if (!this.entries.has(entry.name)) this.#cutRemoved(entry, drainMs);
    await generation.drain(drainMs, (count) => {
      this.cutCount += count;
      this.#logOf(generation).warn(`${count} still under way after ${drainMs} ms were cut`);
    });
    const hadToWait = performance.now() - startedAt > 1;
    // What its stop waits for would end with it.
    await this.lives.left(generation);
    await this.#dispose(generation);
    entry.old.delete(generation);
    entry.gone.add(generation.figures);
    if (hadToWait) this.#logOf(generation).info("has drained and is freed");
  }

  /** A module that was removed must not go on acting for as long as somebody reads a stream of any of its versions. */
  #cutRemoved({ name, old }: ModuleEntry, drainMs: number): void {
    if (drainMs === 0) return;
    const cut = (): void => {
      for (const generation of old) {
        const count = generation.cutAll(`${name} was removed, and ${drainMs} ms later this was still under way.`);
        this.cutCount += count;
        if (count > 0)
          this.#logOf(generation).warn(`${count} still under way ${drainMs} ms after its removal were cut`);
      }
    };
    asHost(() => setTimeout(cut, drainMs).unref());
  }

  #logOf({ name, number }: Generation): ServerLog {
    return this.options.log.withFields({ module: name, generation: number });
  }

  async #dispose(generation: Generation): Promise<void> {
    try {
      this.disposed(generation, await generation.dispose());
    } catch (error) {
      this.#logOf(generation).warn(`dispose failed: ${error instanceof Error ? error.message : String(error)}`);
    }
    // The module was removed, and was not put back meanwhile.
    const isGone = !this.#isClosed && !this.entries.has(generation.name);
    if (generation.needsHost) await this.options.host.retire(generation.id, isGone);
    const others = [...this.#retiring.keys()].some((each) => each !== generation && each.name === generation.name);
    if (isGone && !others) await this.shared.closeOf(generation.name, this.current.loadMs);
  }
}
