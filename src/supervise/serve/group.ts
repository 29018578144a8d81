/**
 * The process or the processes that serve: what the master acts on, without having to know how many there are.
 */
import type { ReloadReport, RestartReport } from "../../reload/operations";
import type { ApprovedModule } from "../../reload/versions/approved";
import type { ReloadOrder } from "../../reload/order";
import type { ProcessSnapshot } from "../../observe/snapshot";

export interface StartSummary {
  /** URLs with the real ports. */
  readonly listening: readonly string[];
  readonly modules: number;
  readonly routes: number;
  /** For the person who started the server. */
  readonly notes: readonly string[];
  /** Modules that should be served and are not. */
  readonly failed: readonly string[];
  /** The failed modules that are tried again by themselves: all but those that claim a taken key. */
  readonly retried: readonly string[];
}

export interface Group {
  /** Loads the modules and accepts. @throws UserError for what the user can mend */
  start(): Promise<StartSummary>;
  /**
   * Loads what changed, everywhere or nowhere. One at a time, in the turn of the caller.
   *
   * @throws UserError when it is refused as a whole: nothing has changed then
   */
  reload(order: ReloadOrder): Promise<ReloadReport>;
  /** What serves now, in all processes alike. */
  approved(): readonly ApprovedModule[];
  /** The files that the modules were built from at the last reload: names in a folder, by its absolute path. */
  inputs(): Readonly<Record<string, readonly string[]>>;
  snapshots(): Promise<ProcessSnapshot[]>;
  /** Replaces each process in turn. null: there is only this one, which cannot replace itself. */
  readonly restart: (() => Promise<RestartReport>) | null;
  /** Stops accepting, finishes what is under way up to drainMs, then cuts. Resolves when all is over. Idempotent. */
  drain(reason: string): Promise<void>;
  /** Cuts at once what is still under way. */
  cut(reason: string): void;
  /** Ends other processes without further ado: this one is about to end. */
  kill(): void;
  /** Log files were put aside, or the level changed: whoever writes a file of its own opens it anew. */
  reopenLogs(): void;
  readonly wantedProcesses: number;
  /** Processes started in place of lost ones. */
  readonly restarts: number;
}
