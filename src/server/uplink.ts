/**
 * To whom a server turns for what concerns the whole of it: to itself when it is alone, to the supervisor when it is one
 * process of many.
 */
import type { ReloadReport } from "../control/operations";
import type { ProcessSnapshot, ServerInfo } from "../observe/snapshot";

export interface Uplink {
  /** RELOAD, on all processes. */
  reload(names: readonly string[] | null): Promise<ReloadReport>;
  /** SHUTDOWN: begins the drain of all processes and returns at once. */
  stop(reason: string): void;
  /** Of all processes, this one included. */
  snapshots(): Promise<{ info: ServerInfo; processes: ProcessSnapshot[] }>;
  /** What a module published here, for the WebSockets of the other processes. */
  publish(module: string, topic: string, data: unknown): void;
}
