/**
 * A server of many processes on the same listening descriptors: replaces lost ones, and swaps a new version in all of
 * them or in none.
 */
import { messageOf, UserError } from "../../config/user-error";
import type { TaskOutcome } from "../../hub/schedule/outcome";
import type { ApprovedModule } from "../../reload/versions/approved";
import type { ReloadOrder } from "../../reload/order";
import type { ReloadQueue } from "../../reload/queue";
import { closeSync } from "node:fs";
import type { Options } from "../../config/options";
import type { ReloadReport, RestartReport } from "../../reload/operations";
import type { ProcessSnapshot, ServerInfo } from "../../observe/snapshot";
import type { ServerLog } from "../../observe/log/log";
import type { BoundSocket } from "../../system/bind";
import type { Folders } from "../../server/folders";
import { applyOptions } from "../../config/resolve/resolved";
import type { Leaving } from "../../server/server";
import type { Uplink } from "../../server/uplink";
import { mergeOutcomes, refusedReport, reportOf } from "../../reload/verdict/report";
import { Backoff } from "../../system/backoff";
import { electBackground } from "./background";
import { type Begun, type ChildOwner, ServerProcess } from "./child-process";
import type { Group, StartSummary } from "./group";
import type { Published, SentEvents } from "./messages";
import { Round } from "../../reload/vote/agree";

interface PreforkOwner {
  readonly processes: number;
  readonly options: Options;
  readonly folders: Folders;
  /** Kept open for later processes. The processes get copies. */
  readonly sockets: readonly BoundSocket[];
  readonly log: ServerLog;
  /** See ServerStart; for the first process. */
  readonly mayFail: readonly string[] | undefined;
  /** The versions before the server's restart, for the first process. null: it reads the modules folder. */
  readonly resumed: readonly ApprovedModule[] | null;
  /** Known facts about modules that have served before, by name. */
  remembered(): Record<string, ApprovedModule>;
  /** Starts and reloads run one after another: each must know all processes. */
  readonly queue: Pick<ReloadQueue, "run">;
  /** The master's reload, for clients of a process. */
  readonly reload: Uplink["reload"];
  readonly crashed: Uplink["crashed"];
  stop(reason: string): void;
  info(processes: readonly ProcessSnapshot[]): ServerInfo;
  /** A process that replaced a lost one could not start these modules. */
  failed(names: readonly string[]): void;
}

/** The descriptor behind the first three. */
const FIRST_FD = 3;
/** The figures leave out a process that does not answer in this time. */
const SNAPSHOT_MS = 1000;
/** How long a process may take to end after its calls were cut. In milliseconds. */
const CUT_MS = 2000;
/** The time beyond drainMs. A process that has not ended by then will not end. */
const DRAIN_GRACE_MS = 5000;

export class Prefork implements Group, ChildOwner {
  restarts = 0;
  readonly #owner: PreforkOwner;
  readonly #log: ServerLog;
  /** Processes that serve or are about to, by slot. */
  readonly #serving = new Map<number, ServerProcess>();
  /** All living processes, draining ones included. */
  readonly #alive = new Set<ServerProcess>();
  readonly #backoff = new Map<number, Backoff>();
  readonly #timers = new Set<Timer>();
  /** Resolves when no process is the background process any more. */
  readonly #leave = Promise.withResolvers<void>();
  #approved: readonly ApprovedModule[] | null = null;
  #inputs: Readonly<Record<string, readonly string[]>> = {};
  #round: Round | null = null;
  /** The background process. null: there is none now. */
  #background: ServerProcess | null = null;
  /** The server before this one has given the background work up. */
  #hasBackground = false;
  #draining: Promise<void> | null = null;

  constructor(owner: PreforkOwner) {
    this.#owner = owner;
    this.#log = owner.log;
  }

  get wantedProcesses(): number {
    return this.#owner.processes;
  }

  // ---- starting ----

  async start(): Promise<StartSummary> {
    try {
      // The first one builds. The others load its bundles, so that all serve the same.
      const { summary, approved, inputs } = await this.#begin(1);
      this.#approved = approved;
      this.#inputs = inputs;
      const others = Array.from({ length: this.#owner.processes - 1 }, (_, at) => this.#begin(at + 2));
      const all = [summary, ...(await Promise.all(others)).map((begun) => begun.summary)];
      const union = (key: "failed" | "retried"): string[] => [...new Set(all.flatMap((each) => each[key]))];
      return { ...summary, failed: union("failed"), retried: union("retried") };
    } catch (error) {
      this.#draining = Promise.resolve();
      for (const child of this.#alive) child.kill();
      throw error;
    }
  }

  async #begin(slot: number): Promise<Begun> {
    const { options, folders, sockets, mayFail, resumed, remembered } = this.#owner;
    const given = sockets.map(({ address }, at) => ({ address, fd: FIRST_FD + at }));
    const start = {
      slot,
      options,
      folders,
      sockets: given,
      approved: this.#approved ?? resumed,
      isResumed: this.#approved === null && resumed !== null,
      remembered: remembered(),
      mayFail: this.#approved === null ? mayFail : undefined,
    };
    const child = new ServerProcess(
      start,
      sockets.map(({ fd }) => fd),
      this,
    );
    this.#alive.add(child);
    const begun = await child.ready;
    this.#serving.set(slot, child);
    this.#elect();
    return begun;
  }

  // ---- the background process ----

  takeBackground(): void {
    this.#hasBackground = true;
    this.#elect();
  }

  async runTask(module: string, task: string): Promise<TaskOutcome> {
    if (this.#background !== null) return await this.#background.ask("runTask", module, task);
    throw new UserError("No process runs the schedules at this moment.", {
      code: "NO_BACKGROUND",
      hint: "Try again: another process takes over within a second.",
    });
  }

  released(child: ServerProcess): void {
    if (this.#background === child) this.#background = null;
    if (this.#draining !== null && this.#background === null) this.#leave.resolve();
    this.#elect();
  }

  #elect(): void {
    if (!this.#hasBackground || this.#background !== null || this.#draining !== null) return;
    this.#background = electBackground(this.#background, this.#serving.values());
    this.#background?.tell({ type: "background" });
  }

  // ---- a process is lost ----

  gone(child: ServerProcess, how: string): void {
    this.#alive.delete(child);
    this.#round?.lost(child.slot);
    const hasServed = this.#serving.get(child.slot) === child;
    if (hasServed) this.#serving.delete(child.slot);
    this.released(child);
    if (!hasServed) return;
    if (this.#draining !== null || child.isLeaving) return;
    const livedMs = performance.now() - child.startedAt;
    this.#log.error(
      `process ${child.slot} (pid ${child.pid}) ended: ${how}, ${Math.round(livedMs)} ms after its start`,
    );
    this.#replaceSoon(child.slot, child.servedMs);
  }

  #replaceSoon(slot: number, servedMs: number): void {
    const backoff = this.#backoff.get(slot) ?? new Backoff();
    this.#backoff.set(slot, backoff);
    const delayMs = backoff.next(servedMs);
    if (delayMs > 0) this.#log.warn(`process ${slot} is started again in ${delayMs} ms`);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.#owner.queue.run(() => this.#replace(slot));
    }, delayMs);
    this.#timers.add(timer);
  }

  async #replace(slot: number): Promise<void> {
    if (this.#draining !== null || this.#serving.has(slot)) return;
    const startedAt = performance.now();
    try {
      const { summary } = await this.#begin(slot);
      this.#owner.failed(summary.retried);
      this.restarts++;
      this.#log.info(
        `process ${slot} (pid ${this.#serving.get(slot)?.pid}) serves in its place, ${Math.round(performance.now() - startedAt)} ms later`,
      );
    } catch (error) {
      if (this.#draining !== null) return;
      this.#log.error(`process ${slot} could not be started: ${messageOf(error)}`);
      this.#replaceSoon(slot, 0);
    }
  }

  // ---- reloading ----

  approved(): readonly ApprovedModule[] {
    return this.#approved ?? [];
  }

  inputs(): Readonly<Record<string, readonly string[]>> {
    return this.#inputs;
  }

  async reload(order: ReloadOrder): Promise<ReloadReport> {
    const children = [...this.#serving.values()];
    if (children.length === 0)
      return refusedReport("No process serves at the moment.", "Try again; the log tells why they ended.");
    const round = new Round(children.map(({ slot }) => slot));
    this.#round = round;
    const asked = children.map(async (child) => {
      try {
        return await child.ask("reload", order);
      } finally {
        // A process that has answered without a proposal must not hold up the vote.
        round.lost(child.slot);
      }
    });
    const settled = await Promise.allSettled(asked);
    this.#round = null;
    const answers = new Map(
      settled.flatMap((each, at) => (each.status === "fulfilled" ? [[children[at]?.slot ?? 0, each.value]] : [])),
    );
    if (answers.size === 0) throw (settled[0] as PromiseRejectedResult).reason;
    if (order.next !== null) applyOptions(this.#owner.options, order.next);
    this.#approved = [...answers.values()][0]?.approved ?? this.#approved;
    // A replacement process has built nothing yet.
    this.#inputs = [...answers.values()]
      .map(({ inputs }) => inputs)
      .reduce((most, each) => (sizeOf(each) > sizeOf(most) ? each : most), {});
    return reportOf(mergeOutcomes(new Map([...answers].map(([slot, { outcome }]) => [slot, outcome]))), order);
  }

  // ---- what processes ask ----

  readonly calls: ChildOwner["calls"] = {
    reload: (_, order) => this.#owner.reload(order),
    crashed: (_, ...crash) => this.#owner.crashed(...crash),
    snapshots: async () => {
      const processes = await this.snapshots();
      return { info: this.#owner.info(processes), processes };
    },
    agree: (child, proposal) => this.#round?.propose(child.slot, proposal) ?? { error: null, refused: {} },
  };

  stop(reason: string): void {
    this.#owner.stop(reason);
  }

  published(from: ServerProcess, message: Published | SentEvents): void {
    for (const child of this.#alive) if (child !== from && child.isReady) child.tell(message);
  }

  async snapshots(): Promise<ProcessSnapshot[]> {
    const asked = [...this.#alive]
      .filter((child) => child.isReady)
      .map((child) =>
        child.ask("snapshot").then(
          // One that was told to drain first accepts who is in its queue, and says so some turns later.
          (snapshot) => (child.isLeaving ? { ...snapshot, isDraining: true } : snapshot),
          () => null,
        ),
      );
    const told = await Promise.all(asked.map((each) => Promise.race([each, Bun.sleep(SNAPSHOT_MS).then(() => null)])));
    return told.filter((snapshot) => snapshot !== null).sort((a, b) => a.slot - b.slot);
  }

  // ---- restarting ----

  readonly restart = async (): Promise<RestartReport> => {
    const slots = [...this.#serving.keys()].sort((a, b) => a - b);
    for (const slot of slots) {
      const old = this.#serving.get(slot);
      try {
        const { summary } = await this.#begin(slot);
        this.#owner.failed(summary.retried);
      } catch (error) {
        const reason = messageOf(error);
        return {
          ok: false,
          pid: process.pid,
          text: `ERR process ${slot} could not be replaced, and the old one goes on: ${reason}\n`,
        };
      }
      old?.drain("it is replaced", "moved");
    }
    return { ok: true, pid: process.pid, text: `OK ${slots.length} processes replaced, one after another\n` };
  };

  // ---- stopping ----

  drain(reason: string, leaving: Leaving): Promise<void> {
    this.#draining ??= this.#drain(reason, leaving);
    return this.#draining;
  }

  async #drain(reason: string, { why, released }: Leaving): Promise<void> {
    void this.#leave.promise.then(released);
    if (this.#background === null) this.#leave.resolve();
    for (const timer of this.#timers) clearTimeout(timer);
    // Otherwise their queues would still take connections that nobody accepts.
    for (const { fd } of this.#owner.sockets) closeSync(fd);
    for (const child of this.#alive) child.drain(reason, why);
    const { drainMs } = this.#owner.options.timeouts;
    const late = drainMs === 0 ? null : setTimeout(() => this.#killAll(reason), drainMs + DRAIN_GRACE_MS);
    await Promise.all([...this.#alive].map((child) => child.exited));
    if (late !== null) clearTimeout(late);
  }

  #killAll(reason: string): void {
    for (const child of this.#alive) {
      this.#log.error(`${reason}: process ${child.slot} (pid ${child.pid}) did not end, and was killed`);
      child.kill();
    }
  }

  kill(): void {
    for (const child of this.#alive) child.kill();
  }

  cut(reason: string): void {
    for (const child of this.#alive) child.cut(reason);
    // A process with a blocked event loop does not read the message.
    setTimeout(() => this.kill(), CUT_MS).unref();
  }

  reopenLogs(): void {
    for (const child of this.#alive) child.tell({ type: "reopenLogs" });
  }
}

function sizeOf(record: Readonly<Record<string, readonly string[]>>): number {
  return Object.keys(record).length;
}
