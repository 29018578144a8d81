/**
 * A host: where handlers run. There are three: the event loop (`inline.ts`), the threads of the pool (`pool/pool.ts`)
 * and the processes of modules (`process/processes.ts`).
 *
 * This is the contract of the two remote ones. The event loop has no object: it loads a version first, to find out
 * where its routes run, and a call on it is one function call that returns the reply.
 */
import type { RemoteShape } from "../module/graph/remote";
import type { LoadSpec } from "../module/version";
import type { QuarantineFacts } from "./quarantine";
import type { CallHandle, RemoteOrder } from "./remote/call";
import type { PlaceStatus } from "./remote/place";

export interface Host {
  /** Runs only the top level of a generation; `prepare` continues from there. Rejects like that. */
  import(spec: LoadSpec): Promise<RemoteShape>;

  /**
   * Loads, sets up and checks a generation.
   *
   * @param previousId the generation whose state its `setup` gets, if that one is here; null: none
   * @returns notes for the verdict. Rejects with the first failure, a ModuleError as a rule; the generation is gone
   *   then.
   */
  prepare(spec: LoadSpec, previousId: number | null): Promise<{ notes: string[] }>;

  /** Calls the handler of a route that runs here. */
  call(order: RemoteOrder): CallHandle;

  /** Keeps the generation's handoff, for a `prepare` with its id after it is retired. Never rejects. */
  handOver(id: number): Promise<unknown>;

  /**
   * Disposes a generation; it need not be here. It has no open calls, or they are given up.
   *
   * @param isGone the module was removed, so its shared resources close. Default false
   */
  retire(id: number, isGone?: boolean): Promise<void>;

  /** null: the generation is not here. */
  status(id: number): HostStatus | null;

  /** Fails open calls and ends all threads or processes, within a second in any case. */
  close(): Promise<void>;
}

/** A host's state of one generation. */
export interface HostStatus {
  /** null: its calls are taken. */
  readonly quarantine: QuarantineFacts | null;
  readonly places: readonly PlaceStatus[];
}
