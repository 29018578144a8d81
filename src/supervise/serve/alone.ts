/**
 * A server of one process: this one.
 */
import type { Options } from "../../config/options";
import { UserError } from "../../config/user-error";
import type { ApprovedModule } from "../../reload/versions/approved";
import type { ReloadOrder } from "../../reload/state";
import type { ProcessSnapshot } from "../../observe/snapshot";
import type { ReloadReport } from "../../reload/operations";
import { refusedReport, reportOf } from "../../reload/verdict/outcome";
import { type RunningServer, type ServerSetup, startServer } from "../../server/server";
import type { Group, StartSummary } from "./group";

export class Alone implements Group {
  readonly wantedProcesses = 1;
  readonly restarts = 0;
  readonly restart = null;
  readonly #setup: ServerSetup;
  #server: RunningServer | null = null;

  constructor(setup: ServerSetup) {
    this.#setup = setup;
  }

  async start(): Promise<StartSummary> {
    this.#server = await startServer(this.#setup);
    return this.#server.summary;
  }

  async reload(names: readonly string[] | null, next: Options | null, order: ReloadOrder): Promise<ReloadReport> {
    try {
      return reportOf(await this.#running.reload(names, next, order));
    } catch (error) {
      if (error instanceof UserError) return refusedReport(error.message, error.hint ?? "");
      throw error;
    }
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

  async drain(reason: string): Promise<void> {
    await this.#server?.shutdown(reason);
  }

  cut(reason: string): void {
    this.#server?.cutAll(reason);
  }

  kill(): void {
    // There are no others.
  }

  reopenLogs(): void {
    // The master's log is this process's.
  }

  get #running(): RunningServer {
    if (this.#server === null) throw new Error("The server has not been started yet.");
    return this.#server;
  }
}
