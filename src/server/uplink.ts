/** A server process asks here for operations on all processes. The master answers; alone, the server does itself. */
import type { EventRecord } from "../module/event/record";
import type { ReloadReport } from "../reload/operations";
import type { ReloadOrder } from "../reload/order";
import type { ProcessSnapshot, ServerInfo } from "../observe/snapshot";

export interface Uplink {
  /** RELOAD, on all processes. */
  reload(order: ReloadOrder): Promise<ReloadReport>;
  /**
   * The host of a module's version has died: a thread, or its process.
   *
   * @param isLoop it dies again and again: the version has to go, if there is one before it
   * @returns whether another version now serves instead
   */
  crashed(name: string, number: number, reason: string, isLoop: boolean): Promise<boolean>;
  /** SHUTDOWN: begins the drain of all processes and returns at once. @param reason  the sender, in words */
  stop(reason: string): void;
  /** The snapshots of all processes, this one included. */
  snapshots(): Promise<{ info: ServerInfo; processes: ProcessSnapshot[] }>;
  /** Passes events of this process to the others. */
  events(events: readonly EventRecord[]): void;
  /** Passes a module's published message to the WebSockets of the other processes. */
  publish(module: string, topic: string, data: unknown): void;
}
