import type { Places } from "../config/places";

/** All facts that a host needs to load one generation. Structured-cloneable: it crosses to the pool's threads. */
export interface LoadSpec {
  readonly name: string;
  /** Unique among the loads of one server; `?v=` of the import. Calls name a generation by it. */
  readonly id: number;
  /** The generation number that people see: v1, v2, … */
  readonly generation: number;
  readonly hash: string;
  /** The bundle, absolute path. */
  readonly file: string;
  /** The author's file, absolute path. */
  readonly source: string;
  /** Its settings, the server's part included. */
  readonly config: Record<string, unknown>;
  /**
   * For the import, for setup and check together, for handoff and for dispose each. In milliseconds. 0 waits for ever.
   * Default: the host's.
   */
  readonly loadMs?: number;
  readonly dataDir: string;
  /** Where its settings come from, for messages. Default: not known. */
  readonly places?: Places;
  /** The variables of .env, for `process.env`. Default: none. */
  readonly environment?: Readonly<Record<string, string>>;
}
