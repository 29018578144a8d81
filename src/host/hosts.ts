/** The hosts of routes that do not run on the event loop, each generation where its routes say. */
import { readFileSync } from "node:fs";
import { isC } from "../module/c/sources";
import type { RemoteShape } from "../module/graph/remote";
import { hostSettings } from "../module/shape/settings";
import type { Host } from "./host";
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
 * A route that names a process, in a bundle. What hides it from this is loaded in the main thread first, as the pool's
 * modules are.
 */
const NAMES_PROCESS = /\brun["']?\s*:\s*["'`]process["'`]/;

export class Hosts {
  readonly pool: RemoteHost;
  readonly processes: Host;

  constructor(pool: RemoteHost, processes: Host) {
    this.pool = pool;
    this.processes = processes;
  }

  /**
   * Loads a generation that may be meant for a process there first: what its top level does is done to that process.
   *
   * @returns null: nothing says that it is, and nothing was done. Else its shape: if that is whole, the main thread
   *   need not load it at all. Rejects with a ModuleError. In any case but null and a rejection, it is to be retired.
   */
  async import(spec: LoadSpec): Promise<RemoteShape | null> {
    return isForProcess(spec) ? await this.processes.import(spec) : null;
  }

  /**
   * Loads, sets up and checks a generation wherever its routes run.
   *
   * @param previousId the generation that hands over to it, host by host; null: none
   * @returns what the verdict should say besides. Rejects with the first failure, when the generation is gone from all
   *   of them again.
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

  /** Has a generation hand over before it is retired, to whoever is prepared with its id later. Never rejects. */
  async handOver(id: number): Promise<void> {
    await Promise.all([this.pool.handOver(id), this.processes.handOver(id)]);
  }

  /** Disposes a generation wherever it is; it need not be anywhere. */
  async retire(id: number, isGone = false): Promise<void> {
    await Promise.all([this.pool.retire(id, isGone), this.processes.retire(id, isGone)]);
  }

  /** Calls the handler of a route that runs on the pool or in a process. */
  call(order: RemoteOrder): CallHandle {
    return (order.route.run === "pool" ? this.pool : this.processes).call(order);
  }

  /** @returns of a generation: why its calls are refused, and its process. null: they are taken; it has none */
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
