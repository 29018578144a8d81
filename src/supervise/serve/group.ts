/** The one or more processes that serve. The master uses them through this, whatever their number. */
import type { TaskOutcome } from "../../hub/schedule/outcome";
import type { ReloadReport, RestartReport } from "../../reload/operations";
import type { ApprovedModule } from "../../reload/versions/approved";
import type { ReloadOrder } from "../../reload/order";
import type { ProcessSnapshot } from "../../observe/snapshot";
import type { Leaving, ServerSummary } from "../../server/server";

export type StartSummary = Readonly<ServerSummary>;

export interface Group {
  /** Loads the modules and accepts. @throws UserError for errors that the user can mend */
  start(): Promise<StartSummary>;
  /**
   * Loads changes, in all processes or in none. One at a time, in the caller's turn.
   *
   * @throws UserError if the whole reload is refused: nothing has changed then
   */
  reload(order: ReloadOrder): Promise<ReloadReport>;
  /** The serving versions, the same in all processes. */
  approved(): readonly ApprovedModule[];
  /** The files that the modules were built from at the last reload: names in a folder, by its absolute path. */
  inputs(): Readonly<Record<string, readonly string[]>>;
  snapshots(): Promise<ProcessSnapshot[]>;
  /** Replaces each process in turn. null: there is only this process, which cannot replace itself. */
  readonly restart: (() => Promise<RestartReport>) | null;
  /** Runs a task of a module's schedule in the background process. @throws UserError as `Schedule.runNow` */
  runTask(module: string, task: string): Promise<TaskOutcome>;
  /** One of its processes is the background process from now on, as long as there is one. Once it serves. */
  takeBackground(): void;
  /** Stops accepting, finishes open work up to drainMs, then cuts it. Resolves at the end. Idempotent. */
  drain(reason: string, leaving: Leaving): Promise<void>;
  /** Cuts open work at once. */
  cut(reason: string): void;
  /** Kills other processes, since this one is about to end. */
  kill(): void;
  /** Log files were rotated, or the level changed: processes with files of their own open them again. */
  reopenLogs(): void;
  readonly wantedProcesses: number;
  /** Processes started in place of lost ones. */
  readonly restarts: number;
}
