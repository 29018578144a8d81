/**
 * `run: "pool"`: handlers on threads of their own. A handler that loops for ever costs its own caller an error within
 * its time, and nobody else anything, save those whose handlers had begun on the same thread and wait there: they can't
 * be repeated safely.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "../../module/contract";
import { asHost } from "../../module/graph/leave-graph";
import type { RemoteShape } from "../../module/graph/remote";
import { makePrivateFolder, PRIVATE_FILE } from "../../system/private-files";
import { HostLostError, HostBusyError } from "../errors";
import type { StoredState } from "../process/handoff-file";
import type { TaskDone } from "../remote/messages";
import { type OpenPlace, openWorker, type PlaceFacts } from "../remote/place";
import { type CallHandle, RemoteCall, type RemoteOrder } from "../remote/call";
import { Thread, type ThreadOwner, type ThreadState } from "../remote/keeper";
import { Quarantine, type QuarantineFacts, type QuarantineOptions } from "../quarantine";
import type { LoadSpec } from "../../module/version";

export interface PoolOptions {
  /** How many. At least 1. */
  readonly threads: number;
  /**
   * Calls without an answer, waiting or running, above which a call is refused. Streams that have begun do not count.
   */
  readonly maxQueued: number;
  /** For each step of a module's load. In milliseconds. 0 waits for ever. */
  readonly loadTimeoutMs: number;
  /**
   * How long a thread with a handler over its time may stay silent before it is killed. In milliseconds. Default 250.
   */
  readonly killGraceMs?: number;
  /**
   * A thread died or was killed; its replacement is on its way.
   *
   * @param culprit whose code it was lost to, as far as that can be told; null: it cannot
   */
  onWorkerLost(reason: string, worker: number, culprit: LoadSpec | null): void;
  readonly log: Log;
  /** A process instead of threads: one, with one generation, which it is not started without. */
  readonly apart?: { readonly open: OpenPlace; readonly name: string };
  /** See `QuarantineOptions`. Default: no other version is looked for. */
  readonly onCrashLoop?: QuarantineOptions["onCrashLoop"];
  /** See `QuarantineOptions`. */
  readonly onCrash?: NonNullable<QuarantineOptions["onCrash"]>;
  /** See `QuarantineOptions`. */
  readonly firstQuarantineMs?: number;
}

export interface ThreadStatus {
  /** From 1: `context.host` of the modules in it. */
  readonly worker: number;
  readonly state: ThreadState;
  /** Calls sent to it and streams open on it. */
  readonly inFlight: number;
  /** Calls sent to it since the start. */
  readonly calls: number;
  readonly restarts: number;
  /** Of a process. */
  readonly facts: PlaceFacts | null;
}

const SCAN_MS = 25;
/** A batch should hold about this much work: cheap handlers share a message, dear ones spread over the threads. */
const BATCH_US = 200;
const MAX_BATCH = 32;
const CLOSE_MS = 900;

interface Loaded {
  readonly spec: LoadSpec;
  /**
   * A thread may have to load it again when its file is long gone: the state folder cleared, or pruned by another
   * server.
   */
  readonly bundle: Uint8Array;
}

function restoreBundle({ spec, bundle }: Loaded): LoadSpec {
  if (!existsSync(spec.file)) {
    makePrivateFolder(dirname(spec.file));
    writeFileSync(spec.file, bundle, { mode: PRIVATE_FILE });
  }
  return spec;
}

export class Pool {
  readonly #options: PoolOptions;
  readonly #killGraceMs: number;
  readonly #threads: Thread[];
  /** Loaded, or being loaded. */
  readonly #generations = new Map<number, Loaded>();
  #queue: RemoteCall[] = [];
  #pending = 0;
  #averageUs = BATCH_US;
  #isFlushScheduled = false;
  #last: Thread | null = null;
  #scanTimer: Timer | null = null;
  #scannedAt = 0;
  #closed: HostLostError | null = null;
  readonly #quarantine: Quarantine;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#killGraceMs = options.killGraceMs ?? 250;
    this.#quarantine = new Quarantine({
      onCrashLoop: options.onCrashLoop ?? (() => Promise.resolve(false)),
      ...(options.onCrash === undefined ? null : { onCrash: options.onCrash }),
      began: (id) => this.#refuse(id),
      try: (id) => this.#try(id),
      log: options.log,
      ...(options.firstQuarantineMs === undefined ? null : { firstWaitMs: options.firstQuarantineMs }),
    });
    const owner = this.#asOwner();
    this.#threads = Array.from({ length: Math.max(1, options.threads) }, (_, index) => new Thread(index + 1, owner));
  }

  get threads(): number {
    return this.#threads.length;
  }

  /** Calls that no thread has taken yet. */
  get queued(): number {
    return this.#queue.length;
  }

  get status(): ThreadStatus[] {
    return this.#threads.map(({ index, state, calls, callCount, restarts, facts }) => {
      return { worker: index, state, inFlight: calls.size, calls: callCount, restarts, facts };
    });
  }

  /** null: calls of this generation are taken. */
  quarantineOf(id: number): QuarantineFacts | null {
    return this.#quarantine.facts(id);
  }

  /** Imports a generation and runs nothing of it but its top level; `prepare` goes on from there. Rejects as that. */
  async import(spec: LoadSpec): Promise<RemoteShape> {
    if (this.#closed !== null) throw this.#closed;
    const [thread] = this.#threads;
    if (thread === undefined) throw new Error("A pool has at least one thread.");
    thread.start();
    this.#watch();
    return await thread.tasks.import(spec);
  }

  /** Has the generation's process store what its `handoff` gives. @returns null: it has none. Never rejects. */
  async handoff(id: number): Promise<NonNullable<TaskDone["handoff"]> | null> {
    this.#watch();
    return (await this.#threads[0]?.tasks.handoff(id)) ?? null;
  }

  /**
   * Has each thread keep what the generation's `handoff` gives there, for a `prepare` with its id after it is retired.
   * Never rejects.
   */
  async handOver(id: number): Promise<void> {
    if (!this.#generations.has(id)) return;
    const kept = this.#threads.map((thread) => thread.tasks.handoff(id));
    this.#watch();
    await Promise.all(kept);
  }

  /**
   * Loads, sets up and checks a generation in every thread, in parallel; the first use starts the threads.
   *
   * @param previousId the generation whose `handoff` in each thread the new one's `setup` there gets; null: none
   * @param handed     what a process before it has stored for the `setup`; undefined: nothing
   * @returns what the verdict should say besides. Rejects with the first failure, a ModuleError as a rule, when the
   *   generation is gone from all threads again.
   */
  async prepare(spec: LoadSpec, previousId: number | null, handed?: StoredState): Promise<{ notes: string[] }> {
    if (this.#closed !== null) throw this.#closed;
    for (const thread of this.#threads) thread.start();
    this.#generations.set(spec.id, { spec, bundle: readFileSync(spec.file) });
    const failures: unknown[] = [];
    const loads = this.#threads.map((thread) =>
      thread.tasks.load(spec, previousId, handed).catch((error: unknown) => {
        failures.push(error);
        return [];
      }),
    );
    this.#watch();
    const notes = (await Promise.all(loads)).flat();
    if (failures.length === 0) return { notes: [...new Set(notes)] };
    await this.retire(spec.id);
    throw failures[0];
  }

  /** Disposes a generation in all threads. It has no calls under way, or they are given up. */
  async retire(id: number, isGone = false): Promise<void> {
    this.#quarantine.forget(id);
    this.#generations.delete(id);
    const retired = this.#threads.map((thread) => thread.tasks.retire(id, isGone));
    this.#watch();
    await Promise.all(retired);
  }

  /** Calls a route's handler on some thread. */
  call(order: RemoteOrder): CallHandle {
    const call = new RemoteCall(order, this.#over);
    this.#pending++;
    if (this.#closed !== null) queueMicrotask(() => call.fail(this.#closed ?? lost()));
    else if (!this.#quarantine.isEmpty && this.#quarantine.refusal(call.loadId) !== null)
      queueMicrotask(() => call.fail(this.#quarantine.refusal(call.loadId) ?? gone(call)));
    else if (this.#pending > this.#options.maxQueued)
      queueMicrotask(() => call.fail(busy(`${this.#options.maxQueued} calls are under way`)));
    else {
      this.#queue.push(call);
      this.#scheduleFlush();
      this.#watch();
    }
    return call;
  }

  /** Fails what is under way and ends the threads, within a second whatever they do. */
  async close(): Promise<void> {
    const reason = (this.#closed ??= lost());
    this.#quarantine.close();
    if (this.#scanTimer !== null) clearInterval(this.#scanTimer);
    this.#scanTimer = null;
    const queue = this.#queue;
    this.#queue = [];
    for (const call of queue) call.fail(reason);
    await Promise.all(this.#threads.map((thread) => thread.close(CLOSE_MS, reason)));
  }

  readonly #over = (): void => {
    this.#pending--;
  };

  #asOwner(): ThreadOwner {
    const { loadTimeoutMs, log, apart } = this.#options;
    return {
      open: apart?.open ?? openWorker,
      isApart: apart !== undefined,
      nameOf: (index) => apart?.name ?? `pool thread ${index}`,
      loadTimeoutMs,
      killGraceMs: this.#killGraceMs,
      log,
      generations: () => [...this.#generations.values()].map(restoreBundle),
      takeBack: (calls) => {
        this.#queue = [...calls, ...this.#queue];
        this.#scheduleFlush();
      },
      hasRoom: () => {
        if (this.#queue.length > 0) this.#scheduleFlush();
      },
      noteCost: (us, calls) => {
        if (calls > 0) this.#averageUs = this.#averageUs * 0.8 + (us / calls) * 0.2;
      },
      lost: (reason, thread, culprit, hadBegun) => {
        this.#watch();
        this.#options.onWorkerLost(reason, thread.index, this.#generations.get(culprit ?? -1)?.spec ?? null);
        return this.#noteCrash(reason, culprit, hadBegun) || apart === undefined;
      },
      restored: (id) => {
        if (apart !== undefined) this.#quarantine.lift(id);
      },
      notRestored: (id, error, thread) => {
        if (apart === undefined) {
          return log.error(
            `${this.#nameOf(id)} could not be put back into pool thread ${thread.index}, and runs on the others: ${error.message}`,
          );
        }
        thread.tasks.forgive(id);
        thread.giveUp(`it could not be loaded again: ${error.message}`);
      },
    };
  }

  /** @returns whether what is to be loaded may be loaded again, now */
  #noteCrash(reason: string, culprit: number | null, hadBegun: boolean): boolean {
    // A process has nobody else to blame.
    const id = this.#options.apart === undefined ? culprit : [...this.#generations.keys()][0];
    const loaded = this.#generations.get(id ?? -1);
    return loaded === undefined || this.#closed !== null || !this.#quarantine.noteCrash(loaded.spec, reason, hadBegun);
  }

  #nameOf(id: number): string {
    const spec = this.#generations.get(id)?.spec;
    return spec === undefined ? "A module" : `Module "${spec.name}" v${spec.generation}`;
  }

  /** The generation is in quarantine from now on. */
  #refuse(id: number): void {
    const refused = this.#queue.filter((call) => call.loadId === id);
    this.#queue = this.#queue.filter((call) => call.loadId !== id);
    for (const call of refused) call.fail(this.#quarantine.refusal(id) ?? gone(call));
  }

  #try(id: number): boolean {
    if (!this.#generations.has(id)) return false;
    if (this.#options.apart === undefined) return true;
    for (const thread of this.#threads) thread.resume();
    this.#watch();
    return false;
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    // Behind all sockets that this turn of the loop reads: their calls share messages.
    asHost(() => setImmediate(this.#flush));
  }

  readonly #flush = (): void => {
    this.#isFlushScheduled = false;
    const queue = this.#queue;
    const batchSize = Math.max(1, Math.min(MAX_BATCH, Math.floor(BATCH_US / this.#averageUs)));
    this.#queue = [];
    let thread: Thread | null = null;
    let left = 0;
    let full = -1;
    for (let at = 0; at < queue.length; at++) {
      const call = queue[at] as RemoteCall;
      if (call.sink === null) continue;
      if (call.loadId === full) {
        this.#queue.push(call);
        continue;
      }
      if (thread === null || left === 0 || thread.room(call.loadId) <= 0) {
        thread = this.#choose(call.loadId, batchSize);
        left = batchSize;
      }
      left--;
      if (thread !== null) thread.add(call);
      else if (this.#keep(call)) full = call.loadId;
    }
    for (const each of this.#threads) each.flush();
  };

  /**
   * Cheap calls stay with the thread that had the last ones, as long as it answers promptly: another one would have to
   * be woken, and that costs as much as many of them. All others go where the least is under way.
   */
  #choose(generation: number, batchSize: number): Thread | null {
    const last = this.#last;
    const isCheap = batchSize === MAX_BATCH;
    if (isCheap && last !== null && last.room(generation) > 0 && last.isPrompt(performance.now())) return last;
    this.#last = this.#leastLoaded(generation);
    return this.#last;
  }

  #leastLoaded(generation: number): Thread | null {
    let best: Thread | null = null;
    for (const thread of this.#threads) {
      if (thread.room(generation) > 0 && (best === null || thread.calls.size < best.calls.size)) best = thread;
    }
    return best;
  }

  /** @returns whether some thread will take the call later; it has failed if none can */
  #keep(call: RemoteCall): boolean {
    const isServed =
      this.#generations.has(call.loadId) && this.#threads.some((thread) => thread.tasks.mayServe(call.loadId));
    if (isServed) this.#queue.push(call);
    else call.fail(gone(call));
    return isServed;
  }

  /** One timer looks at all deadlines, as long as there are any. */
  #watch(): void {
    if (this.#scanTimer !== null || this.#closed !== null) return;
    this.#scannedAt = performance.now();
    this.#scanTimer = asHost(() => setInterval(this.#scan, SCAN_MS));
  }

  readonly #scan = (): void => {
    const now = performance.now();
    const isLate = now - this.#scannedAt > 3 * SCAN_MS;
    // This thread was busy itself. Answers and signs of life may lie in its own queue: they are looked at first.
    this.#scannedAt = isLate ? Infinity : now;
    if (isLate) return;
    for (const thread of this.#threads) thread.scan(now);
    const kept: RemoteCall[] = [];
    const late: RemoteCall[] = [];
    for (const call of this.#queue) (this.#hasWaitedTooLong(call, now) ? late : kept).push(call);
    this.#queue = kept;
    for (const call of kept) call.beganAt = now;
    for (const call of late) call.fail(busy(`no thread was free for ${Math.round(now - call.askedAt)} ms`));
    const isIdle = kept.length === 0 && this.#threads.every((thread) => thread.isIdle);
    if (!isIdle || this.#scanTimer === null) return;
    clearInterval(this.#scanTimer);
    this.#scanTimer = null;
  };

  #hasWaitedTooLong(call: RemoteCall, now: number): boolean {
    return call.timeoutMs > 0 && now - call.askedAt > 2 * (call.timeoutMs + this.#killGraceMs);
  }
}

function gone({ route: { generation } }: RemoteCall): HostLostError {
  return new HostLostError(`Module "${generation.name}" v${generation.number} is on no pool thread any more.`);
}

function busy(why: string): HostBusyError {
  return new HostBusyError(`The pool is busy: ${why}. Try again later, or raise limits.maxQueued or threads.`);
}

function lost(): HostLostError {
  return new HostLostError("The pool is closed: the server shuts down.");
}
