/**
 * A server of one process: this one.
 */
import type { TaskOutcome } from "../../hub/schedule/outcome";
import type { ApprovedModule } from "../../reload/versions/approved";
import type { ReloadOrder } from "../../reload/order";
import type { ProcessSnapshot } from "../../observe/snapshot";
import type { ReloadReport } from "../../reload/operations";
import { reportOf } from "../../reload/verdict/report";
import { type Leaving, type RunningServer, type ServerStart, startServer } from "../../server/server";
import type { Group, StartSummary } from "./group";

export class Alone implements Group {
  readonly wantedProcesses = 1;
  readonly restarts = 0;
  readonly restart = null;
  readonly #start: ServerStart;
  #server: RunningServer | null = null;

  constructor(start: ServerStart) {
    this.#start = start;
  }

  async start(): Promise<StartSummary> {
    this.#server = await startServer(this.#start);
    return this.#server.summary;
  }

  async reload(order: ReloadOrder): Promise<ReloadReport> {
    return reportOf(await this.#running.reload(order), order);
  }

  approved(): ApprovedModule[] {
    return this.#running.approved();
  }

  inputs(): Record<string, string[]> {
    return this.#running.inputs();
  }

  async snapshots(): Promise<ProcessSnapshot[]> {
    return [this.#running.snapshot()];
  }

  async runTask(module: string, task: string): Promise<TaskOutcome> {
    return await this.#running.runTask(module, task);
  }

  takeBackground(): void {
    this.#server?.takeBackground();
  }

  async drain(reason: string, leaving: Leaving): Promise<void> {
    if (this.#server === null) leaving.released?.();
    await this.#server?.shutdown(reason, leaving);
  }

  cut(reason: string): void {
    this.#server?.cutAll(reason);
  }

  kill(): void {
    // There are no other processes.
  }

  reopenLogs(): void {
    // The master's log is this process's.
  }

  get #running(): RunningServer {
    if (this.#server === null) throw new Error("The server has not been started yet.");
    return this.#server;
  }
}
