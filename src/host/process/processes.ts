/**
 * `run: "process"`: each generation that has such routes has a process, which is a pool of one thread with walls around
 * it.
 */
import { closeSync, ftruncateSync } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "../../module/contract";
import { wholeFileError } from "../../module/graph/describe-error";
import type { RemoteShape } from "../../module/graph/remote";
import { boundedWith, logWith } from "../../observe/log/fields";
import { HostLostError } from "../errors";
import type { StoredState } from "./handoff-file";
import { Pool, type ThreadStatus } from "../pool/pool";
import { type ProcessStart, processPlaces } from "./place";
import type { QuarantineFacts, QuarantineOptions } from "../quarantine";
import { type CallHandle, RemoteCall, type RemoteOrder } from "../remote/call";
import { openNameless } from "../remote/shared-file";
import type { LoadSpec } from "../../module/version";

export interface ProcessesOptions {
  /** How this program is started as a module's process. */
  readonly start: ProcessStart;
  /** Calls without an answer on one process, above which a call is refused. */
  readonly maxQueued: number;
  /** For each step of a module's load. In milliseconds. 0 waits for ever. */
  readonly loadTimeoutMs: number;
  /** See PoolOptions. */
  readonly killGraceMs?: number;
  readonly onCrashLoop?: QuarantineOptions["onCrashLoop"];
  readonly onCrash?: NonNullable<QuarantineOptions["onCrash"]>;
  readonly firstQuarantineMs?: number;
  readonly log: Log;
}

/** For status: a generation's process. */
export interface ProcessStatus extends Omit<ThreadStatus, "worker" | "facts"> {
  /** 0 while there is none. */
  readonly pid: number;
  readonly memoryBytes: number;
  readonly quarantine: QuarantineFacts | null;
}

interface Home {
  readonly spec: LoadSpec;
  readonly pool: Pool;
}

type Handed = Awaited<ReturnType<Pool["handoff"]>>;

export class Processes {
  readonly #options: ProcessesOptions;
  readonly #homes = new Map<number, Home>();
  /** Descriptors of files by which versions hand over, by module. */
  readonly #handoffFds = new Map<string, number>();
  /** What generations have handed over before they were retired, by their id; until someone has started with it. */
  readonly #kept = new Map<number, { readonly name: string; readonly handed: Handed }>();
  #isClosed = false;

  constructor(options: ProcessesOptions) {
    this.#options = options;
  }

  /** Starts the generation's process and imports it there. Rejects with a ModuleError; the process is gone then. */
  async import(spec: LoadSpec): Promise<RemoteShape> {
    return await this.#orRetire(spec, "while it was loaded", (pool) => pool.import(spec));
  }

  /**
   * Sets up and checks a generation in its process, which is started if it is not there yet.
   *
   * @param previousId the generation whose process hands over to this one; null, or one that has none: nobody does
   * @returns what the verdict should say besides. Rejects with a ModuleError; the process is gone then.
   */
  async prepare(spec: LoadSpec, previousId: number | null): Promise<{ notes: string[] }> {
    const notes: string[] = [];
    const handed = await this.#handoffFrom(previousId, notes);
    try {
      const prepared = await this.#orRetire(spec, "while it was set up", (pool) => pool.prepare(spec, null, handed));
      if (previousId !== null) this.#kept.delete(previousId);
      return { notes: [...notes, ...prepared.notes] };
    } finally {
      const fd = this.#handoffFds.get(spec.name);
      if (handed !== undefined && fd !== undefined && !this.#isKept(spec.name)) ftruncateSync(fd, 0);
    }
  }

  /** Has a generation's process hand over now: for a `prepare` with its id after it is retired. Never rejects. */
  async handOver(id: number): Promise<void> {
    const home = this.#homes.get(id);
    if (home === undefined) return;
    const handed = await home.pool.handoff(id);
    this.#kept.set(id, { name: home.spec.name, handed });
  }

  /** Disposes a generation and ends its process. Does nothing for one that has none. */
  async retire(id: number, isGone = false): Promise<void> {
    const home = this.#homes.get(id);
    if (home === undefined) return;
    await home.pool.retire(id, isGone);
    await this.#leave(home);
  }

  call(order: RemoteOrder): CallHandle {
    const { id, name, number } = order.route.generation;
    const home = this.#homes.get(id);
    if (home !== undefined) return home.pool.call(order);
    const call = new RemoteCall(order, () => {});
    queueMicrotask(() => call.fail(new HostLostError(`Module "${name}" v${number} has no process any more.`)));
    return call;
  }

  /** null: the generation has no process, and needs none. */
  statusOf(id: number): ProcessStatus | null {
    const pool = this.#homes.get(id)?.pool;
    const status = pool?.status[0];
    if (pool === undefined || status === undefined) return null;
    const { worker: _worker, facts, ...rest } = status;
    return { ...rest, pid: facts?.pid ?? 0, memoryBytes: facts?.memoryBytes ?? 0, quarantine: pool.quarantineOf(id) };
  }

  quarantineOf(id: number): QuarantineFacts | null {
    return this.#homes.get(id)?.pool.quarantineOf(id) ?? null;
  }

  /** Fails what is under way and ends all processes. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#kept.clear();
    const homes = [...this.#homes.values()];
    this.#homes.clear();
    await Promise.all(homes.map((home) => this.#leave(home)));
  }

  async #leave({ spec, pool }: Home): Promise<void> {
    this.#homes.delete(spec.id);
    await pool.close();
    const fd = this.#handoffFds.get(spec.name);
    if (
      fd === undefined ||
      this.#isKept(spec.name) ||
      [...this.#homes.values()].some((other) => other.spec.name === spec.name)
    )
      return;
    this.#handoffFds.delete(spec.name);
    closeSync(fd);
  }

  #handoffFd({ name, file }: LoadSpec): number {
    const known = this.#handoffFds.get(name);
    if (known !== undefined) return known;
    // Where the bundle is there is room for more than in memory.
    const fd = openNameless(dirname(file));
    this.#handoffFds.set(name, fd);
    return fd;
  }

  async #handoffFrom(previousId: number | null, notes: string[]): Promise<StoredState | undefined> {
    if (previousId === null) return undefined;
    const handed =
      this.#kept.get(previousId)?.handed ?? (await this.#homes.get(previousId)?.pool.handoff(previousId)) ?? null;
    if (handed === null || "bytes" in handed) return handed ?? undefined;
    notes.push(`its state was not handed over: ${handed.error}`);
    return undefined;
  }

  #isKept(name: string): boolean {
    return [...this.#kept.values()].some((kept) => kept.name === name);
  }

  /** What costs a process its life on its way in is its module's fault. */
  async #orRetire<T>(spec: LoadSpec, when: string, work: (pool: Pool) => Promise<T>): Promise<T> {
    const home = this.#homes.get(spec.id) ?? this.#openFor(spec);
    try {
      return await work(home.pool);
    } catch (error) {
      await this.#leave(home);
      if (!(error instanceof HostLostError) || this.#isClosed) throw error;
      throw wholeFileError(spec.name, spec.source, `its process was lost ${when}: ${error.reason}`);
    }
  }

  #openFor(spec: LoadSpec): Home {
    try {
      return this.#open(spec);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw wholeFileError(spec.name, spec.source, `its process cannot be started: ${reason}`, error);
    }
  }

  #open(spec: LoadSpec): Home {
    const options = this.#options;
    const log = logWith(options.log, { module: spec.name, generation: spec.generation });
    const { loadTimeoutMs, killGraceMs, onCrashLoop, onCrash, firstQuarantineMs } = options;
    const pool = new Pool({
      loadTimeoutMs,
      ...(killGraceMs === undefined ? null : { killGraceMs }),
      ...(onCrashLoop === undefined ? null : { onCrashLoop }),
      ...(onCrash === undefined ? null : { onCrash }),
      ...(firstQuarantineMs === undefined ? null : { firstQuarantineMs }),
      get maxQueued() {
        return options.maxQueued;
      },
      threads: 1,
      log: options.log,
      onWorkerLost: (reason) =>
        boundedWith(log, {}, "warn", `its process was lost: ${reason}`)?.(`its process was lost: ${reason}`),
      apart: { open: processPlaces(spec, options.start, this.#handoffFd(spec), log), name: nameOf(spec) },
    });
    const home = { spec, pool };
    this.#homes.set(spec.id, home);
    return home;
  }
}

function nameOf({ name }: LoadSpec): string {
  return `the process of module "${name}"`;
}
