/**
 * The modules that one process of a server serves, as data for another process that has to serve the same. A process
 * that replaces a lost one must not be the only one with a newer version, or lack a module whose file is broken by now.
 */
import type { Hold } from "./hold";

/** Plain data: it crosses processes, and may be kept as JSON. */
export interface ApprovedModule {
  readonly name: string;
  /** The author's file, absolute path. */
  readonly source: string;
  /** It ships with hrmr and is on by default. */
  readonly isImplicit: boolean;
  /** null: no version serves. */
  readonly version: {
    readonly number: number;
    readonly hash: string;
    /** The bundle, absolute path. */
    readonly file: string;
    /** The settings it was loaded with. */
    readonly config: Readonly<Record<string, unknown>>;
  } | null;
  /** The last number that served; the next version gets one more. */
  readonly lastNumber: number;
  /** Why the newest version does not serve; null: it does. */
  readonly error: string | null;
  /** The versions that are held back; null: none. */
  readonly hold: Hold | null;
}
