/** The hosts of routes that do not run on the event loop. Each generation is loaded where its routes run. */
import { readFileSync } from "node:fs";
import { isC } from "../module/c/sources";
import type { RemoteShape } from "../module/graph/remote";
import { hostSettings } from "../module/shape/settings";
import type { StopReason } from "../module/contract";
import type { Processes } from "./process/processes";
import type { QuarantineFacts } from "./quarantine";
import type { CallHandle, RemoteOrder } from "./remote/call";
import type { PlaceStatus } from "./remote/place";
import type { RemoteHost } from "./remote/remote-host";
import type { LoadSpec } from "../module/version";

/** Which of them a generation's routes name. */
interface HostNeeds {
  readonly needsPool: boolean;
  readonly needsProcess: boolean;
}

/**
 * Finds a route with `run: "process"` in a bundle's text. If a module hides it, it is loaded in the main thread first,
 * like the pool's modules.
 */
const NAMES_PROCESS = /\brun["']?\s*:\s*["'`]process["'`]/;

export class Hosts {
  readonly pool: RemoteHost;
  readonly processes: Processes;

  constructor(pool: RemoteHost, processes: Processes) {
    this.pool = pool;
    this.processes = processes;
  }

  /**
   * Loads a generation that may be meant for a process there first, so that its top level can only harm that process.
   *
   * @returns null: it is not meant for a process, and nothing was done. Otherwise its shape: if that is whole, the main
   *   thread need not load it at all. After a shape, retire it. Rejects with a ModuleError.
   */
  async import(spec: LoadSpec): Promise<RemoteShape | null> {
    return isForProcess(spec) ? await this.processes.import(spec) : null;
  }

  /**
   * Loads, sets up and checks a generation wherever its routes run.
   *
   * @param previousId the generation that hands over to it, host by host; null: none
   * @returns notes for the verdict. Rejects with the first failure, after the generation is gone from all hosts.
   */
  async prepare(
    spec: LoadSpec,
    previousId: number | null,
    { needsPool, needsProcess }: HostNeeds,
  ): Promise<{ notes: string[] }> {
    const notes: string[] = [];
    if (needsPool) notes.push(...(await this.pool.prepare(spec, previousId)).notes);
    if (!needsProcess) return { notes };
    try {
      notes.push(...(await this.processes.prepare(spec, previousId)).notes);
    } catch (error) {
      if (needsPool) await this.pool.retire(spec.id);
      throw error;
    }
    return { notes };
  }

  /** Lets a generation hand over before it is retired, for a later `prepare` with its id. Never rejects. */
  async handOver(id: number): Promise<void> {
    await Promise.all([this.pool.handOver(id), this.processes.handOver(id)]);
  }

  /** Runs `start` of a generation whose `life.host` is "process". Rejects if it fails, or has no process. */
  goLive(id: number): Promise<void> {
    return this.processes.goLive(id);
  }

  /** Runs `stop` of a generation whose `life.host` is "process". Rejects if it fails. */
  endLife(id: number, reason: StopReason): Promise<void> {
    return this.processes.endLife(id, reason);
  }

  /** Disposes a generation wherever it is; it need not be anywhere. */
  async retire(id: number, isGone = false): Promise<void> {
    await Promise.all([this.pool.retire(id, isGone), this.processes.retire(id, isGone)]);
  }

  /** Calls the handler of a route that runs on the pool or in a process. */
  call(order: RemoteOrder): CallHandle {
    return (order.route.run === "pool" ? this.pool : this.processes).call(order);
  }

  /** @returns why the generation's calls are refused, and its process. null: they are taken; it has none */
  status(id: number): { quarantine: QuarantineFacts | null; process: PlaceStatus | null } {
    const ofProcess = this.processes.status(id);
    return {
      quarantine: this.pool.status(id).quarantine ?? ofProcess?.quarantine ?? null,
      process: ofProcess?.places[0] ?? null,
    };
  }

  /** Fails what is under way and ends all threads and processes, within a second whatever they do. */
  async close(): Promise<void> {
    await Promise.all([this.pool.close(), this.processes.close()]);
  }
}

function isForProcess({ config, file, source }: LoadSpec): boolean {
  return isC(source) || hostSettings(config).run === "process" || NAMES_PROCESS.test(readFileSync(file, "utf8"));
}
