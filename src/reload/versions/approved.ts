/**
 * What one process of a server serves, told so that another can serve the same: for a process that is started in place
 * of a lost one, and must not be the only one with a newer version, or without a module that is broken on the disk by
 * now.
 */
import type { Hold } from "./hold";

/** Plain data: it crosses processes, and may be kept as JSON. */
export interface ApprovedModule {
  readonly name: string;
  /** The author's file, absolute path. */
  readonly source: string;
  /** Ships with hrmr and is on without having been asked for. */
  readonly isImplicit: boolean;
  /** null: nothing of it serves. */
  readonly version: {
    readonly number: number;
    readonly hash: string;
    /** The bundle, absolute path. */
    readonly file: string;
    /** The settings it was loaded with. */
    readonly config: Readonly<Record<string, unknown>>;
  } | null;
  /** The last number that served: the next version's is one more. */
  readonly lastNumber: number;
  /** Why the newest version does not serve; null: it does. */
  readonly error: string | null;
  /** What was rolled back from; null: nothing is held back. */
  readonly hold: Hold | null;
}
