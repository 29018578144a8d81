/**
 * Loads generations into one place and retires them, one after another. Knows which ones the place has, and loads them
 * again after its replacement.
 */
import { ModuleError } from "../../module/graph/describe-error";
import type { RemoteShape } from "../../module/graph/remote";
import { HandlerError, HostLostError } from "../errors";
import type { StoredState } from "../process/handoff-file";
import type { StopReason } from "../../module/contract";
import type { TaskDone, FromPlace, ToPlace } from "./messages";
import type { HostPolicy, KeptPlace } from "./policy";
import type { LoadSpec } from "../../module/version";

interface Task {
  readonly message: Extract<ToPlace, { type: "import" | "load" | "handoff" | "goLive" | "endLife" | "retire" }>;
  readonly id: number;
  /** null: the place starts again and loads its old generations. */
  readonly done: PromiseWithResolvers<TaskDone> | null;
}

export interface TasksOwner {
  readonly policy: Pick<HostPolicy, "notRestored">;
  readonly loadTimeoutMs: number;
  readonly killGraceMs: number;
  /** A generation was loaded again into a restarted place. */
  restored(id: number): void;
}

const NOTHING: TaskDone = { type: "done", notes: [] };

export class KeeperTasks {
  /** Ids of the generations that the place can run. */
  readonly loaded = new Set<number>();
  readonly #owner: TasksOwner;
  readonly #place: KeptPlace;
  readonly #post: (message: ToPlace) => void;
  /** The first one is running if `#sentAt` is set. */
  #queue: Task[] = [];
  #sentAt: number | null = null;
  /** Generations that failed to load here. A restarted place does not try them again by itself. */
  readonly #refused = new Set<number>();
  /** The limits for steps of generations that have their own. In milliseconds. */
  readonly #loadMs = new Map<number, number>();
  #isUp = false;
  #closed: Error | null = null;

  constructor(owner: TasksOwner, place: KeptPlace, post: (message: ToPlace) => void) {
    this.#owner = owner;
    this.#place = place;
    this.#post = post;
  }

  get isIdle(): boolean {
    return this.#queue.length === 0;
  }

  get isUnderWay(): boolean {
    return this.#sentAt !== null;
  }

  /** Lets the next place try again a generation that could not be loaded. */
  forgive(id: number): void {
    this.#refused.delete(id);
  }

  /** Whether the place has the generation, or will have it. */
  mayServe(id: number): boolean {
    return !this.#refused.has(id);
  }

  /** @returns its shape. Rejects as `load`. */
  async import(spec: LoadSpec): Promise<RemoteShape> {
    const { shape } = await this.#add({ type: "import", spec }, spec.id);
    if (shape === undefined)
      throw new Error("An import was answered without a shape. This is a bug in hrmr; please report it.");
    return shape;
  }

  /**
   * @param handed the state of the version before, from another process; undefined: none
   * @returns notes for the verdict. Rejects with a ModuleError, or a HostLostError if the load ended the place.
   */
  async load(spec: LoadSpec, previousId: number | null, handed?: StoredState): Promise<readonly string[]> {
    const message = { type: "load", spec, previousId, ...(handed === undefined ? null : { handed }) } as const;
    return (await this.#add(message, spec.id)).notes;
  }

  /** @returns null: the module has no handoff. Never rejects. */
  async handoff(id: number): Promise<NonNullable<TaskDone["handoff"]> | null> {
    if (!this.loaded.has(id)) return { error: "it was not loaded" };
    try {
      return (await this.#add({ type: "handoff", id }, id)).handoff ?? null;
    } catch (error) {
      return { error: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Runs the generation's `start`. Rejects with a ModuleError, or a HostLostError if the place is not there. */
  async goLive(id: number): Promise<void> {
    if (!this.loaded.has(id)) throw new HostLostError("its process is not there");
    await this.#add({ type: "goLive", id }, id);
  }

  /** Runs the generation's `stop`. A place that is lost has stopped. Rejects with a ModuleError. */
  async endLife(id: number, reason: StopReason): Promise<void> {
    if (!this.loaded.has(id)) return;
    try {
      await this.#add({ type: "endLife", id, reason }, id);
    } catch (error) {
      if (!(error instanceof HostLostError)) throw error;
    }
  }

  /** Resolves when the generation is gone from the place. */
  async retire(id: number, isGone = false): Promise<void> {
    this.loaded.delete(id);
    try {
      await this.#add({ type: "retire", id, isGone }, id);
    } catch (error) {
      // A lost place has no generations any more.
      if (!(error instanceof HostLostError)) throw error;
    } finally {
      this.#refused.delete(id);
      this.#loadMs.delete(id);
    }
  }

  /** The place has started (again). @param generations generations to load besides the waiting tasks */
  restore(generations: readonly LoadSpec[]): void {
    const pending = new Set(this.#queue.map((task) => task.id));
    const restored: Task[] = [];
    for (const spec of generations) {
      if (pending.has(spec.id) || this.#refused.has(spec.id)) continue;
      restored.push({ message: { type: "load", spec, previousId: null }, id: spec.id, done: null });
    }
    this.#queue = [...restored, ...this.#queue];
    this.#isUp = true;
    this.#next();
  }

  receive(message: Extract<FromPlace, { type: "stage" | "done" | "failed" }>): void {
    if (message.type === "stage") {
      this.#sentAt = performance.now();
      return;
    }
    const task = this.#queue.shift();
    this.#sentAt = null;
    if (task !== undefined) {
      if (message.type === "done") this.#succeed(task, message);
      else this.#fail(task, errorOf(message));
    }
    this.#next();
  }

  /** @param isCallRunning a handler is on the place's stack, so the task has had no chance yet */
  isOverdue(now: number, isCallRunning: boolean): boolean {
    const task = this.#queue[0];
    if (this.#sentAt === null || task === undefined) return false;
    if (isCallRunning) this.#sentAt = now;
    // The place keeps the deadline itself unless it is stuck.
    return now - this.#sentAt >= this.#limitMs(task) + 2 * this.#owner.killGraceMs;
  }

  /** The limit for each step of a task. The handoff has the limit of the version before. */
  #limitMs({ message, id }: Task): number {
    const ids = message.type === "load" && message.previousId !== null ? [id, message.previousId] : [id];
    return Math.max(
      ...ids.map((each) => this.#loadMs.get(each) ?? this.#owner.loadTimeoutMs).map((ms) => (ms === 0 ? Infinity : ms)),
    );
  }

  /**
   * The place is gone.
   *
   * @param blame the error for the running task. If the place had not started yet, all waiting tasks fail with it too.
   *              null: no task is to blame, and the next place runs them again
   */
  interrupt(blame: HostLostError | null): void {
    const queue = this.#queue;
    const current = this.isUnderWay ? queue[0] : undefined;
    const wasUp = this.#isUp;
    this.loaded.clear();
    this.#isUp = false;
    this.#sentAt = null;
    this.#queue = [];
    for (const task of queue) {
      const { message, done } = task;
      const isBlamed = task === current || (!wasUp && done !== null && message.type !== "retire");
      if (blame !== null && isBlamed) this.#fail(task, blame);
      else if (message.type === "retire") done?.resolve(NOTHING);
      else if (message.type === "handoff") done?.reject(new HostLostError("its state was lost"));
      // The next place begins anew: whoever wants it live there says so.
      else if (message.type === "goLive" || message.type === "endLife")
        done?.reject(new HostLostError("its process was lost"));
      else if (done !== null) this.#queue.push(task);
    }
  }

  close(reason: Error): void {
    this.#closed = reason;
    const queue = this.#queue;
    this.#queue = [];
    this.loaded.clear();
    for (const task of queue) task.done?.reject(reason);
  }

  #add(message: Task["message"], id: number): Promise<TaskDone> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    if (message.type === "retire") this.#dropUnsent(id);
    const done = Promise.withResolvers<TaskDone>();
    if (message.type === "retire" && !this.#isUp) done.resolve(NOTHING);
    else this.#queue.push({ message, id, done });
    this.#next();
    return done.promise;
  }

  /** Drops a waiting load that is not needed any more. */
  #dropUnsent(id: number): void {
    const current = this.#sentAt === null ? undefined : this.#queue[0];
    this.#queue = this.#queue.filter((task) => task === current || task.id !== id || task.done !== null);
  }

  #next(): void {
    const task = this.#queue[0];
    if (task === undefined || this.#sentAt !== null || !this.#isUp) return;
    const { message } = task;
    if ("spec" in message && message.spec.loadMs !== undefined) this.#loadMs.set(task.id, message.spec.loadMs);
    this.#sentAt = performance.now();
    try {
      this.#post(message);
    } catch (error) {
      // The message cannot be cloned for any place.
      this.#sentAt = null;
      this.#queue.shift();
      this.#fail(task, error instanceof Error ? error : new Error(String(error)));
      this.#next();
    }
  }

  #succeed({ message, id, done }: Task, result: TaskDone): void {
    if (message.type === "load") this.loaded.add(id);
    if (done !== null) done.resolve(result);
    else this.#owner.restored(id);
  }

  #fail({ message, id, done }: Task, error: Error): void {
    if (message.type === "load") this.#refused.add(id);
    if (done !== null) done.reject(error);
    else if (message.type === "load") this.#owner.policy.notRestored(message.spec, error, this.#place);
  }
}

function errorOf({ module, error }: Extract<FromPlace, { type: "failed" }>): Error {
  return module === null ? new HandlerError(error.name, error.message, error.stack) : ModuleError.fromData(module);
}
