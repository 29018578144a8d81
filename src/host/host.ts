/**
 * A host: where handlers run. There are three: the event loop (`inline.ts`), the threads of the pool
 * (`pool/pool.ts`) and the processes of modules (`process/processes.ts`).
 *
 * This is the contract of the two that are not here. The event loop has no object of its own: it loads a version first,
 * to find out where its routes run, and a call there is one function call that returns the reply.
 */
import type { RemoteShape } from "../module/graph/remote";
import type { LoadSpec } from "../module/version";
import type { QuarantineFacts } from "./quarantine";
import type { CallHandle, RemoteOrder } from "./remote/call";
import type { PlaceStatus } from "./remote/place";

export interface Host {
  /** Runs the top level of a generation and nothing else of it; `prepare` goes on from there. Rejects as that. */
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

  /** Keeps what the generation hands over, for a `prepare` with its id after it is retired. Never rejects. */
  handOver(id: number): Promise<unknown>;

  /**
   * Disposes a generation; it need not be here. It has no calls under way, or they are given up.
   *
   * @param isGone the module was removed, so its shared resources close. Default false
   */
  retire(id: number, isGone?: boolean): Promise<void>;

  /** null: the generation is not here. */
  status(id: number): HostStatus | null;

  /** Fails what is under way and ends all threads or processes, within a second whatever they do. */
  close(): Promise<void>;
}

/** What a host knows of one generation. */
export interface HostStatus {
  /** null: its calls are taken. */
  readonly quarantine: QuarantineFacts | null;
  readonly places: readonly PlaceStatus[];
}
