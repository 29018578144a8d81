/**
 * Calls `start` and `stop` of the modules of this process. It compares the versions that should be started here with
 * the started ones, and takes the steps between them: a version stops before the next one starts, a module starts after
 * those that it needs, and stops before them.
 */
import { describeFailure } from "../verdict/failure-text";
import type { Background } from "../../module/background";
import type { StopReason } from "../../module/contract";
import type { Generation } from "../../module/generation";
import type { LifeSnapshot } from "../../observe/snapshot";
import type { ServerLog } from "../../observe/log/log";
import { asHost } from "../../system/leave-graph";
import { RETRY_DELAYS_MS, retryDelayMs } from "../../system/backoff";
import { Running } from "./running";

interface LivesOwner {
  /** The serving versions, by module, in the order of their arrival. */
  readonly entries: ReadonlyMap<string, { readonly live: Generation | null }>;
  readonly background: Background;
  /** Runs them in the process of the module. */
  readonly host: {
    goLive?(id: number): Promise<void>;
    endLife?(id: number, reason: StopReason): Promise<void>;
  };
  readonly log: ServerLog;
}

/** How long a reload waits for stops and starts, so that its verdict can tell of them. */
const VERDICT_WAIT_MS = 1000;

export class Lives {
  readonly #owner: LivesOwner;
  /** By module. */
  readonly #running = new Map<string, Running>();
  /** Versions that leave, with the reason: before the swap their entries still name them. */
  readonly #leaving = new WeakMap<Generation, StopReason>();
  /** The process serves. */
  #hasBegun = false;
  /** Why all versions stop; null: they do not. */
  #closing: StopReason | null = null;
  /** Why the versions of the background process stop. */
  #released: StopReason = "moved";
  #waiting: (() => void)[] = [];

  constructor(owner: LivesOwner) {
    this.#owner = owner;
    owner.background.watch((left) => this.#roleChanged(left));
  }

  // ---- what happens to the process ----

  /** The process serves: starts what runs in each process. */
  begin(): void {
    this.#hasBegun = true;
    this.#look();
  }

  async #roleChanged(left: StopReason | null): Promise<void> {
    if (left !== null) this.#released = left;
    this.#look();
    if (left !== null) await this.#when(() => !this.#some(({ life }) => life?.background === "server"));
  }

  /** Stops all. Resolves when nothing is started any more. Never rejects. */
  async close(reason: StopReason): Promise<void> {
    this.#closing ??= reason;
    this.#look();
    await this.#when(() => this.#running.size === 0);
  }

  /** No longer waits for starts and stops: the process ends at once. */
  giveUp(): void {
    this.#closing ??= "shutdown";
    for (const running of this.#running.values()) this.#forget(running);
    this.#look();
  }

  // ---- what happens to versions ----

  /** These versions are about to be replaced or removed: their stops begin in this turn of the loop. */
  leave(versions: ReadonlyMap<Generation, StopReason>): void {
    for (const [generation, reason] of versions) if (generation.life !== null) this.#leaving.set(generation, reason);
    if (versions.size > 0) this.#look();
  }

  /**
   * The swap is done: starts the versions that serve from here on. Failed starts of modules that are asked for are tried
   * again at once.
   *
   * @returns their names
   */
  swapped(isAsked: (name: string) => boolean): string[] {
    const failed = [...this.#running.values()].filter(
      (each) => each.phase === "failed" && isAsked(each.generation.name),
    );
    for (const running of failed) this.#forget(running);
    this.#look();
    return failed.map(({ generation }) => generation.name);
  }

  /** Resolves when the version has stopped acting. Never rejects. */
  left(generation: Generation): Promise<void> {
    const running = this.#running.get(generation.name);
    return running?.generation === generation ? running.gone.promise : Promise.resolve();
  }

  /** The process of a module was lost, and the one in its place has loaded this version. */
  restored(id: number): void {
    const running = [...this.#running.values()].find(({ generation }) => generation.id === id);
    // A failed start waits for its next try: it may have caused the loss of the process.
    if (running?.phase !== "started") return;
    this.#forget(running);
    this.#look();
  }

  /** Resolves when no start or stop of these modules is under way, or after a second. */
  async settle(names: readonly string[]): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = asHost(() => setTimeout(late.resolve, VERDICT_WAIT_MS));
    await Promise.race([this.#when(() => names.every((name) => this.#isSettled(name))), late.promise]);
    clearTimeout(timer);
  }

  /** null: the module has no life in this process. */
  facts(name: string): LifeSnapshot | null {
    const running = this.#running.get(name);
    const wanted = this.#wantedOf(name);
    if (running === undefined) return wanted === null ? null : { state: "waiting", error: null, nextTryAt: null };
    const { phase, error, nextTryAtMs } = running;
    return { state: phase, error, nextTryAt: nextTryAtMs === null ? null : new Date(nextTryAtMs).toISOString() };
  }

  // ---- from the present state to the wanted state ----

  #look(): void {
    for (const running of [...this.#running.values()].reverse()) {
      if (!this.#mayStop(running)) continue;
      // A start that failed has nothing to stop.
      if (running.phase === "started") void this.#stop(running);
      else this.#forget(running);
    }
    for (const generation of this.#wanted()) if (this.#mayStart(generation)) void this.#start(new Running(generation));
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  *#wanted(): Iterable<Generation> {
    for (const name of this.#owner.entries.keys()) {
      const generation = this.#wantedOf(name);
      if (generation !== null) yield generation;
    }
  }

  /** The version that should be started here. */
  #wantedOf(name: string): Generation | null {
    const live = this.#owner.entries.get(name)?.live ?? null;
    if (live === null || live.life === null || this.#closing !== null || this.#leaving.has(live)) return null;
    const isHere = live.life.background === "server" ? this.#owner.background.isHere : this.#hasBegun;
    return isHere ? live : null;
  }

  #isDue({ generation }: Running): boolean {
    return this.#wantedOf(generation.name) !== generation;
  }

  #mayStop(running: Running): boolean {
    if (running.isMoving || !this.#isDue(running)) return false;
    const { name } = running.generation;
    // Modules that need it stop first.
    for (const other of this.#running.values())
      if (other !== running && other.generation.needs.includes(name) && this.#isDue(other)) return false;
    return true;
  }

  #mayStart({ name, needs }: Generation): boolean {
    return !this.#running.has(name) && needs.every((need) => this.#isStarted(need));
  }

  /** Whether no module has to wait for this module's start. */
  #isStarted(name: string): boolean {
    const wanted = this.#wantedOf(name);
    const running = this.#running.get(name);
    return wanted === null || (running?.generation === wanted && running.phase === "started");
  }

  /** Whether it waits for no start or stop, only for a later try. */
  #isSettled(name: string): boolean {
    const wanted = this.#wantedOf(name);
    const running = this.#running.get(name);
    if (running !== undefined) return running.generation === wanted && !running.isMoving;
    return wanted === null || wanted.needs.some((need) => !this.#isStarted(need) && this.#isSettled(need));
  }

  #some(isMeant: (generation: Generation) => boolean): boolean {
    return [...this.#running.values()].some(({ generation }) => isMeant(generation));
  }

  /** Resolves when `isTrue` holds after some step. */
  async #when(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  // ---- the steps ----

  async #start(running: Running): Promise<void> {
    const { generation } = running;
    this.#running.set(generation.name, running);
    try {
      await this.#inItsHost(
        generation,
        () => generation.goLive(),
        (id) => this.#owner.host.goLive?.(id),
      );
      if (!this.#isKnown(running)) return;
      if (running.tries > 0) this.#logOf(generation).info("its start has succeeded");
      running.phase = "started";
      running.tries = 0;
      running.error = null;
    } catch (error) {
      if (!this.#isKnown(running)) return;
      this.#failed(running, error);
    }
    this.#look();
  }

  #failed(running: Running, error: unknown): void {
    const delayMs = retryDelayMs(running.tries++);
    running.phase = "failed";
    running.error = describeFailure(error);
    running.nextTryAtMs = Date.now() + delayMs;
    running.timer = asHost(() => setTimeout(() => this.#tryAgain(running), delayMs));
    // After the first tries, an unchanged reason is not logged again: a start may fail for days.
    if (running.tries > RETRY_DELAYS_MS.length && running.told === running.error) return;
    running.told = running.error;
    const log = this.#logOf(running.generation).withFields({ error });
    log.warn(`its start is tried again in ${delayMs / 1000} s, and it serves meanwhile: ${running.error}`);
  }

  #tryAgain(running: Running): void {
    running.timer = null;
    running.nextTryAtMs = null;
    running.phase = "starting";
    void this.#start(running);
  }

  async #stop(running: Running): Promise<void> {
    const { generation } = running;
    const reason = this.#reasonFor(generation);
    running.phase = "stopping";
    try {
      await this.#inItsHost(
        generation,
        () => generation.endLife(reason),
        (id) => this.#owner.host.endLife?.(id, reason),
      );
    } catch (error) {
      this.#logOf(generation).withFields({ error }).warn(describeFailure(error));
    }
    this.#forget(running);
    this.#look();
  }

  /** Whether it was not given up meanwhile. */
  #isKnown(running: Running): boolean {
    return this.#running.get(running.generation.name) === running;
  }

  #forget(running: Running): void {
    if (running.timer !== null) clearTimeout(running.timer);
    if (this.#isKnown(running)) this.#running.delete(running.generation.name);
    running.gone.resolve();
  }

  #reasonFor(generation: Generation): StopReason {
    return this.#leaving.get(generation) ?? this.#closing ?? this.#released;
  }

  async #inItsHost(
    { id, life }: Generation,
    here: () => Promise<void>,
    there: (id: number) => Promise<void> | undefined,
  ): Promise<void> {
    await (life?.host === "process" ? there(id) : here());
  }

  #logOf({ name, number }: Generation): ServerLog {
    return this.#owner.log.withFields({ module: name, generation: number });
  }
}
