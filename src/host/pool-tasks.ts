/** Loading into and retiring from one thread, one after another: which generations it has, and how that survives its replacement. */
import type { Log } from "../module/contract";
import { ModuleError } from "../module/describe-error";
import { HandlerError, HostLostError } from "./errors";
import type { ToMain, ToWorker } from "./messages";
import type { LoadSpec } from "./spec";

interface Task {
  readonly message: Extract<ToWorker, { type: "load" | "retire" }>;
  readonly id: number;
  /** null: the thread starts anew and loads what it had. */
  readonly done: PromiseWithResolvers<readonly string[]> | null;
}

interface TasksOwner {
  readonly loadTimeoutMs: number;
  readonly killGraceMs: number;
  readonly log: Log;
  generations(): Iterable<LoadSpec>;
}

export class ThreadTasks {
  /** Ids of the generations that the thread can run. */
  readonly loaded = new Set<number>();
  readonly #thread: number;
  readonly #owner: TasksOwner;
  readonly #post: (message: ToWorker) => void;
  /** The first one is under way if `#sentAt` is set. */
  #queue: Task[] = [];
  #sentAt: number | null = null;
  /** What failed to load here; a thread that starts anew does not try again. */
  readonly #refused = new Set<number>();
  /** What a step of these generations may take, where they say it. In milliseconds. */
  readonly #loadMs = new Map<number, number>();
  #isUp = false;
  #closed: Error | null = null;

  constructor(thread: number, owner: TasksOwner, post: (message: ToWorker) => void) {
    this.#thread = thread;
    this.#owner = owner;
    this.#post = post;
  }

  get isIdle(): boolean {
    return this.#queue.length === 0;
  }

  get isUnderWay(): boolean {
    return this.#sentAt !== null;
  }

  /** Whether the thread has the generation, or will have it. */
  mayServe(id: number): boolean {
    return !this.#refused.has(id);
  }

  /** @returns notes for the verdict. Rejects with a ModuleError, or a HostLostError if the load cost the thread its life. */
  load(spec: LoadSpec, previousId: number | null): Promise<readonly string[]> {
    return this.#add({ type: "load", spec, previousId }, spec.id);
  }

  /** Resolves when the generation is gone from the thread. */
  async retire(id: number): Promise<void> {
    this.loaded.delete(id);
    try {
      await this.#add({ type: "retire", id }, id);
    } catch (error) {
      // A thread that is lost has no generations any more.
      if (!(error instanceof HostLostError)) throw error;
    } finally {
      this.#refused.delete(id);
      this.#loadMs.delete(id);
    }
  }

  /** The thread has started (again). */
  restore(): void {
    const pending = new Set(this.#queue.map((task) => task.id));
    const restored: Task[] = [];
    for (const spec of this.#owner.generations()) {
      if (pending.has(spec.id) || this.#refused.has(spec.id)) continue;
      restored.push({ message: { type: "load", spec, previousId: null }, id: spec.id, done: null });
    }
    this.#queue = [...restored, ...this.#queue];
    this.#isUp = true;
    this.#next();
  }

  receive(message: Extract<ToMain, { type: "stage" | "done" | "failed" }>): void {
    if (message.type === "stage") {
      this.#sentAt = performance.now();
      return;
    }
    const task = this.#queue.shift();
    this.#sentAt = null;
    if (task !== undefined) {
      if (message.type === "done") this.#succeed(task, message.notes);
      else this.#fail(task, errorOf(message));
    }
    this.#next();
  }

  /** @param isCallRunning a handler is on the thread's stack, so that the task had no chance yet */
  isOverdue(now: number, isCallRunning: boolean): boolean {
    const task = this.#queue[0];
    if (this.#sentAt === null || task === undefined) return false;
    if (isCallRunning) this.#sentAt = now;
    // The thread keeps the deadline itself, as long as it is not stuck.
    return now - this.#sentAt >= this.#limitMs(task) + 2 * this.#owner.killGraceMs;
  }

  /** For each of a task's steps: the version before hands over in its own time. */
  #limitMs({ message, id }: Task): number {
    const ids = message.type === "load" && message.previousId !== null ? [id, message.previousId] : [id];
    return Math.max(...ids.map((each) => this.#loadMs.get(each) ?? this.#owner.loadTimeoutMs).map((ms) => (ms === 0 ? Infinity : ms)));
  }

  /**
   * The thread is gone.
   *
   * @param blame what the task under way fails with; null: it was not its fault, and the next thread does it again
   */
  interrupt(blame: HostLostError | null): void {
    const current = this.#sentAt === null ? undefined : this.#queue[0];
    this.loaded.clear();
    this.#isUp = false;
    this.#sentAt = null;
    if (current !== undefined && blame !== null) {
      this.#queue.shift();
      this.#fail(current, blame);
    }
    const gone = this.#queue.filter((task) => task.message.type === "retire");
    this.#queue = this.#queue.filter((task) => task.message.type === "load" && task.done !== null);
    for (const task of gone) task.done?.resolve([]);
  }

  close(reason: Error): void {
    this.#closed = reason;
    const queue = this.#queue;
    this.#queue = [];
    this.loaded.clear();
    for (const task of queue) task.done?.reject(reason);
  }

  #add(message: Task["message"], id: number): Promise<readonly string[]> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    if (message.type === "retire") this.#dropUnsent(id);
    const done = Promise.withResolvers<readonly string[]>();
    if (message.type === "retire" && !this.#isUp) done.resolve([]);
    else this.#queue.push({ message, id, done });
    this.#next();
    return done.promise;
  }

  /** What was to be put back and is not wanted any more. */
  #dropUnsent(id: number): void {
    const current = this.#sentAt === null ? undefined : this.#queue[0];
    this.#queue = this.#queue.filter((task) => task === current || task.id !== id || task.done !== null);
  }

  #next(): void {
    const task = this.#queue[0];
    if (task === undefined || this.#sentAt !== null || !this.#isUp) return;
    const { message } = task;
    if (message.type === "load" && message.spec.loadMs !== undefined) this.#loadMs.set(task.id, message.spec.loadMs);
    this.#sentAt = performance.now();
    this.#post(message);
  }

  #succeed(task: Task, notes: readonly string[]): void {
    if (task.message.type === "load") this.loaded.add(task.id);
    task.done?.resolve(notes);
  }

  #fail(task: Task, error: Error): void {
    if (task.message.type === "load") this.#refused.add(task.id);
    if (task.done !== null) return task.done.reject(error);
    this.#owner.log.error(
      `Load ${task.id} could not be put back into pool thread ${this.#thread}, and runs on the others: ${error.message}`,
    );
  }
}

function errorOf({ module, error }: Extract<ToMain, { type: "failed" }>): Error {
  return module === null ? new HandlerError(error.name, error.message, error.stack) : ModuleError.fromData(module);
}
